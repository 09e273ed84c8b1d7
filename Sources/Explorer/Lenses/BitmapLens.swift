// The lens of a bitmap: what the one that is selected on the screen of bitmaps marks.

import Cartography
import CellScreen

extension Lens {
  /// What a persistent bitmap marks.
  package static let bitmap = Lens(
    "bitmap", "what would a backup copy? the part that the selected bitmap marks",
    guest: { _, glyphs in CellLook(Glyphs.guest(.none).scalar(glyphs), .guestNone) },
    host: { cell, glyphs in
      let row = Glyphs.row(cell.contains(.bitmap) ? HostState.bitmap : .free)
      return CellLook(row.scalar(glyphs), row.role)
    },
    sheet: { desk in BitmapSheet(desk.scene.image, name: desk.selectedBitmap) })
}
