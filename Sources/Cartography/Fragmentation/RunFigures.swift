// The figures of fragmentation for one choice of clusters: runs, shifts, jumps, what they cost, and where
// they are. Rows come in the order of the disk; memory does not grow with them.

import QcowFormat

/// Which clusters are looked at; the others count as not allocated.
package enum ClusterChoice: String, CaseIterable, Sendable {
  case all, standard, compressed

  func takes(_ kind: EntryRow.Kind) -> Bool {
    switch self {
    case .all: true
    case .standard: kind != .compressed
    case .compressed: kind == .compressed
    }
  }
}

/// Places where reading the disk in order moves elsewhere in the file.
package struct Jumps: Equatable, Sendable {
  /// How many jumps.
  package internal(set) var count: UInt64 = 0
  /// The sum of all distances.
  package internal(set) var bytes = 0.0

  /// Bytes per jump; 0 without jumps.
  package var mean: Double { count == 0 ? 0 : bytes / Double(count) }

  mutating func add(_ distance: UInt64) { add(true, distance) }

  /// Adds a jump if it is one.
  @inline(__always)
  mutating func add(_ isJump: Bool, _ distance: UInt64) {
    count &+= isJump ? 1 : 0
    bytes += isJump ? Double(distance) : 0
  }
}

/// Figures of one choice of clusters.
///
/// *Run*: guest clusters in a row whose host clusters follow each other. A compressed cluster follows
/// another cluster where its stream begins in the sector in which that one ends, or at the next cluster.
/// *Stretch*: allocated guest clusters in a row of which all or none are compressed, wherever they lie. In
/// order means data in guest order and compressed streams behind it, as `qatlas defrag` leaves an image.
/// Every stretch then takes one run, so the best possible number of runs is the number of stretches: what
/// is not allocated, or lies compressed behind the data, ends a run and is not held against it.
/// *Jump*: the next cluster lies neither behind the last one nor at the same shift.
package struct RunFigures: Equatable, Sendable {
  /// Request sizes of ``reads`` as powers of two: 128 KiB, 1 MiB, 4 MiB.
  package static let requestBits = [17, 20, 22]

  /// Clusters that are looked at.
  package private(set) var clusters: UInt64 = 0
  /// Runs in the order of the disk.
  package private(set) var runs = RunLengths()
  /// Runs in the order of the file: what lies between two clusters and is no such cluster (tables, free
  /// clusters) does not end a run.
  package internal(set) var hostRuns = RunLengths()
  private var stretches: UInt64 = 0
  /// The number of runs if all lay in order, or of those there are if that is less.
  package var bestPossible: UInt64 {
    min(runs.count &+ (runLength > 0 ? 1 : 0), stretches &- (isJoined ? 1 : 0))
  }
  /// All data comes before all streams on the disk and the first stream directly behind it; in order it
  /// lies there in the file too.
  private var isJoined = false
  private var hasStreams = false
  /// Rows of clusters with the same shift, over clusters that are not allocated.
  package private(set) var shiftRuns: UInt64 = 0
  /// How many clusters have which shift.
  package private(set) var shifts = ShiftCounts()
  /// Jumps to a higher place in the file.
  package private(set) var forward = Jumps()
  /// Jumps to a lower place in the file.
  package private(set) var backward = Jumps()
  /// Jumps forward over tables and nothing else.
  package private(set) var overMetadata = Jumps()
  /// What sequential reads cost, by the size of the request.
  package var reads: [ReadCost] { readCosts.costs }
  private var readCosts: ReadCosts
  /// Where on the disk the runs are.
  package private(set) var regions: RegionFigures
  private let hasRegions: Bool
  private let countsShifts: Bool

  private let clusterBits: Int
  private let guestClusters: UInt64
  /// Bytes of the last cluster that lie behind the end of the disk.
  private let missing: UInt64
  private var last: EntryRow?
  private var runLength: UInt64 = 0
  private var shift: Int64 = 0
  private var shiftLength: UInt64 = 0
  private var order = HostOrder()

  init(_ geometry: Geometry, _ extent: FragmentationScan.Extent) {
    hasRegions = extent == .everything
    countsShifts = extent != .runs
    readCosts = ReadCosts(hasRegions ? Self.requestBits : countsShifts ? [20] : [])
    clusterBits = geometry.clusterBits
    guestClusters = geometry.clusterCount
    missing = geometry.clusterCount << UInt64(clusterBits) - geometry.virtualSize
    regions = RegionFigures(clusters: hasRegions ? geometry.clusterCount : 0)
  }

  /// Runs that could be saved by writing all clusters in order.
  package var breaks: UInt64 { runs.count - min(runs.count, bestPossible) }
  /// The file follows the disk: nothing but tables makes a reader jump. Clusters packed without holes are in
  /// order, and so are clusters at one shift whatever gaps there are.
  package var isInOrder: Bool { jumps == overMetadata.count }
  /// Jumps in both directions.
  package var jumps: UInt64 { forward.count &+ backward.count }
  /// Mean distance of all jumps in bytes.
  package var meanJump: Double { jumps == 0 ? 0 : (forward.bytes + backward.bytes) / Double(jumps) }

  /// True if `row` begins in the file where `last` ends.
  @inline(__always)
  static func follows(_ last: EntryRow, _ row: EntryRow, clusterBits: Int) -> Bool {
    if row.host == last.end { return true }
    guard last.kind == .compressed else { return false }
    // The stream ends anywhere in its last sector; whole clusters begin at the next boundary.
    if row.kind == .compressed, row.host < last.end, row.host > last.end &- 512 { return true }
    return row.host == roundUp(last.end, clusterBits)
  }

  @inline(__always)
  private static func roundUp(_ offset: UInt64, _ clusterBits: Int) -> UInt64 {
    let mask: UInt64 = 1 << UInt64(clusterBits) - 1
    return (offset &+ mask) & ~mask
  }

  /// Adds rows behind all others. `metadata` is where tables lie, `metadataCount` the clusters of them; `data` and
  /// `streams` are where such clusters have been seen up to now.
  mutating func add(
    _ rows: UnsafeBufferPointer<EntryRow>, _ metadata: borrowing ClusterBits, _ metadataCount: UInt64,
    _ data: borrowing ClusterBits, _ streams: borrowing ClusterBits?
  ) {
    // A shift ends in front of each row at most.
    unsafe withUnsafeTemporaryAllocation(of: ShiftCounts.Step.self, capacity: rows.count) { steps in
      unsafe withUnsafeTemporaryAllocation(of: HostOrder.Joint.self, capacity: rows.count) { joints in
        let (shifted, joined) = unsafe compare(rows, steps, joints, metadata, metadataCount)
        if countsShifts { unsafe shifts.add(UnsafeBufferPointer(rebasing: steps[..<shifted])) }
        unsafe order.add(UnsafeBufferPointer(rebasing: joints[..<joined]), data, streams)
      }
    }
    guard countsShifts else { return }
    unsafe readCosts.add(rows, clusterBits: clusterBits, end: guestClusters, missing: missing)
  }

  /// Compares every row with the one in front of it: counts what follows from that, and puts the shifts that end into
  /// `steps` and where runs begin into `joints`. Returns how many there are of each.
  private mutating func compare(
    _ rows: UnsafeBufferPointer<EntryRow>, _ steps: UnsafeMutableBufferPointer<ShiftCounts.Step>,
    _ joints: UnsafeMutableBufferPointer<HostOrder.Joint>, _ metadata: borrowing ClusterBits,
    _ metadataCount: UInt64
  ) -> (steps: Int, joints: Int) {
    var (last, runLength, clusters, stretches) = (last, runLength, clusters, stretches)
    var (shift, shiftLength, forward, backward) = (shift, shiftLength, forward, backward)
    var (ended, joined, endedRuns) = (0, 0, EqualRuns())
    // Of the region that rows begin in: what they add to it, and where it ends.
    var (region, regionEnd) = (RegionFigures.Region(), hasRegions ? UInt64(0) : .max)
    let bits = UInt64(clusterBits)
    for index in rows.indices {
      let row = unsafe rows[index]
      let isCompressed = row.kind == .compressed
      clusters &+= row.count
      let newShift = Int64(bitPattern: row.host &>> bits) &- Int64(bitPattern: row.guest)
      var (beginsRun, beginsStretch) = (true, true)
      if let last {
        let follows = Self.follows(last, row, clusterBits: clusterBits)
        let isApart = row.guest != last.guest &+ last.count
        let isOtherKind = isCompressed != (last.kind == .compressed)
        beginsStretch = isApart || isOtherKind
        beginsRun = isApart || !follows
        if isOtherKind { isJoined = isCompressed && !hasStreams && !isApart }
        if !follows && newShift != shift {
          let end = isCompressed ? last.end : Self.roundUp(last.end, clusterBits)
          let isForward = row.host > end
          // Both without a branch: in a file without order nobody can tell where the next one goes.
          forward.add(isForward, row.host &- end)
          backward.add(!isForward, end &- row.host)
          if isForward { jumpOver(last, row, row.host &- end, metadata, metadataCount) }
        }
      }
      if beginsRun {
        endedRuns.add(runLength, to: &runs)
        unsafe joints.initializeElement(
          at: joined, to: HostOrder.Joint(runLength, last, row, clusterBits: bits))
        joined &+= 1
        runLength = 0
        region.runs &+= 1
      }
      runLength &+= row.count
      if beginsStretch {
        stretches &+= 1
        region.stretches &+= 1
      }
      if isCompressed { hasStreams = true }
      if newShift != shift || shiftLength == 0 {
        unsafe steps[ended] = ShiftCounts.Step(shift: shift, clusters: shiftLength)
        ended &+= 1
        (shift, shiftLength) = (newShift, 0)
      }
      shiftLength &+= row.count
      if row.guest &+ row.count <= regionEnd {
        region.clusters &+= row.count
      } else {
        // The row lies in another region, or in several.
        if beginsRun { region.runs &-= 1 }
        if beginsStretch { region.stretches &-= 1 }
        regions.add(region, before: regionEnd)
        regionEnd = regions.add(row, beginsRun: beginsRun, beginsStretch: beginsStretch)
        region = RegionFigures.Region()
      }
      last = row
    }
    if hasRegions { regions.add(region, before: regionEnd) }
    endedRuns.flush(to: &runs)
    shiftRuns &+= UInt64(ended)
    (self.last, self.runLength, self.clusters, self.stretches) = (last, runLength, clusters, stretches)
    (self.shift, self.shiftLength, self.forward, self.backward) = (shift, shiftLength, forward, backward)
    return (ended, joined)
  }

  /// Ends the last run; nothing is added afterwards.
  mutating func finish() {
    runs.add(runLength)
    order.goOn(runLength)
    endShift()
    (runLength, shiftLength) = (0, 0)
    last = nil
  }

  /// The runs in the order of the file are known without a walk of their own.
  var knowsOrder: Bool { !order.isGivenUp }

  /// Takes the runs in the order of the file from what the rows said; the sets are complete and sealed.
  mutating func settleOrder(_ data: borrowing ClusterBits, _ streams: borrowing ClusterBits?) {
    order.finish(data, streams)
    hostRuns = order.lengths
    order = HostOrder()
  }

  private mutating func endShift() {
    if countsShifts { shifts.add(shift, clusters: shiftLength) }
    shiftLength = 0
  }

  /// Looks whether a jump forward goes over tables alone.
  @inline(__always)
  private mutating func jumpOver(
    _ last: EntryRow, _ row: EntryRow, _ distance: UInt64, _ metadata: borrowing ClusterBits,
    _ metadataCount: UInt64
  ) {
    let bits = UInt64(clusterBits)
    let first = Self.roundUp(last.end, clusterBits) >> bits
    let next = row.host >> bits
    // Longer ways than all tables together are not asked about.
    if first < next, next - first <= metadataCount, metadata.count(in: first..<next) == next - first {
      overMetadata.add(distance)
    }
  }
}
