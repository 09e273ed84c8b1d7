// A picture of the screen as a value: screens draw into it, the terminal shows it, tests compare it.
// Drawing clips to the canvas and keeps wide characters whole, so callers need no bounds of their own.

/// A rectangle of cells and the place of the hardware cursor.
package struct Canvas: Hashable, Sendable {
  /// Columns.
  package let width: Int
  /// Rows.
  package let height: Int
  /// Row by row, `width * height` cells.
  package private(set) var cells: [Cell]
  /// Where the hardware cursor stands; nil hides it.
  package var cursor: Point?

  /// The largest side a canvas takes; larger sizes are clamped.
  package static let maximumSide = 4096

  /// A blank canvas. Sizes are clamped to 0...4096.
  package init(width: Int, height: Int) {
    self.width = max(0, min(width, Canvas.maximumSide))
    self.height = max(0, min(height, Canvas.maximumSide))
    cells = Array(repeating: .blank, count: self.width * self.height)
  }

  /// The whole canvas as a rectangle.
  package var bounds: Rect { Rect(x: 0, y: 0, width: width, height: height) }

  /// The cell at a place; blank outside of the canvas.
  package subscript(x: Int, y: Int) -> Cell {
    guard x >= 0, x < width, y >= 0, y < height else { return .blank }
    return cells[y * width + x]
  }

  /// The cells of one row; empty outside of the canvas.
  package func row(_ y: Int) -> ArraySlice<Cell> {
    guard y >= 0, y < height else { return [] }
    return cells[y * width..<(y + 1) * width]
  }

  // MARK: Drawing

  /// Draws one line of text and returns the columns it took.
  ///
  /// Clips at both sides of the canvas and after `maxWidth` columns; never splits a wide character;
  /// control bytes appear as visible escapes.
  @discardableResult
  package mutating func put(
    _ text: String, at x: Int, _ y: Int, role: Role = .text, marks: Marks = [], maxWidth: Int = .max
  ) -> Int {
    guard y >= 0, y < height, maxWidth > 0, x < width, x > Int.min / 2 else { return 0 }
    // Comparing with what is left keeps `x + maxWidth` from overflowing.
    let end = maxWidth > width - x ? width : x + maxWidth
    var column = x
    TextWidth.units(text) { unit in
      guard column + unit.width <= end else { return false }
      if column >= 0 {
        store(
          Cell(
            unit.scalar, combining1: unit.combining1, combining2: unit.combining2,
            width: UInt8(unit.width), role: role, marks: marks), at: column, y)
      } else if column + unit.width > 0 {
        // The left half of a wide character is outside: its right half shows as a blank.
        store(Cell(" ", role: role, marks: marks), at: 0, y)
      }
      column += unit.width
      return true
    }
    return column - x
  }

  /// Draws one character; a wide one takes the next column too. Unsafe characters become `?`.
  package mutating func set(
    _ x: Int, _ y: Int, _ scalar: Unicode.Scalar, role: Role = .text, marks: Marks = []
  ) {
    guard x >= 0, x < width, y >= 0, y < height else { return }
    if scalar.value >= 0x20 && scalar.value < 0x7f {
      store(Cell(scalar, role: role, marks: marks), at: x, y)
      return
    }
    var first: TextWidth.Unit?
    var count = 0
    TextWidth.units(String(scalar)) { unit in
      first = first ?? unit
      count += 1
      return count < 2
    }
    guard count == 1, let unit = first, x + unit.width <= width else {
      store(Cell("?", role: role, marks: marks), at: x, y)
      return
    }
    store(Cell(unit.scalar, width: UInt8(unit.width), role: role, marks: marks), at: x, y)
  }

  /// Fills the part of a rectangle that is on the canvas with one narrow character.
  package mutating func fill(
    _ rect: Rect, _ scalar: Unicode.Scalar = " ", role: Role = .text, marks: Marks = []
  ) {
    let area = rect.intersection(bounds)
    for y in area.y..<max(area.y, area.endY) {
      for x in area.x..<max(area.x, area.endX) { set(x, y, scalar, role: role, marks: marks) }
    }
  }

  /// Changes role and marks of what is already drawn; nil keeps the role.
  package mutating func restyle(_ rect: Rect, role: Role? = nil, adding marks: Marks = []) {
    let area = rect.intersection(bounds)
    for y in area.y..<max(area.y, area.endY) {
      for x in area.x..<max(area.x, area.endX) {
        if let role { cells[y * width + x].role = role }
        cells[y * width + x].marks.formUnion(marks)
      }
    }
  }

  /// Copies another canvas over this one with its upper left corner at a place, clipped.
  package mutating func draw(_ other: Canvas, at origin: Point) {
    for y in 0..<other.height {
      for x in 0..<other.width {
        let cell = other.cells[y * other.width + x]
        let target = Point(x: origin.x + x, y: origin.y + y)
        guard !cell.isContinuation, bounds.contains(target) else { continue }
        if target.x + Int(cell.width) <= width {
          store(cell, at: target.x, target.y)
        } else {
          store(Cell(" ", role: cell.role, marks: cell.marks), at: target.x, target.y)
        }
      }
    }
  }

  /// The canvas with every non-ASCII character replaced by `?`, columns unchanged.
  package var asciiOnly: Canvas {
    var copy = self
    for index in copy.cells.indices { copy.cells[index] = copy.cells[index].asciiOnly }
    return copy
  }

  /// Stores a cell whose columns are on the canvas, and mends wide characters it cuts in half.
  private mutating func store(_ cell: Cell, at x: Int, _ y: Int) {
    let start = y * width
    let last = x + Int(cell.width) - 1
    if cells[start + x].isContinuation && x > 0 {
      cells[start + x - 1].scalar = " "
      cells[start + x - 1].combining1 = "\0"
      cells[start + x - 1].combining2 = "\0"
      cells[start + x - 1].width = 1
    }
    if last + 1 < width && cells[start + last + 1].isContinuation {
      cells[start + last + 1].width = 1
    }
    cells[start + x] = cell
    if cell.width == 2 {
      cells[start + x + 1] = Cell(" ", width: 0, role: cell.role, marks: cell.marks)
    }
  }
}
