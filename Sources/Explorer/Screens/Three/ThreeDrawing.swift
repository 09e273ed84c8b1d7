// How three views of an operation are drawn: three lists below each other, each with a line above it, as high as
// what they have to show.

import Cartography
import CellScreen
import QcowFormat
import Storage

/// Where the views stand, the line above each included; empty for those not shown.
struct ThreeLayout {
  private(set) var areas = [Rect](repeating: Rect(x: 0, y: 0, width: 0, height: 0), count: 3)
  /// Rows from which all of them have room.
  private static let leastBody = 9

  init(_ frame: ScreenFrame, counts: [Int], pane: Int) {
    guard !frame.isTooSmall else { return }
    let body = frame.body
    guard body.height >= Self.leastBody else {
      areas[pane - 1] = body
      return
    }
    // Each gets what it needs, the rest goes to those that need more, row by row.
    var rows = [1, 1, 1]
    var left = body.height - 6
    while left > 0 {
      let wanting = rows.indices.filter { rows[$0] < counts[$0] }
      guard let next = wanting.min(by: { rows[$0] < rows[$1] }) else { break }
      rows[next] += 1
      left -= 1
    }
    rows[2] += left
    var y = body.y
    for index in 0..<3 {
      areas[index] = Rect(x: body.x, y: y, width: body.width, height: rows[index] + 1)
      y += rows[index] + 1
    }
  }
}

struct ThreeDrawing {
  private let screen: ThreeScreen
  private let layout: ThreeLayout
  private var desk: Desk { screen.desk }

  init(_ screen: ThreeScreen, _ layout: ThreeLayout) {
    self.screen = screen
    self.layout = layout
  }

  func draw(on canvas: inout Canvas) {
    guard let views = screen.views else {
      let inner = canvas.frame(desk.frame.body, title: "1 Three views", focused: true, glyphs: desk.glyphs)
      desk.putNothingDone("it is seen here three times", in: inner, on: &canvas)
      canvas.cursor = Point(x: inner.x, y: inner.y)
      return
    }
    let size =
      views.lengthBefore == views.lengthAfter
      ? "" : ", the file \(views.lengthBefore) -> \(views.lengthAfter)"
    list(
      1, "What the guest reads", "no byte of the disk is touched", views.hasMoreGuest, guestColumns(views),
      on: &canvas
    ) { guest(views.guest[$0]) }
    list(
      2, "Entries and counts", "no entry changes", views.hasMoreEntries, entryColumns(views), on: &canvas
    ) { entry(views.entries[$0]) }
    let count = views.writes.count
    list(
      3, "Writes to the file: \(count)" + size, "nothing is written", false, writeColumns, on: &canvas
    ) { write(views.writes[$0], $0) }
  }

  /// One of the views.
  private func list(
    _ pane: Int, _ title: String, _ nothing: String, _ hasMore: Bool, _ columns: [Table.Column],
    on canvas: inout Canvas, row: (Int) -> [Table.Field]
  ) {
    let area = layout.areas[pane - 1]
    guard area.height > 1 else { return }
    let isFocused = screen.pane == pane
    let (line, rest) = area.splitTop(1)
    let box = Glyphs.box(desk.glyphs, focused: isFocused)
    canvas.fill(line, box.horizontal, role: isFocused ? .borderFocus : .border)
    let count = screen.count(ofPane: pane)
    let window = ListWindow(
      count: count, height: rest.height, selected: screen.rows[pane - 1], top: screen.tops[pane - 1])
    var place = ""
    if window.visible.count < count || hasMore {
      place = " \(window.visible.lowerBound + 1)-\(window.visible.upperBound) of \(count)"
      place += (hasMore ? " and more " : " ")
    }
    canvas.put(place, at: line.endX - 1 - TextWidth.width(place), line.y, role: .muted)
    let words = TextWidth.truncated(
      " \(pane) \(title) ", to: max(0, line.width - 4 - TextWidth.width(place)), glyphs: desk.glyphs)
    canvas.put(words, at: line.x + 1, line.y, role: .paneTitle)
    canvas.restyle(Rect(x: line.x + 2, y: line.y, width: 1, height: 1), role: .key)
    guard count > 0 else {
      canvas.put(nothing, at: rest.x + 1, rest.y, role: .muted, maxWidth: rest.width - 2)
      if isFocused { canvas.cursor = Point(x: rest.x, y: rest.y) }
      return
    }
    Table.draw(
      columns: columns, window: window, in: rest, on: &canvas, focused: isFocused, glyphs: desk.glyphs,
      row: row)
  }

