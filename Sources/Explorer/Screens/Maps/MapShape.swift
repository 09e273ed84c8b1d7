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
  /// Cells per row: 8, or groups of 16.
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
    var columns = Self.group
    while columns < 256, Self.width(columns: columns + Self.group, addressWidth) <= width {
      columns += Self.group
    }
    if Self.width(columns: columns, addressWidth) > width { columns = Self.group / 2 }
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

  /// The cell that a movement leads to; movements to places in use lead nowhere here.
  func cell(_ cell: UInt64, _ movement: Movement, _ steps: UInt64) -> UInt64 {
    let columns = UInt64(columns)
    let last = cellCount - 1
    /// Rows keep the column, so that a move back returns.
    func rows(_ wanted: UInt64, down: Bool) -> UInt64 {
      let row = cell / columns
      let by = min(wanted, down ? last / columns - row : row)
      return down ? min(last, cell + by * columns) : cell - by * columns
    }
    func times(_ height: Int) -> UInt64 {
      UInt64(max(1, height)).multipliedReportingOverflow(by: steps).partialValue
    }
    switch movement {
    case .left: return cell - min(cell, steps)
    case .right: return cell + min(last - min(cell, last), steps)
    case .up: return rows(steps, down: false)
    case .down: return rows(steps, down: true)
    case .pageUp: return rows(times(self.rows), down: false)
    case .pageDown: return rows(times(self.rows), down: true)
    case .halfUp: return rows(times(self.rows / 2), down: false)
    case .halfDown: return rows(times(self.rows / 2), down: true)
    case .first: return 0
    case .last: return last
    case .rowStart: return cell - cell % columns
    case .rowEnd: return min(last, cell - cell % columns + columns - 1)
    case .nextUsed, .previousUsed: return cell
    }
  }
}
