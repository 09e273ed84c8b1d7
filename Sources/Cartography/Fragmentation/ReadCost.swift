// What the order of clusters costs a guest that reads the disk from its start to its end: host reads
// for requests of one size.

/// Host reads that requests of one size need in a sequential read.
///
/// A request is aligned to its size. It needs one host read for every row of clusters inside it that
/// follow each other in the file, and one for every compressed cluster, because each stream is read alone.
/// Requests that no data cluster answers need none and do not count.
package struct ReadCost: Equatable, Sendable {
  /// Bytes of a request as a power of two.
  package let requestBits: Int
  /// Requests of that size that were counted.
  package private(set) var requests: UInt64 = 0
  /// Reads of the file that they need.
  package private(set) var hostReads: UInt64 = 0
  /// Host reads that would be left if every stretch of the disk lay in one row: parts of a request with
  /// nothing between them, and compressed clusters, need one each anyway.
  package private(set) var fewest: UInt64 = 0
  /// The request that the last cluster was part of.
  private var lastRequest = UInt64.max

  init(requestBits: Int) { self.requestBits = requestBits }

  /// Bytes of a request.
  package var requestSize: UInt64 { 1 << UInt64(requestBits) }
  /// Host reads beyond one per request.
  package var extra: UInt64 { hostReads - min(hostReads, requests) }
  /// Those of them that writing all clusters in order would save.
  package var avoidable: UInt64 { hostReads - min(hostReads, fewest) }

  /// Adds guest clusters in a row that are read, behind all others. The first may go on where the last stretch ended, on
  /// the disk and in the file; `missing` bytes of cluster `end - 1` lie behind the end of the disk.
  @inline(__always)
  fileprivate mutating func add(
    _ stretch: ReadCosts.Stretch, clusterBits: Int, end: UInt64, missing: UInt64
  ) {
    guard requestBits >= clusterBits else {
      let cut = stretch.end == end ? missing : 0
      let clusters = stretch.end &- stretch.start
      let parts = clusters << UInt64(clusterBits - requestBits) - cut >> UInt64(requestBits)
      requests &+= parts
      hostReads &+= parts
      fewest &+= parts
      lastRequest = .max
      return
    }
    let shift = UInt64(requestBits &- clusterBits)
    let first = stretch.start &>> shift
    let last = (stretch.end &- 1) &>> shift
    let span = last &- first &+ 1
    let goesOn = lastRequest == first
    requests &+= span &- (goesOn ? 1 : 0)
    hostReads &+= span &- (goesOn && stretch.follows ? 1 : 0)
    fewest &+= span &- (goesOn && stretch.adjoins ? 1 : 0)
    lastRequest = last
  }

  /// Adds places where the file does not go on with the disk, by the zero bits behind their guest cluster: those inside
  /// of a request cost a read.
  fileprivate mutating func add(breaks: UnsafeMutableBufferPointer<UInt64>, clusterBits: Int) {
    guard requestBits > clusterBits else { return }
    for zeroes in 0..<requestBits - clusterBits { unsafe hostReads &+= breaks[zeroes] }
  }
}

/// What requests of several sizes cost, found in one look at the rows.
struct ReadCosts: Equatable {
  /// Clusters in a row on the disk that are read.
  fileprivate struct Stretch {
    var start: UInt64
    var end: UInt64
    var adjoins: Bool
    var follows: Bool
  }

  private(set) var costs: [ReadCost]
  /// Where the last data that is read ends, on the disk and in the file.
  private var guestEnd = UInt64.max
  private var hostEnd = UInt64.max

  init(_ requestBits: [Int]) { costs = requestBits.map { ReadCost(requestBits: $0) } }

  /// Adds rows in the order of the disk. `missing` bytes of cluster `end - 1` lie behind the end of the disk.
  mutating func add(_ rows: UnsafeBufferPointer<EntryRow>, clusterBits: Int, end: UInt64, missing: UInt64) {
    // Zero bits of a guest cluster, 64 for the first of the disk.
    unsafe withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 65) { breaks in
      unsafe breaks.initialize(repeating: 0)
      var open: Stretch?
      var (guestEnd, hostEnd) = (guestEnd, hostEnd)
      for index in rows.indices {
        let row = unsafe rows[index]
        guard row.kind != .reserved else { continue }
        let isData = row.kind == .data
        let adjoins = isData && row.guest == guestEnd
        let follows = adjoins && row.host == hostEnd
        let rowEnd = row.guest &+ row.count
        if adjoins, open != nil {
          open?.end = rowEnd
          if !follows { unsafe breaks[row.guest.trailingZeroBitCount] &+= 1 }
        } else {
          if let open { close(open, clusterBits, end, missing) }
          open = Stretch(start: row.guest, end: rowEnd, adjoins: adjoins, follows: follows)
        }
        (guestEnd, hostEnd) = isData ? (rowEnd, row.end) : (.max, .max)
      }
      if let open { close(open, clusterBits, end, missing) }
      (self.guestEnd, self.hostEnd) = (guestEnd, hostEnd)
      for index in costs.indices { unsafe costs[index].add(breaks: breaks, clusterBits: clusterBits) }
    }
  }

  private mutating func close(_ stretch: Stretch, _ clusterBits: Int, _ end: UInt64, _ missing: UInt64) {
    for index in costs.indices {
      costs[index].add(stretch, clusterBits: clusterBits, end: end, missing: missing)
    }
  }
}
