// What must be right of every picture, whatever it shows.

import CellScreen

extension Canvas {
  /// What is wrong with the cells or the cursor; nil if nothing is. Every cell is drawn, wide characters have both
  /// of theirs, and no character is an order for the terminal.
  package var fault: String? {
    guard cells.count == width * height else { return "cells are missing" }
    for y in 0..<height {
      var x = 0
      while x < width {
        let cell = self[x, y]
        for scalar in [cell.scalar, cell.combining1, cell.combining2] where scalar.value != 0 {
          let code = scalar.value
          if code < 0x20 || (0x7f..<0xa0).contains(code) || (0x202a...0x202e).contains(code)
            || (0x2066...0x2069).contains(code) || code == 0x200e || code == 0x200f
          {
            return "an order for the terminal at \(x), \(y)"
          }
        }
        guard cell.scalar.value != 0, (1...2).contains(cell.width) else { return "no cell at \(x), \(y)" }
        if cell.width == 2, x + 1 >= width || self[x + 1, y].width != 0 {
          return "half of a wide character at \(x), \(y)"
        }
        x += Int(cell.width)
      }
    }
    if let cursor, !bounds.contains(cursor) { return "the cursor is at \(cursor)" }
    return nil
  }
}
