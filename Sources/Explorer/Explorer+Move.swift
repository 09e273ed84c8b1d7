// Moving: the same fourteen movements in maps, lists, tables, bytes and help. Each place says what a
// cell, a row and a page are there.

import Cartography
import CellScreen
import QcowFormat

extension Explorer {
  func move(_ id: CommandID, _ count: Int) {
    let count = max(1, min(count, 1 << 30))
    switch context {
    case .guestMap: moveOnMap(id, count, .guest)
    case .hostMap: moveOnMap(id, count, .host)
    // The pane has no rows to select: it moves the cursor it explains. Pages are its own where it has more
    // lines than room.
    case .whereIsIt:
      let scroll = placeScroll
      switch id {
      case .pageUp where scroll > 0, .pageDown where scroll > 0, .halfUp where scroll > 0,
        .halfDown where scroll > 0:
        let page = max(1, ScreenLayout(ui).place.height - 1)
        ui.placeTop = moved(min(ui.placeTop, scroll), id, count, in: scroll + 1, page: page)
      default: moveOnMap(id, count, ui.cursor.side)
      }
    case .log: ui.logSelected = moved(ui.logSelected, id, count, in: session.done.count, page: logHeight)
    case .table: moveInTable(id, count)
    case .hex: moveInHex(id, count)
    case .lab: ui.lab.selected = moved(ui.lab.selected, id, count, in: lab?.runs.count ?? 0, page: 1)
    case .fragmentation: moveInPlot(id, count)
    case .help:
      ui.helpFound = nil
      ui.helpTop = moved(
        ui.helpTop, id, count, in: helpLines().count, page: max(1, ScreenLayout(ui).body.height - 3))
    }
  }

  private var logHeight: Int { max(1, ScreenLayout(ui).log.height - 1) }

  /// A row of a list after a movement.
  func moved(_ row: Int, _ id: CommandID, _ count: Int, in rows: Int, page: Int) -> Int {
    let last = max(0, rows - 1)
    let step: Int
    switch id {
    case .up, .left, .previousUsed: step = -count
    case .down, .right, .nextUsed: step = count
    case .pageUp: step = -count * page
    case .pageDown: step = count * page
    case .halfUp: step = -count * max(1, page / 2)
    case .halfDown: step = count * max(1, page / 2)
    case .first, .rowStart: return 0
    case .last, .rowEnd: return last
    default: return row
    }
    let (sum, overflow) = row.addingReportingOverflow(step)
    return overflow ? (step > 0 ? last : 0) : max(0, min(last, sum))
  }

  // MARK: Maps

  private func moveOnMap(_ id: CommandID, _ count: Int, _ side: Side) {
    let layout = ScreenLayout(ui)
    let shape = side == .guest ? guestShape(layout) : hostShape(layout)
    guard shape.cellCount > 0 else { return }
    let position = side == .guest ? ui.cursor.guest : ui.cursor.host
    if id == .nextUsed || id == .previousUsed {
      moveToUsed(shape, position, side, forward: id == .nextUsed, count)
      return
    }
    let cell = shape.cell(of: position)
    let columns = UInt64(shape.columns)
    let last = shape.cellCount - 1
    func forward(_ by: UInt64) -> UInt64 { cell + min(last - min(cell, last), by) }
    func backward(_ by: UInt64) -> UInt64 { cell - min(cell, by) }
    /// Rows keep the column, so that a move back returns.
    func rows(_ wanted: UInt64, down: Bool) -> UInt64 {
      let row = cell / columns
      let lastRow = last / columns
      let by = min(wanted, down ? lastRow - row : row)
      return down ? min(last, cell + by * columns) : cell - by * columns
    }
    let steps = UInt64(count)
    let page = UInt64(max(1, shape.rows)).multipliedReportingOverflow(by: steps).partialValue
    let half = UInt64(max(1, shape.rows / 2)).multipliedReportingOverflow(by: steps).partialValue
    let target: UInt64
    switch id {
    case .left: target = backward(steps)
    case .right: target = forward(steps)
    case .up: target = rows(steps, down: false)
    case .down: target = rows(steps, down: true)
    case .pageUp: target = rows(page, down: false)
    case .pageDown: target = rows(page, down: true)
    case .halfUp: target = rows(half, down: false)
    case .halfDown: target = rows(half, down: true)
    case .first: target = 0
    case .last: target = last
    case .rowStart: target = cell - cell % columns
    case .rowEnd: target = min(last, cell - cell % columns + columns - 1)
    default: return
    }
    // A movement that leads nowhere must not snap the position to the start of its cell.
    if target != cell { setCursor(side, shape.start(ofCell: target)) }
  }

