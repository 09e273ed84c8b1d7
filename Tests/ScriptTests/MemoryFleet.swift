// A fleet in memory: rows are made up, and come when a test says so.

@testable import Cartography
import Explorer
@testable import Qcow
import Storage

final class MemoryFleet: FleetShelf {
  var places = ["/images/"]
  var progress: FleetProgress?
  var leftOut = 0
  var problem: String?
  var waiting: [FleetNews] = []
  private(set) var asked: [String] = []

  func news() -> [FleetNews] {
    defer { waiting = [] }
    return waiting
  }
  func turn(to places: [String]) {
    self.places = places
    asked.append("turn")
  }
  func look(at row: FleetRow, always: Bool) { asked.append((always ? "" : "if changed ") + row.path) }
  func lookAgain(_ known: [FleetRow]) { asked.append("all \(known.count)") }
  func stop() {
    progress = nil
    asked.append("stop")
  }

  /// A sound image with figures that are worth being ordered by.
  static func row(
    _ path: String, virtual: UInt64 = 1 << 30, file: UInt64 = 1 << 20, reclaimable: UInt64 = 0,
    errors: UInt64 = 0, leaks: UInt64 = 0, parent: String? = nil
  ) -> FleetRow {
    var row = FleetRow(path)
    (row.format, row.version, row.clusterSize) = ("qcow2", 3, 65536)
    (row.virtualSize, row.bytes, row.hostBytes, row.mapped) = (virtual, file, file, file / 2)
    (row.leaked, row.freeInside, row.freeAtEnd) = (reclaimable, 0, 0)
    (row.snapshots, row.fragmented, row.zero, row.compressed) = (0, 12.5, 0, 0)
    (row.parent, row.chain) = (parent, parent.map { [$0] } ?? [])
    var check = CheckResult()
    (check.corruptions, check.leaks) = (errors, leaks)
    row.check = check
    return row
  }
}
