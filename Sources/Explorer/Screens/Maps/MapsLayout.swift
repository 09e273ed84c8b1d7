// Where the panes of the main screen stand. Three forms: all panes, panes without a log of its own, and one pane
// at a time on small screens.

import CellScreen

/// A pane of the main screen, by its number.
enum PaneNumber: Int, CaseIterable, Sendable {
  case guestMap = 1
  case hostMap, place, log
}

/// The frames of the panes, empty for those that are not shown.
struct MapsLayout {
  private var frames: [PaneNumber: Rect] = [:]
  private let focus: PaneNumber
  private let isOnePane: Bool

  init(_ frame: ScreenFrame, focus: PaneNumber, showsLog: Bool) {
    self.focus = focus
    isOnePane = frame.isOnePane
    guard !frame.isTooSmall else { return }
    if isOnePane {
      frames[focus] = frame.body
      return
    }
    let placeHeight = frame.isTall ? 9 : 8
    let spare = frame.body.height - placeHeight - 13
    let logHeight = frame.isTall ? min(8 + max(0, spare - 15) / 4, 16) : 0
    let (maps, below) = frame.body.splitTop(frame.body.height - placeHeight - logHeight)
    let hostWidth = max(34, frame.width / 3)
    let (left, right) = maps.splitLeft(frame.width - hostWidth)
    frames[.guestMap] = left
    frames[.hostMap] = right
    let (place, log) = below.splitTop(placeHeight)
    if frame.isTall {
      frames[.place] = place
      frames[.log] = log
    } else {
      frames[showsLog || focus == .log ? .log : .place] = place
    }
  }

  func room(_ pane: PaneNumber) -> PaneRoom {
    PaneRoom(
      frame: frames[pane] ?? Rect(x: 0, y: 0, width: 0, height: 0), isFocused: focus == pane,
      isAlone: isOnePane)
  }
}
