// Where on the disk the runs are: their number in up to 1024 regions of equal size, and the regions where
// most of them could be saved.

/// Runs per region of the disk.
package struct RegionFigures: Equatable, Sendable {
  private static let maximum: UInt64 = 1024

  /// What begins in a region, and how much of it is allocated.
  package struct Region: Equatable, Sendable {
    package internal(set) var runs: UInt64 = 0
    package internal(set) var stretches: UInt64 = 0
    package internal(set) var clusters: UInt64 = 0
    /// Runs that could be saved.
    package var breaks: UInt64 { runs - min(runs, stretches) }

    static func += (a: inout Self, b: Self) {
      a.runs &+= b.runs
      a.stretches &+= b.stretches
      a.clusters &+= b.clusters
    }
  }

  /// Guest clusters of a region as a power of two.
  package let clusterBits: Int
  package private(set) var regions: [Region]
  private let guestClusters: UInt64

  init(clusters: UInt64) {
    guestClusters = clusters
    var bits = 0
    while bits < 62, (clusters >> UInt64(bits)) >= Self.maximum { bits += 1 }
    clusterBits = bits
    regions = Array(repeating: Region(), count: Int(clusters >> UInt64(bits)) + 1)
  }

  @inline(__always)
  mutating func add(_ guest: UInt64, _ count: UInt64, beginsRun: Bool, beginsStretch: Bool) {
    let bits = UInt64(clusterBits)
    var index = Int(truncatingIfNeeded: guest >> bits)
    guard index >= 0, index < regions.count else { return }
    if beginsRun { regions[index].runs &+= 1 }
    if beginsStretch { regions[index].stretches &+= 1 }
    var at = guest
    let end = guest &+ count
    while at < end, index < regions.count {
      let next = min(end, (UInt64(index) + 1) << bits)
      regions[index].clusters &+= next &- at
      at = next
      index += 1
    }
  }

  /// Neighbouring regions together.
  package struct Group: Equatable, Sendable {
    /// Guest clusters.
    package var range: Range<UInt64>
    package var total: Region
  }

  /// Groups of regions where most runs could be saved, at most `limit`, the worst one first. A group is a
  /// region and its neighbours on both sides that have half as many such runs at least.
  package func worst(_ limit: Int) -> [Group] {
    var isTaken = Array(repeating: false, count: regions.count)
    var groups: [Group] = []
    while groups.count < limit {
      var seed: Int?
      for index in regions.indices where !isTaken[index] && regions[index].breaks > 0 {
        if let best = seed, regions[best].breaks >= regions[index].breaks { continue }
        seed = index
      }
      guard let seed else { break }
      let least = max(1, regions[seed].breaks / 2)
      var (low, high) = (seed, seed + 1)
      while low > 0, !isTaken[low - 1], regions[low - 1].breaks >= least { low -= 1 }
      while high < regions.count, !isTaken[high], regions[high].breaks >= least { high += 1 }
      var total = Region()
      for index in low..<high {
        isTaken[index] = true
        total += regions[index]
      }
      let bits = UInt64(clusterBits)
      groups.append(
        Group(range: UInt64(low) << bits..<min(guestClusters, UInt64(high) << bits), total: total))
    }
    return groups.sorted {
      $0.total.breaks != $1.total.breaks
        ? $0.total.breaks > $1.total.breaks : $0.range.lowerBound < $1.range.lowerBound
    }
  }
}
