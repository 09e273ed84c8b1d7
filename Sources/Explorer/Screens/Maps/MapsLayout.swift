// Where the panes of the main screen stand. Three forms: all panes, panes without a log of its own, and one pane
// at a time on small screens or where one is enlarged. The maps take what they can fill, the log and the place what
// they hold, and what is left shows the sizes of the file.

import CellScreen

/// A pane of the main screen, by its number.
enum PaneNumber: Int, CaseIterable, Sendable {
  case guestMap = 1
  case hostMap, place, log
}

/// The frames of the panes, empty for those that are not shown.
struct MapsLayout {
  /// What the panes are asked before they are given room.
  struct Wishes {
    /// Panes that are not to be shown.
    var hidden: Set<PaneNumber> = []
    /// The pane that has the keys is to have all of the screen.
    var isEnlarged = false
    /// Lines that the log holds.
    var logLines = 0
    /// Rows that the maps can fill in the largest rooms that they could have, frames included.
    var mapRows: (_ guest: PaneRoom, _ host: PaneRoom) -> Int
  }

  private var frames: [PaneNumber: Rect] = [:]
  /// Room that no pane can fill; empty if there is none.
  private(set) var spare = Rect(x: 0, y: 0, width: 0, height: 0)
  private let focus: PaneNumber
  private let isOnePane: Bool

  /// Rows with which the log says something.
  private static let logRows = 8
  /// Rows with which the maps and the legend below them do.
  private static let mapRows = 14
  /// Rows that are worth a picture of their own.
  private static let spareRows = 7

  init(_ frame: ScreenFrame, focus: PaneNumber, showsLog: Bool, _ wishes: Wishes) {
    self.focus = focus
    isOnePane = frame.isOnePane || wishes.isEnlarged
    guard !frame.isTooSmall else { return }
    if isOnePane {
      frames[focus] = frame.body
      return
    }
    let body = frame.body
    func isShown(_ pane: PaneNumber) -> Bool { !wishes.hidden.contains(pane) }
    guard frame.isTall else {
      let wanted: PaneNumber = showsLog || focus == .log ? .log : .place
      let below = [wanted, wanted == .log ? .place : .log].first(where: isShown)
      let (maps, rest) = body.splitTop(body.height - (below == nil ? 0 : 8))
      if let below { frames[below] = rest }
      placeMaps(maps, wishes)
      return
    }
    let placeRows = isShown(.place) ? 9 : 0
    let all = body.height - placeRows
    let logLeast = isShown(.log) ? min(Self.logRows, wishes.logLines + 2) : 0
    let mapMost = max(Self.mapRows, all - logLeast)
    placeMaps(body.splitTop(mapMost).top, wishes)
    let mapRows = max(Self.mapRows, min(mapMost, wishes.mapRows(room(.guestMap), room(.hostMap))))
    var left = all - mapRows
    var logRows = isShown(.log) ? min(left, max(logLeast, wishes.logLines + 2)) : 0
    left -= logRows
    // What is too little for a picture goes to the words, or to the maps.
    var more = 0
    if left < Self.spareRows {
      if logRows > 0 { logRows += left } else { more = left }
      left = 0
    }
    let (maps, below) = body.splitTop(mapRows + more)
    placeMaps(maps, wishes)
    let (place, lower) = below.splitTop(placeRows)
    let (log, rest) = lower.splitTop(logRows)
    if placeRows > 0 { frames[.place] = place }
    if logRows > 0 { frames[.log] = log }
    spare = rest
  }

  private mutating func placeMaps(_ area: Rect, _ wishes: Wishes) {
    let both = !wishes.hidden.contains(.guestMap) && !wishes.hidden.contains(.hostMap)
    guard both else {
      frames[wishes.hidden.contains(.guestMap) ? .hostMap : .guestMap] = area
      return
    }
    (frames[.guestMap], frames[.hostMap]) = area.splitLeft(area.width - max(34, area.width / 3))
  }

  func room(_ pane: PaneNumber) -> PaneRoom {
    PaneRoom(
      frame: frames[pane] ?? Rect(x: 0, y: 0, width: 0, height: 0), isFocused: focus == pane,
      isAlone: isOnePane)
  }
}
