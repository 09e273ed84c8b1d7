// The lens of the bytes: what the clusters of a cell look like, and where that is not what the tables say they are.

import Cartography
import CellScreen
import QcowFormat

extension Lens {
  /// What the bytes look like.
  package static let looks = Lens(
    "looks-like", "what do the bytes look like? !: not what the tables say they are", showsParts: false,
    keys: shapes.map { LensKey(String($0.letter), $0.role, $0.words) } + [
      LensKey("!", .guestBad, "contradicts"),
      LensKey("a-z", .muted, "in a sample"),
      LensKey(Glyphs.host(.free), "not stored"),
    ],
    guest: { cell, glyphs in Lens.withoutBytes(cell, glyphs) },
    host: { cell, glyphs in Lens.withoutBytes(cell, glyphs) },
    sheet: { $0.scene.atlas.looksSheet })

  /// A letter for what a sheet says, and the small one for what is said from a sample.
  struct Letter {
    let letter: Unicode.Scalar
    let role: Role
    let words: String
    /// Structures have the letters that the maps give them, and are looked at one by one.
    var small: Unicode.Scalar {
      let value = letter.value
      return (0x41...0x5a).contains(value) ? Unicode.Scalar(UInt8(value + 0x20)) : letter
    }
  }

  private static let shapes = [
    Letter(letter: "Z", role: .guestZero, words: "zeroes"),
    Letter(letter: "P", role: .guestPreallocated, words: "one byte"),
    Letter(letter: "A", role: .guestPart, words: "text"),
    Letter(letter: "F", role: .hostBitmap, words: "file system"),
    Letter(letter: "C", role: .guestCompressed, words: "compressed"),
    Letter(letter: "R", role: .guestShared, words: "no order"),
    Letter(letter: "D", role: .guestData, words: "other data"),
    Letter(letter: "Q", role: .hostTable, words: "image table"),
  ]

  /// The letter of a shape.
  static func key(of shape: ClusterShape) -> Letter {
    switch shape {
    case .zeroes: shapes[0]
    case .pattern: shapes[1]
    case .text: shapes[2]
    case .fileSystem: shapes[3]
    case .compressed: shapes[4]
    case .random: shapes[5]
    case .other: shapes[6]
    default: shapes[7]
    }
  }

  /// What a lens on bytes shows where there are none.
  static func withoutBytes(_ cell: MapCell<GuestState>, _ glyphs: GlyphSet) -> CellLook {
    switch cell.state {
    case .below, .missing, .bad:
      let row = Glyphs.row(cell.state)
      return CellLook(row.scalar(glyphs), row.role)
    // In a cell of many, the ones that were looked at had nothing to say.
    case .data, .shared: return CellLook("_", .muted)
    case .compressed: return CellLook("C", .guestCompressed)
    default: return CellLook(Glyphs.guest(.none).scalar(glyphs), .guestNone)
    }
  }

  /// The same of the file.
  static func withoutBytes(_ cell: MapCell<HostState>, _ glyphs: GlyphSet) -> CellLook {
    switch cell.state {
    case .wrong, .pastEnd:
      let row = Glyphs.row(cell.state)
      return CellLook(row.scalar(glyphs), row.role)
    default: return CellLook(Glyphs.host(.free).scalar(glyphs), .hostFree)
    }
  }
}
