// Panes: a frame with a title in its upper edge and facts or keys in its lower one.
// The focused pane differs by the shape of its edges, not only by colour.

extension Canvas {
  /// Draws a pane frame and returns the room inside it.
  ///
  /// Title and footer stand in the edges (`+- 1 Title ---+`) and are truncated to fit. A rectangle
  /// smaller than 2x2 draws nothing and has no room.
  @discardableResult
  package mutating func frame(
    _ rect: Rect, title: String = "", footer: String = "", focused: Bool = false, glyphs: GlyphSet
  ) -> Rect {
    guard rect.width >= 2, rect.height >= 2 else { return Rect(x: rect.x, y: rect.y, width: 0, height: 0) }
    let box = Glyphs.box(glyphs, focused: focused)
    let role: Role = focused ? .borderFocus : .border
    let right = rect.endX - 1
    let bottom = rect.endY - 1

    for y in [rect.y, bottom] {
      fill(
        Rect(x: rect.x + 1, y: y, width: rect.width - 2, height: 1), box.horizontal, role: role)
    }
    for x in [rect.x, right] {
      fill(Rect(x: x, y: rect.y + 1, width: 1, height: rect.height - 2), box.vertical, role: role)
    }
    set(rect.x, rect.y, box.topLeft, role: role)
    set(right, rect.y, box.topRight, role: role)
    set(rect.x, bottom, box.bottomLeft, role: role)
    set(right, bottom, box.bottomRight, role: role)

    label(title, on: rect.y, of: rect, role: .paneTitle, glyphs: glyphs)
    // The number of a pane is the key that leads to it, and looks like one.
    let first = title.unicodeScalars.prefix(2).map(\.value)
    if rect.width > 6, first.count == 2, (0x31...0x39).contains(first[0]), first[1] == 0x20 {
      restyle(Rect(x: rect.x + 3, y: rect.y, width: 1, height: 1), role: .key)
    }
    label(footer, on: bottom, of: rect, role: .muted, glyphs: glyphs)
    return rect.inset(1, 1)
  }

  /// Writes ` text ` into a horizontal edge, leaving one edge character at both ends.
  private mutating func label(_ text: String, on y: Int, of rect: Rect, role: Role, glyphs: GlyphSet) {
    let room = rect.width - 6
    guard !text.isEmpty, room > 0 else { return }
    let shown = TextWidth.truncated(text, to: room, glyphs: glyphs)
    put(" " + shown + " ", at: rect.x + 2, y, role: role)
  }
}
