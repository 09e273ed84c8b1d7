// Points, rectangles and the few ways screens divide them: rows, columns and insets with minimums.
// Sizes never become negative here, so that a one-by-one terminal needs no special case elsewhere.

/// A cell position; the origin is the upper left corner, both coordinates count cells.
package struct Point: Hashable, Sendable {
  /// Column, from 0.
  package var x: Int
  /// Row, from 0.
  package var y: Int

  package init(x: Int, y: Int) {
    self.x = x
    self.y = y
  }
}

/// A rectangle of cells. Width and height are never negative.
package struct Rect: Hashable, Sendable {
  /// The first column.
  package var x: Int
  /// The first row.
  package var y: Int
  /// Columns, at least 0.
  package var width: Int
  /// Rows, at least 0.
  package var height: Int

  /// Sizes below 0 become 0.
  package init(x: Int, y: Int, width: Int, height: Int) {
    self.x = x
    self.y = y
    self.width = max(0, width)
    self.height = max(0, height)
  }

  /// There is no cell in it.
  package var isEmpty: Bool { width == 0 || height == 0 }
  /// The first column right of the rectangle.
  package var endX: Int { x + width }
  /// The first row below the rectangle.
  package var endY: Int { y + height }

  /// Whether a cell lies in it.
  package func contains(_ point: Point) -> Bool {
    point.x >= x && point.x < endX && point.y >= y && point.y < endY
  }

  /// The part that both rectangles cover; empty if none.
  package func intersection(_ other: Rect) -> Rect {
    let left = max(x, other.x)
    let top = max(y, other.y)
    return Rect(
      x: left, y: top, width: min(endX, other.endX) - left, height: min(endY, other.endY) - top)
  }

  /// The rectangle without `horizontal` columns on both sides and `vertical` rows above and below.
  package func inset(_ horizontal: Int, _ vertical: Int) -> Rect {
    Rect(x: x + horizontal, y: y + vertical, width: width - 2 * horizontal, height: height - 2 * vertical)
  }

  /// The upper `rows` rows and what is left below them.
  package func splitTop(_ rows: Int) -> (top: Rect, rest: Rect) {
    let taken = max(0, min(rows, height))
    return (
      Rect(x: x, y: y, width: width, height: taken),
      Rect(x: x, y: y + taken, width: width, height: height - taken)
    )
  }

  /// The lower `rows` rows and what is left above them.
  package func splitBottom(_ rows: Int) -> (rest: Rect, bottom: Rect) {
    let (rest, bottom) = splitTop(height - max(0, min(rows, height)))
    return (rest, bottom)
  }

  /// The left `columns` columns and what is left beside them.
  package func splitLeft(_ columns: Int) -> (left: Rect, rest: Rect) {
    let taken = max(0, min(columns, width))
    return (
      Rect(x: x, y: y, width: taken, height: height),
      Rect(x: x + taken, y: y, width: width - taken, height: height)
    )
  }

  /// Stacks one rectangle per share from top to bottom (see ``Layout/divide(_:among:)``).
  package func rows(_ shares: [Layout.Share]) -> [Rect] {
    var top = y
    return Layout.divide(height, among: shares).map { size in
      defer { top += size }
      return Rect(x: x, y: top, width: width, height: size)
    }
  }

  /// Places one rectangle per share from left to right (see ``Layout/divide(_:among:)``).
  package func columns(_ shares: [Layout.Share]) -> [Rect] {
    var left = x
    return Layout.divide(width, among: shares).map { size in
      defer { left += size }
      return Rect(x: left, y: y, width: size, height: height)
    }
  }

  /// A rectangle of at most the given size in the middle of this one.
  package func centred(width wanted: Int, height wantedHeight: Int) -> Rect {
    let newWidth = max(0, min(wanted, width))
    let newHeight = max(0, min(wantedHeight, height))
    return Rect(
      x: x + (width - newWidth) / 2, y: y + (height - newHeight) / 2, width: newWidth, height: newHeight)
  }
}

/// Dividing a length into parts.
package enum Layout {
  /// How much of a length one part wants.
  package struct Share: Hashable, Sendable {
    /// Cells the part gets before anyone gets more.
    package var minimum: Int
    /// How the remainder is shared; 0 keeps the part at its minimum.
    package var weight: Int

    /// At least `minimum` cells, and a share of what is left over by its weight.
    package init(minimum: Int, weight: Int) {
      self.minimum = max(0, minimum)
      self.weight = max(0, weight)
    }

    /// Exactly that many cells.
    package static func fixed(_ size: Int) -> Share { Share(minimum: size, weight: 0) }
    /// At least that many cells, and more where there is room.
    package static func flexible(_ minimum: Int, weight: Int = 1) -> Share {
      Share(minimum: minimum, weight: weight)
    }
  }

  /// Gives every share its minimum in order while the length lasts, then the rest by weight.
  ///
  /// The sizes add up to `length` if any share has a weight, and never to more than it.
  package static func divide(_ length: Int, among shares: [Share]) -> [Int] {
    var left = max(0, length)
    var sizes = shares.map { share in
      let size = min(share.minimum, left)
      left -= size
      return size
    }
    var weights = shares.reduce(0) { $0 + $1.weight }
    for (index, share) in shares.enumerated() where share.weight > 0 && weights > 0 {
      let extra = left * share.weight / weights
      sizes[index] += extra
      left -= extra
      weights -= share.weight
    }
    return sizes
  }
}
