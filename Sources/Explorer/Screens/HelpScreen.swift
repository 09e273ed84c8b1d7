// The help page: rows of keys and sentences, scrolled; what a search found is marked.

import CellScreen

extension Explorer {
  func drawHelp(_ layout: ScreenLayout, on canvas: inout Canvas) {
    let lines = helpLines()
    let inner = canvas.frame(
      layout.body, title: "Help", footer: "/ finds, n next   q closes", focused: true, glyphs: ui.glyphs
    ).inset(1, 0)
    let keyWidth = min(24, max(12, inner.width / 3))
    var y = inner.y
    for (offset, line) in lines.dropFirst(ui.helpTop).enumerated() {
      guard y < inner.endY else { break }
      let isFound = ui.helpFound == ui.helpTop + offset
      let marks: Marks = isFound ? .selected : []
      if line.isHeading {
        canvas.put(line.text, at: inner.x, y, role: .paneTitle, marks: marks, maxWidth: inner.width)
        y += 1
        continue
      }
      // Long usages stand alone on their line.
      let isLong = TextWidth.width(line.keys) > keyWidth - 2
      if !line.keys.isEmpty {
        canvas.put(line.keys, at: inner.x + 2, y, role: .key, marks: marks, maxWidth: inner.width - 2)
        if isLong { y += 1 }
      }
      let textX = line.keys.isEmpty ? 2 : keyWidth + 2
      for text in TextWrap.wrap(line.text, width: inner.width - textX) where y < inner.endY {
        canvas.put(text, at: inner.x + textX, y, marks: marks)
        y += 1
      }
    }
    canvas.cursor = Point(x: inner.x, y: inner.y)
  }
}
