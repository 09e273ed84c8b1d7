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

  /// Its letters in words, for the legend.
  var keys: [LensKey] {
    let named = sheet?.legend ?? []
    return named.compactMap { value, words in
      look(LensCell(value)).map { LensKey(String($0.glyph), $0.role, words) }
    } + lens.keys
  }

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
    case .shape(let shape, let isSample):
      let key = Lens.key(of: shape)
      return CellLook(isSample ? key.small : key.letter, key.role, marks)
    case .contradiction: return CellLook("!", .guestBad, marks.union(.bold))
    case .saving(let saved, let whole, let isSample):
      let tenth = whole == 0 ? 0 : Int(clamping: min(9, saved / max(1, whole / 10)))
      return CellLook(isSample ? Lens.sampleLetters[tenth] : Self.digit(tenth), .ramp(tenth), marks)
    case .space(let kind, let isSample):
      let key = Lens.key(of: kind)
      return CellLook(isSample ? key.small : key.letter, key.role, marks)
    case .owners(let number, true):
      return CellLook(
        Lens.withDisk.indices.contains(number) ? Lens.withDisk[number] : "*",
        number == 0 ? .guestData : .guestShared, marks)
    case .owners(let number, false):
      return CellLook(
        Lens.withoutDisk.indices.contains(number) ? Lens.withoutDisk[number] : "*", .hostSnapshot, marks)
    case .holding(.alone): return CellLook("o", .hostSnapshot, marks.union(.bold))
    case .holding(.withDisk): return CellLook("d", .guestShared, marks)
    case .holding(.withOthers): return CellLook("s", .hostVMState, marks)
    case .holding(.none): return CellLook("-", .muted, marks)
    case .tables: return CellLook("T", .hostTable, marks)
    case .notStored:
      let row = Glyphs.host(.free)
      return CellLook(row.scalar(glyphs), row.role, marks)
    case .needed: return CellLook("-", .muted, marks)
    case .part(let part, let whole):
      return CellLook(Glyphs.fill(part, of: whole, glyphs), part < whole ? .guestPart : .guestData)
    }
  }

  private static func digit(_ number: Int) -> Unicode.Scalar {
    Unicode.Scalar(UInt8(0x30) + UInt8(max(0, min(9, number))))
  }
}
