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

  /// Adds rows in the order of the disk, with what begins at each.
  mutating func add(_ rows: UnsafeBufferPointer<EntryRow>, _ marks: UnsafeMutableBufferPointer<RowMarks>) {
    let bits = UInt64(clusterBits)
    unsafe regions.withUnsafeMutableBufferPointer { regions in
      for index in rows.indices {
        unsafe Self.add(rows[index], marks[index], to: regions, bits)
      }
    }
  }

  @inline(__always)
  private static func add(
    _ row: EntryRow, _ marks: RowMarks, to regions: UnsafeMutableBufferPointer<Region>, _ bits: UInt64
  ) {
    var index = Int(truncatingIfNeeded: row.guest &>> bits)
    guard index >= 0, index < regions.count else { return }
    let (beginsRun, beginsStretch) = (marks.contains(.beginsRun), marks.contains(.beginsStretch))
    if unsafe regions[index].clusters == 0 {
      unsafe regions[index].continuesRun = !beginsRun
      unsafe regions[index].continuesStretch = !beginsStretch
    }
    if beginsRun { unsafe regions[index].runs &+= 1 }
    if beginsStretch { unsafe regions[index].stretches &+= 1 }
    var at = row.guest
    let end = row.guest &+ row.count
    while at < end, index < regions.count {
      let next = min(end, (UInt64(index) &+ 1) &<< bits)
      unsafe regions[index].clusters &+= next &- at
      at = next
      index &+= 1
      if at < end, index < regions.count {
        unsafe (regions[index].continuesRun, regions[index].continuesStretch) = (true, true)
      }
    }
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
