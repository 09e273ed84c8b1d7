// Where the panes of every screen stand for a size of the terminal. Three forms: all panes, panes
// without a log of its own, and one pane at a time below 80x24.

import CellScreen

/// The smallest size that shows anything.
package enum ScreenSize {
  package static let smallestWidth = 40
  package static let smallestHeight = 12
  /// Below these there is one pane at a time.
  package static let panesWidth = 80
  package static let panesHeight = 24
  /// From here on the log has a pane of its own.
  package static let logHeight = 34
}

/// Rectangles inside the frames of the panes, empty for panes that are not shown.
struct ScreenLayout: Sendable {
  var isTooSmall = false
  var isOnePane = false
  var title: Rect
  var hints: Rect
  var prompt: Rect
  /// Everything between the title and the hints.
  var body: Rect
  /// The panes of the explorer, frames included.
  var guestFrame = Rect(x: 0, y: 0, width: 0, height: 0)
  var hostFrame = Rect(x: 0, y: 0, width: 0, height: 0)
  var placeFrame = Rect(x: 0, y: 0, width: 0, height: 0)
  var logFrame = Rect(x: 0, y: 0, width: 0, height: 0)
  /// The panes of the table screen.
  var tableFrame = Rect(x: 0, y: 0, width: 0, height: 0)
  var entryFrame = Rect(x: 0, y: 0, width: 0, height: 0)
  var subclusterFrame = Rect(x: 0, y: 0, width: 0, height: 0)

  /// The panes of the fragmentation screen, and the lines below them.
  var plotPane = Rect(x: 0, y: 0, width: 0, height: 0)
  var numbersPane = Rect(x: 0, y: 0, width: 0, height: 0)
  var lengthsPane = Rect(x: 0, y: 0, width: 0, height: 0)
  var regionLines = Rect(x: 0, y: 0, width: 0, height: 0)

  init(_ ui: UIState) {
    let all = Rect(x: 0, y: 0, width: ui.width, height: ui.height)
    let (top, rest) = all.splitTop(1)
    let (upper, lower) = rest.splitBottom(2)
    title = top
    body = upper
    hints = Rect(x: lower.x, y: lower.y, width: lower.width, height: 1)
    prompt = Rect(x: lower.x, y: lower.y + 1, width: lower.width, height: 1)
    isTooSmall = ui.width < ScreenSize.smallestWidth || ui.height < ScreenSize.smallestHeight
    isOnePane = ui.width < ScreenSize.panesWidth || ui.height < ScreenSize.panesHeight
    guard !isTooSmall else { return }
    placeTable(ui)
    placeFragmentation(ui)
    if isOnePane {
      switch ui.focus {
      case 2: hostFrame = body
      case 3: placeFrame = body
      case 4: logFrame = body
      default: guestFrame = body
      }
      return
    }
    let isTall = ui.height >= ScreenSize.logHeight
    let placeHeight = isTall ? 9 : 8
    let spare = body.height - placeHeight - 13
    let logHeight = isTall ? min(8 + max(0, spare - 15) / 4, 16) : 0
    let (maps, below) = body.splitTop(body.height - placeHeight - logHeight)
    let hostWidth = max(34, ui.width / 3)
    let (left, right) = maps.splitLeft(ui.width - hostWidth)
    guestFrame = left
    hostFrame = right
    let (place, log) = below.splitTop(placeHeight)
    if isTall {
      placeFrame = place
      logFrame = log
    } else if ui.showsLog || ui.focus == 4 {
      logFrame = place
    } else {
      placeFrame = place
    }
  }

  private mutating func placeTable(_ ui: UIState) {
    let hasRoom = ui.height >= ScreenSize.logHeight && ui.width >= 100
    let entryHeight = isOnePane ? (body.height >= 16 ? 6 : 0) : hasRoom ? 9 : body.height >= 25 ? 9 : 8
    let subclusterHeight = hasRoom ? 5 : 0
    let (table, below) = body.splitTop(body.height - entryHeight - subclusterHeight)
    tableFrame = table
    (entryFrame, subclusterFrame) = below.splitTop(entryHeight)
  }

  private mutating func placeFragmentation(_ ui: UIState) {
    if isOnePane {
      switch ui.fragmentation.pane {
      case 2: numbersPane = body
      case 3: lengthsPane = body
      default: plotPane = body
      }
      return
    }
    let isTall = ui.height >= ScreenSize.logHeight
    let (panes, below) = body.splitBottom(isTall ? 11 : 4)
    if isTall { (lengthsPane, regionLines) = below.splitTop(9) } else { regionLines = below }
    (plotPane, numbersPane) = panes.splitLeft(panes.width - (ui.width >= 110 ? 40 : 27))
  }

  /// Letters of an offset on the axis of the plot.
  static let plotLabelWidth = 6
  /// The cells of the plot, between the axes.
  var plot: Rect {
    let inner = plotPane.inset(1, 1)
    let (cells, _) = inner.splitBottom(2)
    return cells.splitLeft(Self.plotLabelWidth + 1).rest
  }

  /// The map has a line with the offsets of its columns above it.
  var guestHasHeading: Bool { guestFrame.height >= 14 && !isOnePane }
  var guestMap: Rect {
    let inner = guestFrame.inset(1, 1)
    return guestHasHeading ? inner.splitTop(1).rest : inner
  }
  var host: Rect { hostFrame.inset(1, 1) }
  var place: Rect { placeFrame.inset(1, 1) }
  var log: Rect { logFrame.inset(1, 1) }
  /// Lines below the host map for legend, totals and owner.
  var hostFactsHeight: Int {
    let height = host.height
    return height >= 24 ? 16 : height >= 16 ? 14 : height >= 10 ? 8 : max(0, height - 4)
  }
}
