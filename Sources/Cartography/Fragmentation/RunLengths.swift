// How long runs are, in memory that does not grow with their number: lengths up to 4096 clusters are
// counted one by one, longer ones by powers of two.

/// A count of runs by their length in clusters.
package struct RunLengths: Equatable, Sendable {
  /// Lengths up to this one are counted exactly.
  package static let exactLimit: UInt64 = 4096

  /// Runs of one length, by length; made when there is one.
  private var exact: [UInt64] = []
  /// Longer runs, by the power of two at or below their length: their number and their clusters.
  private var long = [(runs: UInt64, clusters: UInt64)](repeating: (0, 0), count: 64)
  /// Runs.
  package private(set) var count: UInt64 = 0
  /// Clusters of all runs.
  package private(set) var clusters: UInt64 = 0
  /// Clusters of the longest run; 0 without runs.
  package private(set) var longest: UInt64 = 0

  package init() {}

  /// Adds `times` runs of `length` clusters; 0 is no run.
  mutating func add(_ length: UInt64, times: UInt64 = 1) {
    guard length > 0, times > 0 else { return }
    count &+= times
    clusters &+= length &* times
    if length > longest { longest = length }
    if length <= Self.exactLimit {
      if exact.isEmpty { exact = Array(repeating: 0, count: Int(Self.exactLimit) + 1) }
      exact[Int(truncatingIfNeeded: length)] &+= times
    } else {
      let bits = 63 - length.leadingZeroBitCount
      long[bits].runs &+= times
      long[bits].clusters &+= length &* times
    }
  }

  /// Clusters per run; 0 without runs.
  package var mean: Double { count == 0 ? 0 : Double(clusters) / Double(count) }

  /// The length that as many runs exceed as stay below; the mean of both if two stand in the middle. Exact up
  /// to ``exactLimit``, above that the mean of the runs of its power of two.
  package var median: Double {
    guard count > 0 else { return 0 }
    let low = length(atRank: (count - 1) / 2)
    return count % 2 == 1 ? low : (low + length(atRank: count / 2)) / 2
  }

  /// The length of a run when all are sorted; `rank` counts from 0.
  private func length(atRank rank: UInt64) -> Double {
    var below: UInt64 = 0
    for length in exact.indices {
      below &+= exact[length]
      if below > rank { return Double(length) }
    }
    for power in long where power.runs > 0 {
      below &+= power.runs
      if below > rank { return Double(power.clusters) / Double(power.runs) }
    }
    return Double(longest)
  }

  /// A row of the histogram.
  package struct Bucket: Equatable, Sendable {
    /// Lengths in clusters; the last bucket has no upper end.
    package var first: UInt64
    /// The longest length that counts; nil for the last bucket.
    package var last: UInt64?
    /// Runs of these lengths.
    package var runs: UInt64 = 0
    /// Clusters of these runs.
    package var clusters: UInt64 = 0

    /// "1", "2-7", "more".
    package var label: String {
      guard let last else { return "more" }
      return first == last ? "\(first)" : "\(first)-\(last)"
    }
  }

  /// Six rows: 1, 2-7, 8-63, 64-511, 512-4096 and more.
  package var buckets: [Bucket] {
    let edges: [(UInt64, UInt64)] = [(1, 1), (2, 7), (8, 63), (64, 511), (512, Self.exactLimit)]
    var buckets = edges.map { first, last in
      var bucket = Bucket(first: first, last: last)
      for length in first...last where !exact.isEmpty {
        bucket.runs &+= exact[Int(length)]
        bucket.clusters &+= exact[Int(length)] &* length
      }
      return bucket
    }
    var rest = Bucket(first: Self.exactLimit + 1, last: nil)
    for power in long {
      rest.runs &+= power.runs
      rest.clusters &+= power.clusters
    }
    buckets.append(rest)
    return buckets
  }

  package static func == (a: Self, b: Self) -> Bool {
    a.count == b.count && a.clusters == b.clusters && a.longest == b.longest && a.exact == b.exact
      && a.long.elementsEqual(b.long, by: ==)
  }
}

/// Runs on their way to ``RunLengths``: equal lengths in a row are added together.
struct EqualRuns: Equatable {
  private var length: UInt64 = 0
  private var times: UInt64 = 0

  @inline(__always)
  mutating func add(_ next: UInt64, to lengths: inout RunLengths) {
    if next != length {
      flush(to: &lengths)
      length = next
    }
    times &+= 1
  }

  /// Adds what was kept back.
  mutating func flush(to lengths: inout RunLengths) {
    lengths.add(length, times: times)
    times = 0
  }
}
