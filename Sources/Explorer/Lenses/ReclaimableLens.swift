// The lens of what could be given back: the kinds of space that the image could do without, where they lie.

import Cartography
import CellScreen

extension Lens {
  /// What could be given back.
  package static let reclaimable = Lens(
    "reclaimable", "what could be given back? a letter for each reason; -: needed", showsParts: false,
    keys: [
      .zeroData, .zeroKept, .freeInside, .freeAtTail, .leaked, .leftOverState, .bitmaps, .snapshotsTogether,
    ].map { (kind: ReclaimableSpace.Kind) in
      let key = key(of: kind)
      return LensKey(String(key.letter), key.role, key.words)
    } + [
      LensKey("a-z", .muted, "in a sample"), LensKey("-", .muted, "needed"),
      LensKey(Glyphs.host(.free), "not stored"),
    ],
    guest: { cell, glyphs in
      // Compressed streams, and what other layers hold, are needed.
      switch cell.state {
      case .missing, .bad:
        let row = Glyphs.row(cell.state)
        return CellLook(row.scalar(glyphs), row.role)
      case .compressed: return CellLook("-", .muted)
      case .data, .shared: return cell.counts.total > 1 ? CellLook("_", .muted) : CellLook("-", .muted)
      default: return CellLook(Glyphs.guest(.none).scalar(glyphs), .guestNone)
      }
    },
    host: { cell, glyphs in Lens.withoutBytes(cell, glyphs) },
    sheet: { $0.scene.atlas.reclaimableSheet })

  /// The letter of a kind of space.
  static func key(of kind: ReclaimableSpace.Kind) -> Letter {
    switch kind {
    case .zeroData: Letter(letter: "Z", role: .guestZero, words: "zeroes as data")
    case .zeroKept: Letter(letter: "K", role: .guestZeroKept, words: "kept zeroes")
    case .freeInside: Letter(letter: "F", role: .guestPreallocated, words: "free inside")
    case .freeAtTail: Letter(letter: "E", role: .guestPart, words: "free at end")
    case .leaked: Letter(letter: "L", role: .hostLeaked, words: "leaked")
    case .leftOverState: Letter(letter: "V", role: .hostVMState, words: "old VM state")
    case .bitmaps: Letter(letter: "B", role: .hostBitmap, words: "bitmaps")
    case .snapshot, .snapshotsTogether: Letter(letter: "S", role: .hostSnapshot, words: "snapshots")
    case .compressible: Letter(letter: "C", role: .guestCompressed, words: "compressible")
    }
  }
}
