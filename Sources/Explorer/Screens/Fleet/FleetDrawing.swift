// How a fleet is drawn: as many columns as there is room for, a line of sums below them, and everything that is known of
// the selected row. Only rows that are seen are made into text.

import Cartography
import CellScreen
import QcowFormat
import Storage

/// Where the panes stand; empty for those not shown.
struct FleetLayout {
  private(set) var list = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var words = Rect(x: 0, y: 0, width: 0, height: 0)

  init(_ frame: ScreenFrame) {
    guard !frame.isTooSmall else { return }
    let height = frame.body.height
    (list, words) = frame.body.splitBottom(height >= 30 ? 11 : height >= 18 ? 7 : height >= 14 ? 5 : 0)
  }

  /// The sums stand below the rows.
  var hasSums: Bool { list.height >= 7 }
  /// Rows of the list.
  var rows: Int { max(1, list.height - 3 - (hasSums ? 1 : 0)) }
}

struct FleetDrawing {
  private let screen: FleetScreen
  private let layout: FleetLayout
  private var desk: Desk { screen.desk }
  private var list: FleetList { screen.list }

  init(_ screen: FleetScreen, _ layout: FleetLayout) {
    self.screen = screen
    self.layout = layout
  }

  func draw(on canvas: inout Canvas) {
    if !layout.list.isEmpty { drawList(on: &canvas) }
    if !layout.words.isEmpty { drawWords(on: &canvas) }
  }

  // MARK: Columns

  /// The columns that have room, and the one that the rows are ordered by, with their widths.
  private var columns: [(column: FleetColumn, width: Int)] {
    // A frame, and the mark of the selected row.
    var room = max(0, layout.list.width - 3)
    let least = min(24, max(10, room / 3))
    var chosen: Set<FleetColumn> = [.name]
    func take(_ column: FleetColumn) -> Bool {
      guard !chosen.contains(column) else { return true }
      guard room - column.width - 1 >= least else { return false }
      room -= column.width + 1
      chosen.insert(column)
      return true
    }
    _ = take(list.column)
    for column in FleetColumn.byImportance { if !take(column) { break } }
    return FleetColumn.allCases.filter { chosen.contains($0) }.map { ($0, $0 == .name ? room : $0.width) }
  }

  /// The column whose head is at a point.
  func column(at point: Point) -> FleetColumn? {
    guard layout.list.contains(point), point.y == layout.list.y + 1 else { return nil }
    return heads.first { point.x >= $0.x && point.x < $0.x + $0.width }?.column
  }

  /// The heads with where they stand.
  private var heads: [(column: FleetColumn, x: Int, width: Int)] {
    var x = layout.list.x + 2
    return columns.map { column, width in
      defer { x += width + 1 }
      return (column, x, width)
    }
  }

  // MARK: The list

  private func drawList(on canvas: inout Canvas) {
    let filter = list.filter == .all ? "" : "   only \(list.filter.word)"
    let inner = canvas.frame(
      layout.list, title: screen.hasFleet ? "1 Images by \(screen.orderText)\(filter)" : "1 Images",
      footer: unknown, focused: true, glyphs: desk.glyphs)
    guard !list.shown.isEmpty else { return drawNothing(in: inner, on: &canvas) }
    let columns = columns
    let styles = columns.map {
      Table.Column($0.column.head, width: $0.width, alignment: $0.column.alignment, role: $0.column.role)
    }
    let window = ListWindow(
      count: list.shown.count, height: layout.rows, selected: screen.selected, top: screen.top)
    let rows = Rect(x: inner.x, y: inner.y, width: inner.width, height: layout.rows + 1)
    Table.draw(columns: styles, window: window, in: rows, on: &canvas, focused: true, glyphs: desk.glyphs) {
      index in
      guard let row = list.row(index) else { return [] }
      let sharing = list.sharing(row)
      return columns.map { column, width in
        guard column == .name else {
          return Table.Field(column.text(row, sharing: sharing), role: column.role(of: row))
        }
        // The end of a name tells most.
        return Table.Field(
          TextWidth.truncatedAtStart(list.shortName(list.shown[index]), to: width, glyphs: desk.glyphs))
      }
    }
    if let head = heads.first(where: { $0.column == list.column }) {
      let width = min(head.width, head.column.head.count)
      let x = head.column.alignment == .right ? head.x + head.width - width : head.x
      canvas.restyle(
        Rect(x: x, y: inner.y, width: width, height: 1), role: .key, adding: [.bold, .minority])
    }
    guard layout.hasSums else { return }
    let count = "\(Notation.grouped(UInt64(list.shown.count))) \(worded(list.shown.count, "file"))"
    let fields = columns.map { column, _ in
      column == .name ? Table.Field(count, role: .paneTitle) : Table.Field(sum(column), role: .paneTitle)
    }
    Table.drawLine(fields, columns: styles, in: inner, at: inner.endY - 1, on: &canvas, glyphs: desk.glyphs)
  }