  // MARK: What the guest reads

  private func guestColumns(_ views: StepViews) -> [Table.Column] {
    let end = views.guest.last?.range.upperBound ?? 0
    let digits = Notation.hex(end).count + 2
    return [
      .init("", width: digits, role: .number), .init("", width: 8, alignment: .right),
      .init("", width: max(0, desk.width - digits - 12)),
    ]
  }

  private func guest(_ run: StepViews.GuestRun) -> [Table.Field] {
    let words: String
    if run.isChange {
      words =
        run.before == run.after
        ? "\(run.before.text), other bytes than before" : "\(run.before.text) -> \(run.after.text)"
    } else {
      words = "\(run.after.text), as before"
    }
    return [
      Table.Field("0x" + Notation.hex(run.range.lowerBound)),
      Table.Field(Notation.compact(UInt64(run.range.count))),
      Table.Field("  " + words, role: run.isChange ? .changed : .muted),
    ]
  }

  // MARK: Entries

  private func entryColumns(_ views: StepViews) -> [Table.Column] {
    // As wide as what is there needs it, so that the meaning has room.
    let longest = views.entries.map { TextWidth.width($0.name) }.max() ?? 0
    let name = min(max(12, longest), desk.width / 4)
    let digits = views.entries.map { max($0.before.count, $0.after.count) }.max() ?? 0
    let isNarrow = desk.width < 70
    let value = isNarrow ? max(8, (desk.width - name - 8) / 2) : min(16, max(4, digits))
    let by = 3 + String(views.writes.count).count
    let meaning = desk.width - name - 2 * value - 8 - by
    return [
      .init("", width: name, role: .key), .init("", width: value, role: .muted), .init("", width: 2),
      .init("", width: value), .init("", width: isNarrow ? 0 : by, role: .muted),
      .init("", width: isNarrow ? 0 : max(0, meaning)),
    ]
  }

  private func entry(_ entry: StepViews.Entry) -> [Table.Field] {
    let isMarked = entry.place.map { desk.isHighlighted(byte: $0) } ?? false
    let marks: Marks = isMarked ? .twin : []
    return [
      Table.Field(Escaping.human(entry.name), marks: marks), Table.Field(entry.before), Table.Field("->"),
      Table.Field(entry.after, role: .changed, marks: marks),
      Table.Field(entry.write.map { "by \($0 + 1)" } ?? ""), Table.Field(Escaping.human(entry.meaning)),
    ]
  }

  // MARK: Writes

  private var writeColumns: [Table.Column] {
    let offset = Notation.hex(max(1, desk.host.length)).count + 2
    let isNarrow = desk.width < 60
    return [
      .init("", width: 3, alignment: .right, role: .muted), .init("", width: isNarrow ? 0 : 5, role: .key),
      .init("", width: max(0, desk.width - offset - (isNarrow ? 24 : 37))),
      .init("", width: 11, alignment: .right), .init("", width: offset + 3, role: .number),
      .init("", width: isNarrow ? 1 : 5, role: .ok),
    ]
  }

  private func write(_ write: StepViews.Write, _ index: Int) -> [Table.Field] {
    let isOwn = write.file == .image
    return [
      Table.Field("\(index + 1)"), Table.Field(write.action),
      Table.Field(Escaping.human(write.name) + (isOwn ? "" : ", another file")),
      Table.Field("\(write.range.count) at", role: .muted),
      Table.Field("0x" + Notation.hex(write.range.lowerBound)),
      Table.Field(write.isFlushed ? (desk.width < 60 ? "F" : "flush") : ""),
    ]
  }
}
