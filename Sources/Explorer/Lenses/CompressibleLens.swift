// The lens of compression: how much of each cell compressing its clusters would save.

import Cartography
import CellScreen

extension Lens {
  /// What compressing would save.
  package static let compressible = Lens(
    "compressible", "what would compressing save? 0-9: tenths; a-j: the same from a sample of the cell",
    showsParts: false,
    keys: [
      LensKey("0", .ramp(0), "under a tenth"), LensKey("1-8", .ramp(5), "tenths saved"),
      LensKey("9", .ramp(9), "nearly all"),
      LensKey("a-j", .ramp(5), "in a sample"), LensKey("C", .guestCompressed, "compressed"),
      LensKey("T", .hostTable, "tables"), LensKey(Glyphs.host(.free), "not stored"),
    ],
    guest: { cell, glyphs in Lens.withoutBytes(cell, glyphs) },
    host: { cell, glyphs in
      switch cell.state {
      case .compressed: return CellLook("C", .guestCompressed)
      case .vmState: return CellLook("T", .hostTable)
      // In a cell of many, the ones that were looked at had nothing to say.
      case .data: return CellLook("_", .muted)
      default:
        return cell.state.isMetadata ? CellLook("T", .hostTable) : Lens.withoutBytes(cell, glyphs)
      }
    },
    sheet: { $0.scene.atlas.compressibleSheet })

  /// The tenths of a sample.
  static let sampleLetters = Array("abcdefghij".unicodeScalars)
}
