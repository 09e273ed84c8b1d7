// Where the rows of every screen stand for a size of the terminal: the title above, hints and messages below,
// and between them the body that the screen divides as it likes.

import CellScreen

/// The smallest size that shows anything.
package enum ScreenSize {
  /// Columns below which nothing is drawn.
  package static let smallestWidth = 40
  /// Rows below which nothing is drawn.
  package static let smallestHeight = 12
  /// Below these there is one pane at a time.
  package static let panesWidth = 80
  /// Rows from which all panes have room.
  package static let panesHeight = 24
  /// From here on the log has a pane of its own.
  package static let logHeight = 34
}

/// The parts of a picture.
struct ScreenFrame: Sendable {
  let width: Int
  let height: Int
  let title: Rect
  /// Everything between the title and the hints.
  let body: Rect
  /// Where the words of a lesson stand, below the body; empty without one.
  let lesson: Rect
  let hints: Rect
  let prompt: Rect

  init(width: Int, height: Int, lesson rows: Int = 0) {
    self.width = width
    self.height = height
    let (top, rest) = Rect(x: 0, y: 0, width: width, height: height).splitTop(1)
    let (upper, lower) = rest.splitBottom(2)
    title = top
    (body, lesson) = upper.splitBottom(rows)
    hints = Rect(x: lower.x, y: lower.y, width: lower.width, height: 1)
    prompt = Rect(x: lower.x, y: lower.y + 1, width: lower.width, height: 1)
  }

  var isTooSmall: Bool { width < ScreenSize.smallestWidth || height < ScreenSize.smallestHeight }
  /// There is room for one pane at a time.
  var isOnePane: Bool { width < ScreenSize.panesWidth || ownHeight < ScreenSize.panesHeight }
  /// There is room for a log below the other panes.
  var isTall: Bool { ownHeight >= ScreenSize.logHeight }
  /// The height without what a lesson takes.
  private var ownHeight: Int { height - lesson.height }
}
