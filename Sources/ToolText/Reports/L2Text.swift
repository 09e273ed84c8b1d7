// The L2 tables as `qatlas l2` prints them: the rows of the L2 screen, one record per line, for one
// table, one place or the whole image, without ever holding more than one table.

package import Cartography
import Qcow
package import QcowFormat
import Storage

/// Prints L2 tables of an image.
package struct L2Text {
  private let atlas: Atlas
  private var stream: ReportStream

  /// Prints to `output`, in pieces; the atlas is complete.
  package init(_ atlas: Atlas, json: Bool, output: @escaping (String) -> Void) {
    self.atlas = atlas
    stream = ReportStream(json: json, output: output)
  }

  /// Prints the tables of the L1 entries in `range`; false if some could not be read.
  package mutating func write(tables range: Range<Int>) -> Bool {
    stream.open("[")
    var isGood = true
    var index = range.lowerBound
    while index < range.upperBound {
      // Entries without a table come as one record, for there may be millions of them.
      var end = index
      while end < range.upperBound, atlas.image.l1Entry(end).table == nil { end += 1 }
      if end > index {
        stream.record(emptyTables(index, end - index))
        index = end
        continue
      }
      if let view = read(index) {
        stream.record(headline(view))
        for number in 0..<view.rowCount {
          if let row = view.row(number) { stream.record(line(row, view)) }
        }
      } else {
        isGood = false
      }
      index += 1
    }
    stream.close("]\n")
    return isGood
  }

  /// Prints the entry that maps a guest offset, bit by bit; false if its table could not be read.
  package mutating func write(guest: GuestOffset) -> Bool {
    stream.open("[")
    defer { stream.close("]\n") }
    let geometry = atlas.image.geometry
    guard let view = read(geometry.l1Index(of: guest)) else { return false }
    stream.record(headline(view))
    let index = geometry.l2Index(of: guest)
    if let row = view.row(view.rowNumber(ofEntry: index)) { stream.record(line(row, view)) }
    for detail in view.detail(of: index, subcluster: geometry.subcluster(of: guest).value).lines {
      stream.record([
        Field("detail", .string(detail.label)), Field("value", .string(detail.value)),
        Field("text", .string(detail.text)),
      ])
    }
    return true
  }

  private mutating func read(_ index: Int) -> L2View? {
    do throws(ImageError) {
      return try L2View(atlas, l1Index: index)
    } catch {
      let raw = atlas.image.l1Entry(index).raw
      stream.record([
        Field("l1", .number(UInt64(index))), Field("entry", .entry(raw)),
        Field("error", .string(error.description)),
      ])
      return nil
    }
  }

  // MARK: Records

  private func emptyTables(_ first: Int, _ count: Int) -> [Field] {
    let geometry = atlas.image.geometry
    let start = geometry.guestOffset(l1Index: first, l2Index: 0).value
    return [
      Field("l1", .number(UInt64(first))), Field("count", .number(UInt64(count))),
      Field("guest", .offset(start)),
      Field("state", .string("no table")),
      Field("text", .string(worded(count, "no L2 table", "\(count) L1 entries without an L2 table"))),
    ]
  }

  private func headline(_ view: L2View) -> [Field] {
    var fields = [Field("l1", .number(UInt64(view.l1Index))), Field("entry", .entry(view.l1Entry.raw))]
    if let table = view.table { fields.append(Field("table", .offset(table.value))) }
    let range = view.guestRange
    fields += [
      Field("guest", .offset(range.lowerBound.value)),
      Field("length", .number(range.upperBound - range.lowerBound)),
      Field("used", .number(UInt64(view.usedCount))), Field("entries", .number(UInt64(view.entryCount))),
    ]
    let start = view.geometry.guestOffset(l1Index: view.l1Index, l2Index: 0).value
    if UInt64(view.l1Index) >= view.geometry.l1Entries(for: view.geometry.virtualSize) {
      fields = fields.filter { $0.name != "guest" && $0.name != "length" }
      fields.append(Field("state", .string("saved VM state")))
    } else if start >= view.geometry.virtualSize {
      fields = fields.filter { $0.name != "guest" && $0.name != "length" }
    }
    if let conflict = view.conflict { fields.append(Field("conflict", .string(conflict.text))) }
    return fields
  }

  private func line(_ row: L2View.Row, _ view: L2View) -> [Field] {
    let l1 = Field("l1", .number(UInt64(view.l1Index)))
    switch row {
    case .unused(let first, let count), .pastEnd(let first, let count):
      var state = "unused"
      if case .pastEnd = row { state = "past the end" }
      let guest = view.geometry.guestOffset(l1Index: view.l1Index, l2Index: first).value
      return [l1, Field("l2", .number(UInt64(first))), Field("count", .number(UInt64(count)))]
        + (guest < view.geometry.virtualSize ? [Field("guest", .offset(guest))] : [])
        + [Field("state", .string(state)), Field("text", .string(view.text(of: row)))]
    case .entry(let entry):
      var fields = [
        l1, Field("l2", .number(UInt64(entry.index))), Field("guest", .offset(entry.guest.value)),
        Field("entry", .entry(entry.entry.descriptor)),
      ]
      // Behind the end of the disk there are no places.
      if entry.guest.value >= view.geometry.virtualSize { fields.remove(at: 2) }
      if view.geometry.hasExtendedL2 {
        fields.append(Field("zero", .bits(entry.entry.bitmap.zero)))
        fields.append(Field("alloc", .bits(entry.entry.bitmap.allocated)))
      }
      if let host = entry.host { fields.append(Field("host", .offset(host.value))) }
      fields.append(Field("flags", .string(entry.flags)))
      var letters = ""
      for state in entry.subclusters { letters.unicodeScalars.append(Legend.guest(state).letter) }
      fields += [Field("subclusters", .string(letters)), Field("text", .string(entry.meaning))]
      return fields
    }
  }
}
