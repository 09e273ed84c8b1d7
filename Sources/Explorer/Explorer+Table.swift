// Moving in the L2 table and on the hex page, and keeping the twin cursor with them, so that leaving
// them shows the same place on the maps.

import Cartography
import CellScreen
import QcowFormat
import Qcow

extension Explorer {
  /// The row that holds the selected entry.
  func selectedRow() -> L2View.Row? {
    guard let view = tableView() else { return nil }
    return view.row(view.rowNumber(ofEntry: ui.tableEntry))
  }

  func moveInTable(_ id: CommandID, _ count: Int) {
    guard let view = tableView() else { return }
    let lastSubcluster = geometry.subclustersPerCluster - 1
    switch id {
    case .left where geometry.hasExtendedL2:
      ui.subcluster = max(0, ui.subcluster - min(count, 32))
    case .right where geometry.hasExtendedL2:
      ui.subcluster = min(lastSubcluster, ui.subcluster + min(count, 32))
    case .rowStart: ui.subcluster = 0
    case .rowEnd: ui.subcluster = lastSubcluster
    case .nextUsed, .previousUsed:
      for _ in 0..<min(count, 1 << 18) {
        guard let next = view.nextUsed(from: ui.tableEntry, forward: id == .nextUsed) else {
          tell(id == .nextUsed ? "no entry in use behind here" : "no entry in use before here")
          break
        }
        ui.tableEntry = next
      }
    default:
      let row = moved(view.rowNumber(ofEntry: ui.tableEntry), id, count, in: view.rowCount, page: tableHeight)
      select(row, view)
    }
    pullCursorToEntry()
  }

  var tableHeight: Int { max(1, ScreenLayout(ui).tableFrame.height - 3) }

  func select(_ row: Int, _ view: L2View) {
    switch view.row(row) {
    case .entry(let entry): ui.tableEntry = entry.index
    case .unused(let first, _), .pastEnd(let first, _): ui.tableEntry = first
    case nil: break
    }
  }

  /// The cursor of the maps goes where the selected entry and subcluster are.
  func pullCursorToEntry() {
    ui.tableEntry = max(0, min(ui.tableEntry, geometry.l2EntriesPerTable - 1))
    ui.subcluster = max(0, min(ui.subcluster, geometry.subclustersPerCluster - 1))
    let start = geometry.guestOffset(l1Index: ui.tableL1, l2Index: ui.tableEntry).value
    let offset = start + UInt64(ui.subcluster) * geometry.subclusterSize
    if offset < geometry.virtualSize { setCursor(.guest, offset) }
  }

  func settleTable(_ layout: ScreenLayout) {
    ui.tableL1 = max(0, min(ui.tableL1, session.image.l1Count - 1))
    guard let view = tableView() else { return }
    let height = max(1, layout.tableFrame.height - 3)
    let window = ListWindow(
      count: view.rowCount, height: height, selected: view.rowNumber(ofEntry: ui.tableEntry), top: ui.tableTop
    )
    ui.tableTop = window.top
  }

  // MARK: Hex page

  /// Bytes in a row of the hex page: as many as leave room for the names of the fields.
  var hexColumns: Int { ui.width >= 110 ? 16 : 8 }
  var hexRows: Int { max(1, ScreenLayout(ui).body.height - 6) }

  func moveInHex(_ id: CommandID, _ count: Int) {
    let total = hostTotal
    guard total > 0 else { return }
    let columns = UInt64(hexColumns)
    let steps = UInt64(count)
    let page = UInt64(hexRows) &* columns
    func forward(_ by: UInt64) { ui.hexOffset += min(by, total - 1 - min(ui.hexOffset, total - 1)) }
    func backward(_ by: UInt64) { ui.hexOffset -= min(by, ui.hexOffset) }
    switch id {
    case .left: backward(steps)
    case .right: forward(steps)
    case .up: if ui.hexOffset >= columns { backward(min(ui.hexOffset / columns, steps) * columns) }
    case .down: forward(min((total - 1 - ui.hexOffset) / columns, steps) * columns)
    case .pageUp: backward(min(ui.hexOffset / columns * columns, page &* steps))
    case .pageDown: forward(min((total - 1 - ui.hexOffset) / columns * columns, page &* steps))
    case .halfUp: backward(min(ui.hexOffset / columns * columns, page / 2 / columns * columns &* steps))
    case .halfDown:
      forward(min((total - 1 - ui.hexOffset) / columns * columns, page / 2 / columns * columns &* steps))
    case .first: ui.hexOffset = 0
    case .last: ui.hexOffset = total - 1
    case .rowStart: ui.hexOffset -= ui.hexOffset % columns
    case .rowEnd: ui.hexOffset = min(total - 1, ui.hexOffset - ui.hexOffset % columns + columns - 1)
    default: break
    }
    ui.cursor.file = ui.hexFile
    setCursor(.host, ui.hexOffset)
  }

  func settleHex(_ layout: ScreenLayout) {
    ui.hexOffset = min(ui.hexOffset, max(1, hostTotal) - 1)
    let columns = UInt64(hexColumns)
    let rows = UInt64(hexRows)
    let row = ui.hexOffset / columns
    var top = ui.hexTop / columns
    if row < top { top = row }
    if row - top >= rows { top = row - rows + 1 }
    ui.hexTop = top * columns
  }
}