  private func moveToUsed(_ shape: MapShape, _ position: UInt64, _ side: Side, forward: Bool, _ count: Int) {
    var position = position
    for _ in 0..<min(count, 1000) {
      guard let next = nextUsed(shape, position, side, forward: forward) else {
        tell(forward ? "nothing in use behind here" : "nothing in use before here")
        break
      }
      position = next
    }
    if position != (side == .guest ? ui.cursor.guest : ui.cursor.host) { setCursor(side, position) }
  }

  /// The start of the nearest cluster in use that lies in another cell.
  private func nextUsed(_ shape: MapShape, _ position: UInt64, _ side: Side, forward: Bool) -> UInt64? {
    let cell = shape.cell(of: position)
    let bits = UInt64(geometry.clusterBits)
    // Searching starts at the edge of the cell.
    let edge: UInt64
    if forward {
      edge = shape.start(ofCell: cell) + (shape.cellBytes - 1)
    } else {
      edge = shape.start(ofCell: cell)
    }
    let from = edge >> bits
    var best: UInt64?
    func consider(_ found: UInt64?) {
      guard let found else { return }
      best = best.map { forward ? min($0, found) : max($0, found) } ?? found
    }
    if side == .guest {
      for state in GuestState.allCases where !state.isBackground {
        consider(session.atlas.nextGuest(state, from: from, forward: forward))
      }
    } else {
      for state in HostState.allCases where !state.isBackground && !showsDataFile {
        consider(session.atlas.nextHost(state, from: from, forward: forward))
      }
    }
    return best.map { $0 << bits }
  }

  // MARK: The twin cursor

  /// Moves one side; the other follows where there is a mapping.
  func setCursor(_ side: Side, _ offset: UInt64) {
    ui.cursor.side = side
    if side == .guest { ui.cursor.guest = offset } else { ui.cursor.host = offset }
    ui.placeTop = 0
    reanchor()
  }

  /// Finds the other address of the cursor again, as after an operation.
  func reanchor() {
    let place = currentPlace()
    switch ui.cursor.side {
    case .guest:
      ui.cursor.isTwinned = place.host != nil
      if let host = place.host {
        ui.cursor.host = host.value
        ui.cursor.file = place.isInDataFile && session.dataMap != nil ? .data : .image
      }
    case .host:
      ui.cursor.isTwinned = place.guest != nil
      if let guest = place.guest { ui.cursor.guest = guest.value }
    }
  }

  /// Everything about the cursor.
  func currentPlace() -> Place {
    switch ui.cursor.side {
    case .guest: .guest(GuestOffset(ui.cursor.guest), in: session.atlas)
    case .host:
      if ui.cursor.file == .data, let map = session.dataMap {
        .dataFile(HostOffset(ui.cursor.host), in: map, session.atlas)
      } else {
        .host(HostOffset(ui.cursor.host), in: session.owners)
      }
    }
  }

  func setFocus(_ pane: Int) {
    if ui.screen == .fragmentation {
      ui.fragmentation.pane = max(1, min(FragmentationView.panes, pane))
      return
    }
    ui.screen = .explorer
    ui.focus = pane
    // The log stays where "Where is it?" was until that is asked for again.
    if pane == 4 { ui.showsLog = true }
    if pane == 3 { ui.showsLog = false }
    if pane == 1 && ui.cursor.side != .guest { switchSide(.guest) }
    if pane == 2 && ui.cursor.side != .host { switchSide(.host) }
    if pane == 4 { ui.logSelected = max(0, session.done.count - 1) }
  }

  private func switchSide(_ side: Side) {
    ui.cursor.side = side
    reanchor()
  }
}
