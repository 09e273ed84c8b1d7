// One place on the screen: what character stands there, how wide it is, what it means.
// Sixteen bytes and no reference, so that canvases copy and compare at memory speed.

/// One cell of a canvas.
package struct Cell: Hashable, Sendable {
  /// The base scalar; a blank for the right half of a wide character.
  package var scalar: Unicode.Scalar
  /// Up to two combining scalars; NUL stands for none.
  package var combining1: Unicode.Scalar
  /// A second mark.
  package var combining2: Unicode.Scalar
  /// Columns taken: 1, 2 for a wide character, 0 for the continuation cell to its right.
  package var width: UInt8
  /// What it stands for; the theme knows how that looks.
  package var role: Role
  /// What is true of it besides.
  package var marks: Marks

  package init(
    _ scalar: Unicode.Scalar, combining1: Unicode.Scalar = "\0", combining2: Unicode.Scalar = "\0",
    width: UInt8 = 1, role: Role = .text, marks: Marks = []
  ) {
    self.scalar = scalar
    self.combining1 = combining1
    self.combining2 = combining2
    self.width = width
    self.role = role
    self.marks = marks
  }

  /// A blank in the terminal's own colours.
  package static let blank = Cell(" ")

  /// Whether this is the right half of a wide character.
  package var isContinuation: Bool { width == 0 }

  /// The cell with every non-ASCII character replaced, of the same width (checklist: `LANG=C`).
  package var asciiOnly: Cell {
    if scalar.isASCII && combining1 == "\0" && width == 1 { return self }
    var cell = self
    cell.scalar = "?"
    cell.combining1 = "\0"
    cell.combining2 = "\0"
    cell.width = 1
    return cell
  }
}
