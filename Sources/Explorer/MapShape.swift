// How a map is laid out: columns, rows, bytes per cell, and which row is on top. All of it is
// arithmetic over sizes, so that a petabyte costs what a megabyte does.

import Cartography
import CellScreen
import QcowFormat
import Storage

/// The shape of one map in the room it has.
struct MapShape: Hashable, Sendable {
  /// Bytes of the disk or the file.
  var total: UInt64
  var clusterBits: Int
  /// log2 of clusters per cell; negative for parts of a cluster.
  var shift: Int
  /// Cells per row, a power of two.
  var columns: Int
  /// Visible rows.
  var rows: Int
  /// Digits of a row's address.
  var addressWidth: Int

  /// Cells between two gaps.
  static let group = 16

  /// Chooses columns and zoom for a room of `width` x `height` cells.
  init(total: UInt64, clusterBits: Int, finest: Int, zoom: Zoom, width: Int, height: Int, addressWidth: Int) {
    self.total = total
    self.clusterBits = clusterBits
    self.addressWidth = addressWidth
    rows = max(1, height)
    var columns = 8
    while columns < 256, Self.width(columns: columns * 2, addressWidth) <= width { columns *= 2 }
    self.columns = columns
    shift = 0
    switch zoom {
    case .clusters(let wanted): shift = max(finest, min(wanted, fitShift))
    case .fit: shift = max(finest, fitShift)
    case .automatic: shift = fitShift <= 0 || rowCount <= UInt64(rows) * 4 ? 0 : fitShift
    }
  }

  static func width(columns: Int, _ addressWidth: Int) -> Int {
    addressWidth + 3 + columns + (columns - 1) / group
  }

  var cellBits: Int { max(0, clusterBits + shift) }
  var cellBytes: UInt64 { 1 << UInt64(min(62, cellBits)) }
  var cellCount: UInt64 { total == 0 ? 0 : ((total - 1) >> UInt64(min(62, cellBits))) + 1 }
  var rowCount: UInt64 { max(1, (cellCount + UInt64(columns) - 1) / UInt64(columns)) }
  var rowBytes: UInt64 { cellBytes.multipliedReportingOverflow(by: UInt64(columns)).partialValue }

  /// The smallest zoom at which all rows are visible.
  var fitShift: Int {
    let cells = UInt64(columns) * UInt64(rows)
    var bits = 0
    while bits < 62, total > 0, (total - 1) >> UInt64(bits) >= cells { bits += 1 }
    return bits - clusterBits
  }

  func cell(of offset: UInt64) -> UInt64 { offset >> UInt64(min(62, cellBits)) }
  func row(of offset: UInt64) -> UInt64 { cell(of: offset) / UInt64(columns) }
  func column(of offset: UInt64) -> Int { Int(cell(of: offset) % UInt64(columns)) }

  /// First byte of a cell; the last one of the map for cells behind it.
  func start(ofCell cell: UInt64) -> UInt64 {
    guard cellCount > 0 else { return 0 }
    return min(cell, cellCount - 1) << UInt64(min(62, cellBits))
  }

  /// Where a cell of the visible rows is drawn, relative to the left edge of the room.
  func x(ofColumn column: Int) -> Int { 3 + addressWidth + column + column / Self.group }

  /// The column at an x, if there is a cell.
  func column(atX x: Int) -> Int? {
    (0..<columns).first { self.x(ofColumn: $0) == x }
  }

  /// The first row to show so that `offset` is visible and as little as possible moves.
  func top(keeping top: UInt64, visible offset: UInt64) -> UInt64 {
    let last = rowCount > UInt64(rows) ? rowCount - UInt64(rows) : 0
    let row = row(of: offset)
    var top = min(top, last)
    if row < top { top = row }
    if row - top >= UInt64(rows) { top = row - UInt64(rows) + 1 }
    return top
  }
}

extension Explorer {
  /// Parts of a cluster that the maps can show.
  var finestShift: Int { geometry.hasExtendedL2 ? -5 : 0 }

  /// Bytes of the host map.
  var hostTotal: UInt64 {
    if showsDataFile, let map = session.dataMap {
      return map.clusters.multipliedReportingOverflow(by: geometry.clusterSize).partialValue
    }
    let clusters = max(session.atlas.hostClusters, geometry.clustersCovering(session.overlay.length))
    return clusters.multipliedReportingOverflow(by: geometry.clusterSize).partialValue
  }

  func guestShape(_ layout: ScreenLayout) -> MapShape {
    let digits = max(7, String(max(1, geometry.virtualSize) - 1, radix: 16).count)
    let room = layout.guestMap
    return MapShape(
      total: geometry.virtualSize, clusterBits: geometry.clusterBits, finest: finestShift,
      zoom: ui.guest.zoom,
      width: room.width, height: room.height, addressWidth: digits)
  }

  func hostShape(_ layout: ScreenLayout) -> MapShape {
    let digits = max(6, String(max(1, hostTotal) - 1, radix: 16).count)
    let room = layout.host
    let facts = min(layout.hostFactsHeight, max(0, room.height - 1))
    var shape = MapShape(
      total: hostTotal, clusterBits: geometry.clusterBits, finest: finestShift, zoom: ui.host.zoom,
      width: room.width, height: max(1, room.height - facts), addressWidth: digits)
    // What the map does not need goes to the facts below it.
    shape.rows = Int(clamping: min(UInt64(shape.rows), shape.rowCount))
    return shape
  }

  /// Brings every window into a state that can be drawn: tops, selections, positions.
  func settle() {
    let layout = ScreenLayout(ui)
    if geometry.virtualSize > 0 { ui.cursor.guest = min(ui.cursor.guest, geometry.virtualSize - 1) }
    ui.cursor.host = min(ui.cursor.host, max(1, hostTotal) - 1)
    ui.guest.top = guestShape(layout).top(keeping: ui.guest.top, visible: ui.cursor.guest)
    ui.host.top = hostShape(layout).top(keeping: ui.host.top, visible: ui.cursor.host)
    let operations = session.done.count
    ui.logSelected = max(0, min(ui.logSelected, operations - 1))
    if ui.screen == .table { settleTable(layout) }
    if ui.screen == .hex { settleHex(layout) }
    ui.lab.selected = max(0, min(ui.lab.selected, (lab?.runs.count ?? 1) - 1))
    if ui.screen == .fragmentation { settleFragmentation(layout) }
    let helpRows = max(1, layout.body.height - 2)
    ui.helpTop = max(0, min(ui.helpTop, helpLines().count - helpRows))
  }
}
