// The lens that every map begins with: the kind of what is in a cell.

import Cartography
import CellScreen

extension Lens {
  /// What is in a cell.
  package static let kind = Lens(
    "kind", "what is there: data, zeroes, tables, nothing",
    guest: { cell, glyphs in
      let minority: Marks = cell.hasMinority ? .minority : []
      let glyph = Glyphs.row(cell.state)
      if cell.state == .data && cell.fill < 1 {
        return CellLook(Glyphs.part(UInt64(cell.fill * 1000), of: 1000, glyphs), .guestPart, minority)
      }
      return CellLook(glyph.scalar(glyphs), glyph.role, minority)
    },
    host: { cell, glyphs in
      let minority: Marks = cell.hasMinority ? .minority : []
      let glyph = Glyphs.row(cell.state)
      // Where part of the cell is free, its height says how much is in use.
      if cell.state.isContent && cell.fill < 1 {
        return CellLook(Glyphs.hostPart(UInt64(cell.fill * 1000), of: 1000, glyphs), glyph.role, minority)
      }
      return CellLook(glyph.scalar(glyphs), glyph.role, minority)
    })
}
