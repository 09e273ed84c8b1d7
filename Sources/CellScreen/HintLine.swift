// The line of key hints: it gives up words before keys, and knows which columns belong to which key.
// Screens pass every active key; the width decides how much of it is said.

/// One key hint.
package struct Hint: Hashable, Sendable {
  /// What is shown for the key, for example `hjkl/arrows` or `Enter`.
  package var key: String
  /// What it does, in one or two words; may be empty.
  package var text: String
  /// The same in fewer letters, for narrow screens.
  package var short: String
  /// What a click on the hint stands for; nil if it is not one key.
  package var press: Key?
  /// The way to all others: it goes last where the room is short.
  package var isEssential = false

  /// A hint whose key can be pressed with the mouse if `press` is given.
  package init(_ key: String, _ text: String, short: String? = nil, press: Key? = nil) {
    self.key = key
    self.text = text
    self.short = short ?? text
    self.press = press ?? Key(key)
  }
}

/// A part of the screen that a click turns into a key.
package struct ClickRegion: Hashable, Sendable {
  /// Where it stands.
  package let area: Rect
  /// What a click presses.
  package let key: Key

  package init(area: Rect, key: Key) {
    self.area = area
    self.key = key
  }
}

/// Drawing hint lines.
package enum HintLine {
  /// Draws the hints in a row of `width` columns and returns where clicks count.
  ///
  /// As the width shrinks: wide gaps, narrow gaps, short words, then fewer hints from the right. A letter
  /// without its word says nothing, so a hint goes as a whole; the essential ones go last.
  @discardableResult
  package static func draw(
    _ hints: [Hint], on canvas: inout Canvas, at x: Int, _ y: Int, width: Int
  ) -> [ClickRegion] {
    let (hints, labels, gap) = fitted(hints, width: width)
    var regions: [ClickRegion] = []
    var column = x
    for (hint, text) in zip(hints, labels) {
      let start = column
      column += canvas.put(hint.key, at: column, y, role: .key, maxWidth: x + width - column)
      if !text.isEmpty {
        column += 1
        column += canvas.put(text, at: column, y, role: .keyText, maxWidth: x + width - column)
      }
      if let key = hint.press {
        regions.append(
          ClickRegion(area: Rect(x: start, y: y, width: column - start, height: 1), key: key))
      }
      column += gap
    }
    return regions
  }

  /// The hints that are shown, their texts, and the gap between them.
  static func fitted(_ hints: [Hint], width: Int) -> (hints: [Hint], labels: [String], gap: Int) {
    func size(_ hints: [Hint], _ labels: [String], _ gap: Int) -> Int {
      var total = 0
      for (hint, text) in zip(hints, labels) {
        total += TextWidth.width(hint.key) + (text.isEmpty ? 0 : 1 + TextWidth.width(text)) + gap
      }
      return max(0, total - gap)
    }
    let long = hints.map(\.text)
    if size(hints, long, 2) <= width { return (hints, long, 2) }
    if size(hints, long, 1) <= width { return (hints, long, 1) }
    var kept = hints
    while size(kept, kept.map(\.short), 1) > width {
      guard let index = kept.lastIndex(where: { !$0.isEssential }) ?? kept.indices.last else { break }
      kept.remove(at: index)
    }
    return (kept, kept.map(\.short), 1)
  }
}
