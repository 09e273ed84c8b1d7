// The lens that shows how full cells are.

import Cartography
import CellScreen

extension Lens {
  /// How much of a cell is in use.
  package static let fill = Lens(
    "fill", "how much of the cell holds data, in tenths",
    guest: { look($0.fill, $1) }, host: { look($0.fill, $1) })

  private static func look(_ fill: Float, _ glyphs: GlyphSet) -> CellLook {
    let part: UInt64 = fill <= 0 ? 0 : fill >= 1 ? 1000 : max(1, min(999, UInt64(fill * 1000)))
    return CellLook(Glyphs.fill(part, of: 1000, glyphs), .ramp(Int(fill * 9.99)))
  }
}
