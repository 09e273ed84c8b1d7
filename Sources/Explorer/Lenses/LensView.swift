// A lens on what is shown now: the lens itself with the sheet that answers for it. Both maps and the host screen draw
// their cells through it.

import Cartography
import CellScreen
import QcowFormat
import Storage

/// What cells look like under a lens, with all that is known for it.
struct LensView {
  let lens: Lens
  let sheet: (any LensSheet)?
  let glyphs: GlyphSet

  /// What it is called at the edge of a map.
  var name: String { lens.name + (sheet.map { $0.subject.isEmpty ? "" : ", \($0.subject)" } ?? "") }

  /// A cell of the guest map, which stands for a range of bytes of the disk.
  func look(_ cell: MapCell<GuestState>, _ bytes: Range<UInt64>) -> CellLook {
    guard let sheet, cell.isInside else { return lens.look(cell, glyphs) }
    return look(sheet.guest(bytes)) ?? lens.look(cell, glyphs)
  }

  /// A cell of a host map, which stands for a range of clusters of the file.
  func look(_ cell: MapCell<HostState>, _ clusters: Range<UInt64>, isData: Bool) -> CellLook {
    guard let sheet, cell.isInside else { return lens.look(cell, glyphs) }
    return look(sheet.host(clusters, isData: isData)) ?? lens.look(cell, glyphs)
  }

  /// An answer of a sheet; nil where it has nothing to say.
  private func look(_ cell: LensCell) -> CellLook? {
    let marks: Marks = cell.isMixed ? .minority : []
    switch cell.value {
    case .nothing: return nil
    case .unknown: return CellLook("_", .muted)
    case .place(let place, let count):
      let look = Gradient.look(place, of: count)
      return CellLook(look.glyph, look.role, marks)
    case .layer(let depth): return CellLook(Self.digit(depth), .ramp(depth), marks)
    case .noLayer: return CellLook(Glyphs.guest(.none).scalar(glyphs), .guestNone, marks)
    case .missing: return CellLook("?", .guestMissing, marks)
    case .unreadable: return CellLook("!", .guestBad, marks)
    case .age(let step): return CellLook(Self.digit(step), .ramp(step), marks)
    case .same: return CellLook("=", .guestNone, marks)
    case .appeared: return CellLook("+", .guestData, marks)
    case .went: return CellLook("-", .guestZero, marks)
    case .changed: return CellLook("~", .guestShared, marks)
    case .part(let part, let whole):
      return CellLook(Glyphs.fill(part, of: whole, glyphs), part < whole ? .guestPart : .guestData)
    }
  }

  private static func digit(_ number: Int) -> Unicode.Scalar {
    Unicode.Scalar(UInt8(0x30) + UInt8(max(0, min(9, number))))
  }
}
