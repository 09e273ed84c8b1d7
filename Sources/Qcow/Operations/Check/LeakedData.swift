// What leaked clusters hold, as a value, and the list of leaked clusters that a check collects on its way.

import QcowFormat
import Storage

/// Leaked clusters whose bytes are not all zero, and the part of the disk that they may belong to.
package struct LeakedData: Equatable, Sendable {
  /// Why a part of the disk may have lost them.
  package enum Hint: Equatable, Sendable {
    /// It has no L2 table, and one of the clusters reads like one.
    case missingTable
    /// The clusters in front of and behind them in the file are its neighbours.
    case neighbours
    /// Its entries have bits that mean nothing.
    case strayBits
    /// Its L2 table has no entry, and lies directly in front of them.
    case emptyTable
    /// It has no L2 table.
    case noTable
    case unknown
  }

  /// Clusters that hold data, and clusters of compressed data that are counted more often than used.
  package var clusters: UInt64 = 0
  /// Rows of them.
  var runs = RunList<HostCluster>()
  /// Where they may come from.
  package var hint = Hint.unknown
  /// The parts of the disk that may have lost them.
  var guests = RunList<GuestOffset>()
  let geometry: Geometry

  init(_ geometry: Geometry) { self.geometry = geometry }

  mutating func add(_ row: Range<HostCluster>) {
    clusters += (row.upperBound - row.lowerBound).value
    runs.add(row)
  }

  /// "3 clusters without an owner hold data (host 0x50000 to 0x7ffff); they may be the last copy of guest
  /// 0x0 to 0x1fffffff, which has no L2 table".
  package var description: String {
    var text =
      "\(counted(clusters, "cluster")) without an owner \(worded(clusters, "holds", "hold")) data"
      + " (host \(runs.words { geometry.start(of: $0).value }))"
    text += "; \(worded(clusters, "it", "they")) may be the last copy of "
    guard !guests.isEmpty else { return text + "some part of the disk" }
    text += "guest " + guests.words(\.value)
    switch hint {
    case .missingTable, .noTable: return text + ", which has no L2 table"
    case .emptyTable:
      return text + ", whose L2 table lies in front of \(worded(clusters, "it", "them")) and is empty"
    case .neighbours: return text + ", whose neighbours lie beside \(worded(clusters, "it", "them"))"
    case .strayBits: return text + ", whose entries have bits that mean nothing"
    case .unknown: return text
    }
  }
}

/// Collects the leaked clusters of a check.
struct LeakList {
  private static let maximum = 1 << 16
  /// Rising runs of host clusters without a reference.
  private(set) var runs: [Range<HostCluster>] = []
  /// Clusters with fewer references than their count.
  private(set) var overcounted: [HostCluster] = []
  /// Leaked clusters for which there was no room.
  private(set) var left: UInt64 = 0

  mutating func add(_ finding: CheckFinding) {
    guard case .refcountWrong(let number, let refcount, let references) = finding.kind,
      refcount > references
    else { return }
    let cluster = HostCluster(number)
    if references > 0 {
      if overcounted.count < Self.maximum { overcounted.append(cluster) } else { left += 1 }
    } else if runs.last?.upperBound == cluster || runs.count < Self.maximum {
      runs.add(cluster)
    } else {
      left += 1
    }
  }

  func contains(_ cluster: HostCluster) -> Bool { runs.holds(cluster) }
}

extension [Range<HostCluster>] {
  /// Adds a cluster behind all others; to the last row if it follows that.
  mutating func add(_ cluster: HostCluster) {
    if let last, last.upperBound == cluster {
      self[count - 1] = last.lowerBound..<cluster + 1
    } else {
      append(cluster..<cluster + 1)
    }
  }

  /// A cluster lies in one of the rows, which rise.
  func holds(_ cluster: HostCluster) -> Bool {
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if self[middle].upperBound <= cluster { low = middle + 1 } else { high = middle }
    }
    return low < count && self[low].contains(cluster)
  }
}