  private func sum(_ column: FleetColumn) -> String {
    guard let sum = list.sums[column] else { return "" }
    if sum.unknown == list.shown.count { return "?" }
    return (sum.isMore ? ">" : "") + Notation.compact(sum.bytes)
  }

  /// What the sums leave out.
  private var unknown: String {
    let parts = FleetSums.columns.compactMap { column -> String? in
      guard let count = list.sums[column]?.unknown, count > 0 else { return nil }
      return "\(column.head) of \(Notation.grouped(UInt64(count)))"
    }
    return parts.isEmpty ? "" : "not known: " + parts.joined(separator: ", ")
  }

  private func drawNothing(in inner: Rect, on canvas: inout Canvas) {
    let area = inner.inset(1, 0)
    canvas.cursor = Point(x: inner.x, y: inner.y)
    for (row, line) in TextWrap.wrap(nothing, width: area.width).prefix(area.height).enumerated() {
      canvas.put(line, at: area.x, area.y + row, role: .text, maxWidth: area.width)
    }
  }

  /// Why there is no row.
  private var nothing: String {
    guard let shelf = screen.shelf, screen.hasFleet else {
      return
        "There is no fleet. \(CommandID.fleet) PATH lists the images of a folder and of all folders below it."
    }
    let places = screen.placesText
    if let progress = shelf.progress {
      guard let all = progress.all else { return "Looking for files in \(places)." }
      return "Looking at \(counted(all, "file")) of \(places)."
    }
    if list.count > 0 {
      return "There are no \(list.filter.meaning) among \(counted(list.count, "file")); "
        + "\(desk.key(.cancel)) shows all."
    }
    guard shelf.leftOut > 0 else { return "There is no file in \(places)." }
    return "There is no qcow2 image in \(places): \(counted(shelf.leftOut, "file")) "
      + "\(shelf.leftOut == 1 ? "is" : "are") something else. The program started with --all-files lists those too."
  }

  // MARK: The selected row

  private func drawWords(on canvas: inout Canvas) {
    guard let row = screen.row else {
      canvas.frame(layout.words, title: "2 The selected image", focused: false, glyphs: desk.glyphs)
      return
    }
    let name = TextWidth.truncatedAtStart(
      Escaping.human(row.path), to: max(8, layout.words.width - 10), glyphs: desk.glyphs)
    let inner = canvas.frame(layout.words, title: "2 " + name, focused: false, glyphs: desk.glyphs).inset(
      1, 0)
    let lines = FleetWords(row: row, sharing: list.sharing(row)).paragraphs.flatMap { paragraph in
      TextWrap.wrap(paragraph.text, width: inner.width).map { ($0, paragraph.role) }
    }
    for (line, text) in lines.prefix(inner.height).enumerated() {
      canvas.put(text.0, at: inner.x, inner.y + line, role: text.1, maxWidth: inner.width)
    }
  }
}
