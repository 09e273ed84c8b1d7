// Which rows of a long list are visible and which one is selected, and how keys move through it.
// Pure arithmetic over counts, so that a list of a billion entries costs what its window costs.

/// A window of `height` rows on a list of `count` rows with one selected row.
package struct ListWindow: Hashable, Sendable {
  /// A movement that every list and map knows.
  package enum Move: Hashable, Sendable {
    case up(Int), down(Int)
    case pageUp, pageDown, halfPageUp, halfPageDown
    case first, last
    case to(Int)
  }

  /// Rows of the list.
  package private(set) var count: Int
  /// Rows that are shown.
  package private(set) var height: Int
  /// The selected row; 0 if the list is empty.
  package private(set) var selected: Int
  /// The first visible row.
  package private(set) var top: Int

  /// A window that shows the selected row.
  package init(count: Int, height: Int, selected: Int = 0, top: Int = 0) {
    self.count = max(0, count)
    self.height = max(1, height)
    self.selected = selected
    self.top = top
    settle()
  }

  /// The visible rows.
  package var visible: Range<Int> { top..<top + min(count - top, height) }

  /// The place of the selected row in the window.
  package var selectedRow: Int { selected - top }

  /// Takes over new sizes and keeps the selected row in sight.
  package mutating func resize(count: Int? = nil, height: Int? = nil) {
    self.count = max(0, count ?? self.count)
    self.height = max(1, height ?? self.height)
    settle()
  }

  /// Moves the selection and, where needed, the window.
  package mutating func move(_ move: Move) {
    switch move {
    case .up(let rows): selected -= min(selected, max(0, rows))
    case .down(let rows): selected += min(count - selected, max(0, rows))
    case .pageUp: selected -= min(selected, height)
    case .pageDown: selected += min(count - selected, height)
    case .halfPageUp: selected -= min(selected, max(1, height / 2))
    case .halfPageDown: selected += min(count - selected, max(1, height / 2))
    case .first: selected = 0
    case .last: selected = count - 1
    case .to(let row): selected = row
    }
    settle()
  }

  /// Scrolls the view by rows (the wheel); the selection follows only if it would leave the window.
  package mutating func scroll(by rows: Int) {
    let lastTop = max(0, count - height)
    let (sum, overflow) = top.addingReportingOverflow(rows)
    top = overflow ? (rows > 0 ? lastTop : 0) : max(0, min(lastTop, sum))
    selected = max(top, min(selected, top + min(count - top, height) - 1))
    settle()
  }

  private mutating func settle() {
    selected = max(0, min(selected, count - 1))
    top = max(0, min(top, max(0, count - height)))
    if selected < top { top = selected }
    if selected - top >= height { top = selected - height + 1 }
  }
}
