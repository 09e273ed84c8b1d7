// Popups: wrapped text in a frame over the middle of the screen, and progress bars.
// A dialog erases what is under it, so nothing shines through.

extension Canvas {
  /// Draws a dialog in the middle of an area and returns the room inside its frame.
  ///
  /// Text wraps to the width; lines that do not fit are cut, and the footer stays visible.
  @discardableResult
  package mutating func dialog(
    title: String, lines: [String], footer: String, in area: Rect, maximumWidth: Int = 72,
    glyphs: GlyphSet
  ) -> Rect {
    let room = max(0, min(maximumWidth, area.width) - 4)
    let wrapped = lines.flatMap { TextWrap.wrap($0, width: room) }
    let widest = wrapped.reduce(0) { max($0, TextWidth.width($1)) }
    let labels = max(TextWidth.width(title), TextWidth.width(footer)) + 2
    let outer = area.centred(
      width: min(max(widest, labels), room) + 4, height: min(wrapped.count + 2, area.height))
    fill(outer)
    let inner = frame(outer, title: title, footer: footer, focused: true, glyphs: glyphs).inset(1, 0)
    for (index, line) in wrapped.prefix(inner.height).enumerated() {
      put(line, at: inner.x, inner.y + index, maxWidth: inner.width)
    }
    return inner
  }

  /// Draws a progress bar: `[####....]  42%`. The share is known without colour.
  ///
  /// `done` over `total` is clamped to the whole; a `total` of 0 draws an empty bar.
  package mutating func progressBar(done: UInt64, total: UInt64, in area: Rect, glyphs: GlyphSet) {
    guard area.height > 0, area.width >= 8 else { return }
    let share = total == 0 ? 0 : min(1, Double(done) / Double(total))
    let room = area.width - 7
    let filled = min(room, Int(share * Double(room)))
    let percent = Int(share * 100)
    set(area.x, area.y, "[", role: .muted)
    let full = Glyphs.guest(.data).scalar(glyphs)
    let empty = Glyphs.guest(.none).scalar(glyphs)
    for index in 0..<room {
      set(area.x + 1 + index, area.y, index < filled ? full : empty, role: index < filled ? .ok : .muted)
    }
    set(area.x + 1 + room, area.y, "]", role: .muted)
    put(
      TextWidth.padded("\(percent)%", to: 4, .right), at: area.x + 3 + room, area.y, role: .number,
      maxWidth: 4)
  }
}

/// Breaking text into lines.
package enum TextWrap {
  /// The text in lines of at most `width` columns, broken at blanks where possible.
  ///
  /// Newlines stay. A word longer than a line is cut. Leading blanks of a line indent what follows it
  /// too, so that lists keep their shape. A width below 1 gives no lines.
  package static func wrap(_ text: String, width: Int) -> [String] {
    guard width > 0 else { return [] }
    return text.split(separator: "\n", omittingEmptySubsequences: false).flatMap {
      wrapParagraph($0, width: width)
    }
  }

  private static func wrapParagraph(_ paragraph: Substring, width: Int) -> [String] {
    let leading = paragraph.prefix { $0 == " " }.count
    let indent = String(repeating: " ", count: min(leading, width / 2))
    var lines: [String] = []
    var line = indent
    var lineWidth = indent.count
    var hasWord = false
    for word in paragraph.split(separator: " ") {
      var rest = TextWidth.sanitized(String(word))
      var size = TextWidth.width(rest)
      if hasWord && lineWidth + 1 + size > width {
        lines.append(line)
        line = indent
        lineWidth = indent.count
        hasWord = false
      }
      if hasWord {
        line += " "
        lineWidth += 1
      }
      while lineWidth + size > width {
        let piece = TextWidth.prefix(rest, columns: width - lineWidth)
        // A wide character in a one-column line: give up on the word rather than loop.
        if piece.isEmpty { break }
        lines.append(line + piece)
        rest = String(rest.unicodeScalars.dropFirst(piece.unicodeScalars.count))
        size = TextWidth.width(rest)
        line = indent
        lineWidth = indent.count
      }
      if lineWidth + size <= width {
        line += rest
        lineWidth += size
      }
      hasWord = true
    }
    if hasWord || lines.isEmpty { lines.append(hasWord ? line : "") }
    return lines
  }
}
