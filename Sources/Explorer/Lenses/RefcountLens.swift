// The lens that shows how many users the host clusters have.

import Cartography
import CellScreen

extension Lens {
  /// How often the clusters of a cell are in use.
  package static let refcount = Lens(
    "refcount", "how many users the host cluster has", showsParts: false,
    keys: [
      LensKey(".", .ramp(0), "nobody"), LensKey("1", .ramp(1), "one user"),
      LensKey("2-9", .ramp(2), "so many"),
      LensKey("+", .ramp(9), "10 or more"),
    ],
    guest: { cell, _ in look(cell.refcountMin, cell.refcountMax) },
    host: { cell, _ in look(cell.refcountMin, cell.refcountMax) })

  private static func look(_ low: UInt16, _ high: UInt16) -> CellLook {
    CellLook(
      Glyphs.refcount(UInt64(high)), .ramp(min(9, Int(high))), low != high && low != 0 ? .minority : [])
  }
}
