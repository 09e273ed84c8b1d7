// Tables and lists: columns of text with one selected row, drawn through a window.
// Rows are asked for one by one, only for what is visible.

/// Drawing tables.
package enum Table {
  /// One column.
  package struct Column: Hashable, Sendable {
    /// The head of the column.
    package var title: String
    /// Columns of the screen.
    package var width: Int
    /// Where shorter text stands.
    package var alignment: TextWidth.Alignment
    /// The role of its cells, unless one has its own.
    package var role: Role

    /// A column of a fixed width.
    package init(
      _ title: String, width: Int, alignment: TextWidth.Alignment = .left, role: Role = .text
    ) {
      self.title = title
      self.width = max(0, width)
      self.alignment = alignment
      self.role = role
    }
  }

  /// One field of a row; the role of its column counts if it has none of its own.
  package struct Field: Hashable, Sendable {
    /// What stands there.
    package var text: String
    /// Its own role; nil for that of the column.
    package var role: Role?
    /// What is true of it besides.
    package var marks: Marks

    package init(_ text: String, role: Role? = nil, marks: Marks = []) {
      self.text = text
      self.role = role
      self.marks = marks
    }
  }

  /// Draws the visible rows and, if a column has a title, a head line above them.
  ///
  /// The selected row starts with `>` and is reversed while `focused`, so that it is found without
  /// colour and without reverse video. The hardware cursor goes to its first column. Returns the area
  /// of every visible row.
  @discardableResult
  package static func draw(
    columns: [Column], window: ListWindow, in area: Rect, on canvas: inout Canvas, focused: Bool,
    glyphs: GlyphSet, row: (Int) -> [Field]
  ) -> [Int: Rect] {
    var y = area.y
    if columns.contains(where: { !$0.title.isEmpty }) {
      guard area.height > 0 else { return [:] }
      let titles = columns.map { Field($0.title, role: .muted) }
      drawRow(titles, columns: columns, at: area.x, y, width: area.width, on: &canvas, glyphs: glyphs)
      y += 1
    }
    var areas: [Int: Rect] = [:]
    for index in window.visible where y < area.endY {
      let line = Rect(x: area.x, y: y, width: area.width, height: 1)
      var fields = row(index)
      // Any other colour on that of the selection would be a block of its own.
      if index == window.selected, focused {
        for place in fields.indices { fields[place].role = .text }
      }
      drawRow(fields, columns: columns, at: area.x, y, width: area.width, on: &canvas, glyphs: glyphs)
      if index == window.selected {
        canvas.set(area.x, y, ">", role: .key)
        if focused {
          canvas.restyle(line, adding: .selected)
          canvas.cursor = Point(x: area.x, y: y)
        }
      }
      areas[index] = line
      y += 1
    }
    return areas
  }

  /// Draws a row of its own, as a line of sums below the others.
  package static func drawLine(
    _ fields: [Field], columns: [Column], in area: Rect, at y: Int, on canvas: inout Canvas, glyphs: GlyphSet
  ) {
    drawRow(fields, columns: columns, at: area.x, y, width: area.width, on: &canvas, glyphs: glyphs)
  }

  private static func drawRow(
    _ fields: [Field], columns: [Column], at x: Int, _ y: Int, width: Int, on canvas: inout Canvas,
    glyphs: GlyphSet
  ) {
    var column = x + 1
    let end = x + width
    for (field, style) in zip(fields, columns) where column < end {
      let room = min(style.width, end - column)
      let text = TextWidth.padded(field.text, to: room, style.alignment, glyphs: glyphs)
      canvas.put(text, at: column, y, role: field.role ?? style.role, marks: field.marks, maxWidth: room)
      column += style.width + 1
    }
  }
}
