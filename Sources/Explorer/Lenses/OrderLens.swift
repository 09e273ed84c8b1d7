// The lens of the order: where in the file each part of the disk is, and where on the disk each part of the file.

import Cartography
import CellScreen

extension Lens {
  /// Each cell by its place on the other side.
  package static let order = Lens(
    "order", "is it in order? each place by where it is on the other side, 0-z",
    showsParts: false,
    guest: { cell, glyphs in
      switch cell.state {
      case .below, .missing, .bad:
        let row = Glyphs.row(cell.state)
        return CellLook(row.scalar(glyphs), row.role)
      default: return CellLook(Glyphs.guest(.none).scalar(glyphs), .guestNone)
      }
    },
    host: { cell, glyphs in
      // What no place of the disk is at; digits and small letters are places.
      let row = Glyphs.row(cell.state)
      switch cell.state {
      case .free, .pastEnd, .leaked, .wrong, .vmState: return CellLook(row.scalar(glyphs), row.role)
      case .data, .compressed, .hole: return CellLook("S", .hostSnapshot)
      default: return CellLook("T", .hostTable)
      }
    },
    sheet: { OrderSheet($0.scene.atlas) })
}
