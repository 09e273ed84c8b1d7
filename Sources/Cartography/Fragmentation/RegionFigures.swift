// Where on the disk the runs are: their number in up to 1024 regions of equal size, and the regions where
// most of them could be saved.

/// Runs per region of the disk.
package struct RegionFigures: Equatable, Sendable {
  private static let maximum: UInt64 = 1024

  /// What begins in a region, and how much of it is allocated.
  package struct Region: Equatable, Sendable {
    /// Runs that begin there.
    package internal(set) var runs: UInt64 = 0
    /// Stretches of allocated clusters that begin there.
    package internal(set) var stretches: UInt64 = 0
    /// Allocated clusters.
    package internal(set) var clusters: UInt64 = 0
    /// Its first cluster goes on with the run, or the stretch, of one in front of the region.
    var continuesRun = false
    var continuesStretch = false
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
  /// All regions, from the start of the disk.
  package private(set) var regions: [Region]
  private let guestClusters: UInt64

  init(clusters: UInt64) {
    guestClusters = clusters
    var bits = 0
    while bits < 62, (clusters >> UInt64(bits)) >= Self.maximum { bits += 1 }
    clusterBits = bits
    regions = Array(repeating: Region(), count: Int(clusters >> UInt64(bits)) + 1)
  }

  /// Adds a row behind all others, with what begins at it.
  ///
  /// - Returns: the end of the region in which the row ends, in guest clusters; 0 if there is none. What lies in front
  ///   of it belongs to a region that has clusters.
  mutating func add(_ row: EntryRow, beginsRun: Bool, beginsStretch: Bool) -> UInt64 {
    let bits = UInt64(clusterBits)
    var index = Int(truncatingIfNeeded: row.guest &>> bits)
    guard regions.indices.contains(index) else { return 0 }
    if regions[index].clusters == 0 {
      regions[index].continuesRun = !beginsRun
      regions[index].continuesStretch = !beginsStretch
    }
    if beginsRun { regions[index].runs &+= 1 }
    if beginsStretch { regions[index].stretches &+= 1 }
    var at = row.guest
    let end = row.guest &+ row.count
    while at < end, index < regions.count {
      let next = min(end, (UInt64(index) &+ 1) &<< bits)
      regions[index].clusters &+= next &- at
      at = next
      index &+= 1
      if at < end, index < regions.count {
        (regions[index].continuesRun, regions[index].continuesStretch) = (true, true)
      }
    }
    return UInt64(index) &<< bits
  }

  /// Adds what lies in a region that has clusters, by its end; nothing if that is 0.
  mutating func add(_ more: Region, before end: UInt64) {
    guard end > 0 else { return }
    regions[Int(truncatingIfNeeded: end &>> UInt64(clusterBits)) &- 1] += more
  }

  /// Neighbouring regions together.
  package struct Group: Equatable, Sendable {
    /// Guest clusters.
    package var range: Range<UInt64>
    /// What is in all of them.
    package var total: Region
  }

  /// Regions that groups are built around.
  private static let seeds = 32
  /// Regions without much in them that a group goes over.
  private static let bridge = 3

  /// Groups of regions where most runs could be saved, at most `limit`, the worst one first. A group grows
  /// from the worst region left to both sides, as long as one of the next four regions has a quarter as many
  /// such runs at least.
  package func worst(_ limit: Int) -> [Group] {
    var isTaken = Array(repeating: false, count: regions.count)
    var groups: [Group] = []
    while groups.count < Self.seeds {
      var seed: Int?
      for index in regions.indices where !isTaken[index] && regions[index].breaks > 0 {
        if let best = seed, regions[best].breaks >= regions[index].breaks { continue }
        seed = index
      }
      guard let seed else { break }
      let low = edge(from: seed, step: -1, isTaken)
      let high = edge(from: seed, step: 1, isTaken)
      var total = Region()
      for index in low...high {
        isTaken[index] = true
        if total.clusters == 0 {
          // What begins in front of the group is seen in it too.
          if regions[index].continuesRun { total.runs &+= 1 }
          if regions[index].continuesStretch { total.stretches &+= 1 }
        }
        total += regions[index]
      }
      let bits = UInt64(clusterBits)
      groups.append(
        Group(range: UInt64(low) << bits..<min(guestClusters, UInt64(high + 1) << bits), total: total))
    }
    groups.sort {
      $0.total.breaks != $1.total.breaks
        ? $0.total.breaks > $1.total.breaks : $0.range.lowerBound < $1.range.lowerBound
    }
    return Array(groups.prefix(limit))
  }

  /// The last region of a group on one side.
  private func edge(from seed: Int, step: Int, _ isTaken: [Bool]) -> Int {
    let least = max(1, regions[seed].breaks / 4)
    var (edge, at) = (seed, seed + step)
    while regions.indices.contains(at), !isTaken[at], (at - edge).magnitude <= Self.bridge + 1 {
      if regions[at].breaks >= least { edge = at }
      at += step
    }
    return edge
  }
}
