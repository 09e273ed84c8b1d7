// The longest row of free clusters, and the free rest at the end of the file, kept in a tree so
// that one changed leaf costs fifteen steps and not a walk over the file.

/// A row of free clusters within a stretch: at its begin, at its end, and the longest.
struct FreeRun: Equatable {
  /// Clusters of the stretch.
  var length: UInt64 = 0
  var prefix: UInt64 = 0
  var suffix: UInt64 = 0
  var best: UInt64 = 0
  /// First cluster of the longest row, counted from the start of the file.
  var bestStart: UInt64 = 0

  /// Two stretches in a row; `start` is where the second one begins.
  func followed(by next: FreeRun, at start: UInt64) -> FreeRun {
    if next.length == 0 { return self }
    if length == 0 { return next }
    var sum = FreeRun(length: length + next.length, prefix: prefix, suffix: next.suffix)
    if prefix == length { sum.prefix = length + next.prefix }
    if next.suffix == next.length { sum.suffix = next.length + suffix }
    (sum.best, sum.bestStart) = (best, bestStart)
    if suffix + next.prefix > sum.best { (sum.best, sum.bestStart) = (suffix + next.prefix, start - suffix) }
    if next.best > sum.best { (sum.best, sum.bestStart) = (next.best, next.bestStart) }
    return sum
  }

  /// Adds `count` clusters from `cluster` on behind the stretch.
  mutating func append(_ count: UInt64, isFree: Bool, at cluster: UInt64) {
    var next = FreeRun(length: count)
    if isFree { next = FreeRun(length: count, prefix: count, suffix: count, best: count, bestStart: cluster) }
    self = followed(by: next, at: cluster)
  }
}

/// ``FreeRun`` values over the leaves of the host map.
final class FreeRunTree {
  private let leafBits: Int
  private var nodes: [FreeRun]

  init(leafBits: Int) {
    self.leafBits = leafBits
    nodes = Array(repeating: FreeRun(), count: 2 << leafBits)
  }

  var root: FreeRun { nodes[1] }

  func leaf(_ index: Int) -> FreeRun {
    index >= 0 && index < 1 << leafBits ? nodes[(1 << leafBits) + index] : FreeRun()
  }

  func setLeaf(_ index: Int, _ run: FreeRun, clusterBits: Int) {
    guard index >= 0, index < 1 << leafBits else { return }
    var node = (1 << leafBits) + index
    nodes[node] = run
    var level = 0
    while node > 1 {
      node >>= 1
      level += 1
      // First cluster of the right child.
      let position = UInt64(node - (1 << (leafBits - level)))
      let right = (position << UInt64(level) + 1 << UInt64(level - 1)) << UInt64(clusterBits)
      nodes[node] = nodes[2 * node].followed(by: nodes[2 * node + 1], at: right)
    }
  }
}

/// Smallest and largest refcount over the leaves of the host map.
final class RefcountRangeTree {
  private let leafBits: Int
  private var low: [UInt16]
  private var high: [UInt16]

  init(leafBits: Int) {
    self.leafBits = leafBits
    low = Array(repeating: .max, count: 2 << leafBits)
    high = Array(repeating: 0, count: 2 << leafBits)
  }

  /// `low` above `high` stands for no clusters.
  func setLeaf(_ index: Int, _ range: (UInt16, UInt16)) {
    guard index >= 0, index < 1 << leafBits else { return }
    var node = (1 << leafBits) + index
    (low[node], high[node]) = range
    node >>= 1
    while node >= 1 {
      low[node] = min(low[2 * node], low[2 * node + 1])
      high[node] = max(high[2 * node], high[2 * node + 1])
      node >>= 1
    }
  }

  func node(level: Int, _ index: UInt64) -> (UInt16, UInt16) {
    guard level >= 0, level <= leafBits, index < 1 << UInt64(leafBits - level) else { return (0, 0) }
    let number = (1 << (leafBits - level)) + Int(index)
    return low[number] > high[number] ? (0, 0) : (low[number], high[number])
  }
}
