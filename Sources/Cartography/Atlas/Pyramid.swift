// Counts per state at every power of two: leaves of equal size below, and above them nodes that
// add up two and two. A cell of any zoom is one look-up, a range is a few dozen.

/// A binary tree of counts over at most 2^15 leaves.
final class Pyramid<State: MapState> {
  static var maximumLeafBits: Int { 15 }
  private static var width: Int { State.slotCount }

  /// Clusters of a leaf, as a power of two.
  let clusterBits: Int
  /// Leaves, as a power of two.
  let leafBits: Int
  var leafCount: Int { 1 << leafBits }
  /// Clusters that all leaves together cover.
  var capacity: UInt64 { 1 << UInt64(clusterBits + leafBits) }

  /// Leaves of one state lie `width` apart. A leaf holds fewer than 2^32 places.
  private var leaves: ZeroTable<UInt32>
  /// Inner nodes, number 1 at the top, children 2n and 2n + 1.
  private var nodes: ZeroTable<UInt64>

  init(clusterBits: Int, leafBits: Int) {
    self.clusterBits = clusterBits
    self.leafBits = leafBits
    leaves = ZeroTable(count: Self.width << leafBits)
    nodes = ZeroTable(count: Self.width << leafBits)
  }

  /// The smallest tree with single-cluster leaves, or leaves of `grain`, if that does, for `clusters` clusters.
  static func shape(
    for clusters: UInt64, atLeastLeafBits: Int = 0, grain: Int = 0
  ) -> (clusterBits: Int, leafBits: Int) {
    var leafBits = atLeastLeafBits
    while leafBits < maximumLeafBits, 1 << UInt64(leafBits + grain) < clusters { leafBits += 1 }
    var clusterBits = grain
    while clusterBits + leafBits < 62, 1 << UInt64(clusterBits + leafBits) < clusters { clusterBits += 1 }
    return (clusterBits, leafBits)
  }

  func leaf(_ index: Int) -> StateCounts<State> {
    var counts = StateCounts<State>()
    guard index >= 0, index < leafCount else { return counts }
    let base = index * Self.width
    for state in 0..<Self.width { counts[raw: state] = UInt64(leaves[base + state]) }
    return counts
  }

  func count(leaf index: Int, _ state: State) -> UInt64 {
    guard index >= 0, index < leafCount else { return 0 }
    return UInt64(leaves[index * Self.width + Int(state.rawValue)])
  }

  /// Replaces a leaf and brings everything above it up to date.
  func setLeaf(_ index: Int, _ counts: StateCounts<State>) {
    guard index >= 0, index < leafCount else { return }
    let base = index * Self.width
    for state in 0..<Self.width {
      let old = UInt64(leaves[base + state])
      let new = min(counts[raw: state], UInt64(UInt32.max))
      guard old != new else { continue }
      leaves[base + state] = UInt32(truncatingIfNeeded: new)
      var node = (index + leafCount) >> 1
      while node >= 1 {
        nodes[node * Self.width + state] &+= new &- old
        node >>= 1
      }
    }
  }

  func addToLeaf(_ index: Int, _ counts: StateCounts<State>) {
    var sum = leaf(index)
    sum += counts
    setLeaf(index, sum)
  }

  /// The node `level` steps above the leaves: level 0 is the leaves.
  func node(level: Int, _ index: UInt64) -> StateCounts<State> {
    guard level >= 0, level <= leafBits, index < 1 << UInt64(leafBits - level) else { return StateCounts() }
    if level == 0 { return leaf(Int(index)) }
    return inner((1 << (leafBits - level)) + Int(index))
  }

  private func inner(_ number: Int) -> StateCounts<State> {
    var counts = StateCounts<State>()
    let base = number * Self.width
    guard number >= 1, base + Self.width <= nodes.count else { return counts }
    for state in 0..<Self.width { counts[raw: state] = nodes[base + state] }
    return counts
  }

  /// Everything together.
  var root: StateCounts<State> { leafBits == 0 ? leaf(0) : inner(1) }

  /// The sum over a range of leaves.
  func sum(leaves range: Range<Int>) -> StateCounts<State> {
    var counts = StateCounts<State>()
    var low = max(0, range.lowerBound) + leafCount
    var high = min(leafCount, range.upperBound) + leafCount
    func take(_ number: Int) {
      counts += number >= leafCount ? leaf(number - leafCount) : inner(number)
    }
    while low < high {
      if low & 1 == 1 {
        take(low)
        low += 1
      }
      if high & 1 == 1 {
        high -= 1
        take(high)
      }
      low >>= 1
      high >>= 1
    }
    return counts
  }

  /// The same counts in a tree that covers at least `clusters`: with more leaves as long as that
  /// is allowed, then with larger ones.
  func grown(toCover clusters: UInt64) -> Pyramid<State> {
    let (bits, leafBits) = Self.grownShape(clusterBits, leafBits, clusters)
    let result = Pyramid<State>(clusterBits: bits, leafBits: leafBits)
    let shift = bits - clusterBits
    for index in 0..<leafCount { result.addToLeaf(index >> shift, leaf(index)) }
    return result
  }

  static func grownShape(_ clusterBits: Int, _ leafBits: Int, _ clusters: UInt64) -> (Int, Int) {
    var bits = clusterBits
    var leafBits = leafBits
    while bits + leafBits < 62, 1 << UInt64(bits + leafBits) < clusters {
      if leafBits < maximumLeafBits { leafBits += 1 } else { bits += 1 }
    }
    return (bits, leafBits)
  }
}
