// A set of host clusters, one bit each, that answers how many of its members lie in a range in a few
// steps.

/// Host clusters of one kind.
struct ClusterBits {
  /// Files with more clusters than this have no set: 16 MiB of bits.
  static let maximumClusters: UInt64 = 1 << 27
  /// Words between two counted marks.
  private static let stretch = 8

  private var words: [UInt64]
  /// Members before every eighth word; made by ``seal()``.
  private var marks: [UInt32] = []
  let clusters: UInt64

  /// An empty set over `clusters` clusters, at most ``maximumClusters``.
  init(clusters: UInt64) {
    self.clusters = min(clusters, Self.maximumClusters)
    words = Array(repeating: 0, count: Int(self.clusters >> 6) + 1)
  }

  /// Adds `count` clusters from `first` on; what lies behind the end is left out.
  @inline(__always)
  mutating func insert(_ first: UInt64, count: UInt64) {
    guard first < clusters else { return }
    let end = first + min(count, clusters - first)
    var at = first
    while at < end {
      let bit = at & 63
      let here = min(64 - bit, end - at)
      let mask: UInt64 = here == 64 ? .max : ((1 << here) - 1) << bit
      words[Int(truncatingIfNeeded: at >> 6)] |= mask
      at += here
    }
  }

  /// Adds the clusters that rows lie in; what lies behind the end is left out.
  mutating func insert(_ rows: UnsafeBufferPointer<EntryRow>, clusterBits: UInt64) {
    let clusters = clusters
    unsafe words.withUnsafeMutableBufferPointer { words in
      for index in rows.indices {
        let row = unsafe rows[index]
        let first = row.host &>> clusterBits
        guard first < clusters else { continue }
        // A stream ends anywhere.
        if row.count == 1, row.kind != .compressed {
          unsafe words[Int(truncatingIfNeeded: first &>> 6)] |= 1 &<< (first & 63)
          continue
        }
        let count = row.kind == .compressed ? (row.end &- 1) &>> clusterBits &- first &+ 1 : row.count
        let end = first &+ min(count, clusters &- first)
        var at = first
        while at < end {
          let bit = at & 63
          let here = min(64 &- bit, end &- at)
          let mask: UInt64 = (UInt64.max &>> (64 &- here)) &<< bit
          unsafe words[Int(truncatingIfNeeded: at &>> 6)] |= mask
          at &+= here
        }
      }
    }
  }

  @inline(__always)
  func contains(_ cluster: UInt64) -> Bool {
    cluster < clusters && words[Int(truncatingIfNeeded: cluster >> 6)] >> (cluster & 63) & 1 != 0
  }

  /// Makes ready for ``count(in:)``; nothing is inserted afterwards.
  mutating func seal() {
    marks = []
    marks.reserveCapacity(words.count / Self.stretch + 1)
    var sum: UInt32 = 0
    for (index, word) in words.enumerated() {
      if index % Self.stretch == 0 { marks.append(sum) }
      sum += UInt32(truncatingIfNeeded: word.nonzeroBitCount)
    }
  }

  /// Members in a range; 0 before ``seal()``.
  func count(in range: Range<UInt64>) -> UInt64 {
    guard !marks.isEmpty else { return 0 }
    return UInt64(before(range.upperBound) &- before(range.lowerBound))
  }

  /// What is known of a range of clusters.
  enum Clearness {
    case clear, taken
    /// No member is near its start, and more may come.
    case unknown
  }

  /// Words that are looked at before ``seal()``.
  private static let shortLook = 64

  /// Whether no member lies in a range and all of it is covered; `taken` stays true whatever is inserted, and
  /// nothing is unknown after ``seal()``.
  @inline(__always)
  func clearness(of range: Range<UInt64>) -> Clearness {
    guard range.upperBound <= clusters else { return .taken }
    guard !range.isEmpty else { return .clear }
    // In a full file the first word says it all.
    if beginsTaken(range) { return .taken }
    if marks.isEmpty { return .unknown }
    return count(in: range) == 0 ? .clear : .taken
  }

  /// A member lies among the first clusters of a range, which is not empty and covered.
  @inline(__always)
  private func beginsTaken(_ range: Range<UInt64>) -> Bool {
    var word = Int(truncatingIfNeeded: range.lowerBound &>> 6)
    let last = Int(truncatingIfNeeded: (range.upperBound &- 1) &>> 6)
    let stop = min(last, word &+ Self.shortLook)
    var bits = words[word] & (UInt64.max &<< (range.lowerBound & 63))
    while bits == 0, word < stop {
      word &+= 1
      bits = words[word]
    }
    // Of the last word only what is inside.
    if word == last { bits &= UInt64.max &>> (63 &- (range.upperBound &- 1) & 63) }
    return bits != 0
  }

  /// For each joint whether its gap is no gap, or is known to be taken by a look at one word.
  func findTaken(
    _ joints: UnsafeBufferPointer<HostOrder.Joint>, _ ends: UnsafeMutableBufferPointer<Bool>
  ) {
    unsafe words.withUnsafeBufferPointer { words in
      for index in joints.indices {
        let joint = unsafe joints[index]
        let isAsked = joint.gapEnd > 0 && joint.gapEnd <= clusters
        let start = isAsked ? joint.gapStart : 0
        let bit = start & 63
        // Of a short gap only what is inside.
        let inside = joint.gapEnd &- start &+ bit
        let mask = (inside < 64 ? 1 &<< inside &- 1 : UInt64.max) & (UInt64.max &<< bit)
        let word = unsafe words[Int(truncatingIfNeeded: start &>> 6)]
        unsafe ends.initializeElement(at: index, to: !isAsked || word & mask != 0)
      }
    }
  }

  private func before(_ cluster: UInt64) -> UInt32 {
    let cluster = min(cluster, clusters)
    let word = Int(truncatingIfNeeded: cluster >> 6)
    let mark = word / Self.stretch
    var sum = marks[mark]
    for index in mark * Self.stretch..<word {
      sum &+= UInt32(truncatingIfNeeded: words[index].nonzeroBitCount)
    }
    let rest = words[word] & ((1 << (cluster & 63)) - 1)
    return sum &+ UInt32(truncatingIfNeeded: rest.nonzeroBitCount)
  }
}
