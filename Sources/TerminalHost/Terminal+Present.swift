// Showing a canvas: rows that differ from the last frame go to curses, and curses sends the difference.
// Whole rows are handed over at once; a call per cell would cost more than everything else here.

package import CellScreen
internal import CNcurses

extension Terminal {
  /// Shows the canvas from the upper left corner; what is outside of the terminal is cut.
  ///
  /// Writes only what changed; an equal frame writes nothing.
  package func present(_ canvas: Canvas) {
    guard !hasHungUp else { return }
    let window = unsafe tui_screen()
    let columns = min(canvas.width, Int(tui_columns()))
    let rows = min(canvas.height, Int(tui_lines()))
    let comparable = shown.map { $0.width == canvas.width && $0.height == canvas.height } ?? false
    if !comparable { unsafe werase(window) }
    unsafe idlok(window, comparable && shown.map { Self.looksScrolled(from: $0, to: canvas) } == true)

    var line: [cchar_t] = []
    line.reserveCapacity(columns)
    for y in 0..<rows {
      let row = canvas.row(y)
      if comparable, let before = shown?.row(y), before == row { continue }
      fill(&line, from: row.prefix(columns))
      unsafe wmove(window, Int32(y), 0)
      unsafe line.withUnsafeBufferPointer { cells in
        _ = unsafe wadd_wchnstr(window, cells.baseAddress, Int32(cells.count))
      }
    }
    shown = canvas

    let cursor = canvas.cursor.flatMap { $0.x >= 0 && $0.x < columns && $0.y >= 0 && $0.y < rows ? $0 : nil }
    let visible = cursor != nil
    if cursorIsVisible != visible {
      curs_set(visible ? 1 : 0)
      cursorIsVisible = visible
    }
    // A hidden cursor stays where drawing leaves it: moving it would cost bytes for nothing.
    unsafe leaveok(window, !visible)
    if let cursor { unsafe wmove(window, Int32(cursor.y), Int32(cursor.x)) }
    unsafe wnoutrefresh(window)
    doupdate()
    frameMayBePartial = true
  }

  /// Whether a third of the rows only moved up or down by one.
  ///
  /// Curses would move lines also where only some of their columns moved, and then write more than it
  /// saved.
  private static func looksScrolled(from before: Canvas, to after: Canvas) -> Bool {
    var up = 0
    var down = 0
    for y in 1..<max(1, min(before.height, after.height)) where after.row(y) != before.row(y) {
      if after.row(y - 1) == before.row(y) { up += 1 }
      if after.row(y) == before.row(y - 1) { down += 1 }
    }
    return max(up, down) * 3 >= after.height
  }

  private func fill(_ line: inout [cchar_t], from row: ArraySlice<Cell>) {
    line.removeAll(keepingCapacity: true)
    var previous: Cell?
    var attributes: UInt32 = 0
    var pair: Int32 = 0
    for cell in row where !cell.isContinuation {
      let drawn = glyphs == .ascii ? cell.asciiOnly : cell
      // A wide character whose right half is beyond the edge would wrap.
      let fits = line.count + Int(drawn.width) <= row.count
      if previous?.role != cell.role || previous?.marks != cell.marks || cell.role.isMap {
        let style = theme.style(for: drawn)
        attributes = Terminal.attributes(style.attributes)
        pair = self.pair(style.foreground, style.background)
      }
      previous = cell
      var packed = cchar_t()
      unsafe tui_cell(
        &packed, fits ? drawn.scalar.value : 0x20, drawn.combining1.value, drawn.combining2.value,
        attributes, pair)
      line.append(packed)
      // ASCII replaces a wide character by one that is as wide in total.
      if cell.width == 2 && drawn.width == 1 { line.append(packed) }
    }
  }

  private static func attributes(_ set: Style.Attributes) -> UInt32 {
    var value: UInt32 = 0
    if set.contains(.bold) { value |= tui_bold }
    if set.contains(.underline) { value |= tui_underline }
    if set.contains(.reverse) { value |= tui_reverse }
    return value
  }
}
