// The two sheets of an atlas: counts of the guest's disk and of the file, leaf by leaf, with what else is kept
// per leaf. Whoever counts a leaf stores it here, and every question of a whole leaf or more is answered here.

import Qcow

/// Counts of the guest's disk, and for every leaf the regions of the file it lies in.
final class GuestSheet {
  /// Clusters of the virtual disk.
  let clusters: UInt64
  let counts: Pyramid<GuestState>
  /// Per leaf, the regions of the file its entries lead to.
  private(set) var signatures: [HostSignature]

  /// `grain` is the least that a leaf is to have, in clusters as a power of two.
  init(clusters: UInt64, grain: Int = 0) {
    self.clusters = clusters
    let shape = Pyramid<GuestState>.shape(for: clusters, grain: grain)
    counts = Pyramid(clusterBits: shape.clusterBits, leafBits: shape.leafBits)
    signatures = Array(repeating: HostSignature(), count: counts.leafCount)
  }

  /// Clusters of a leaf, as a power of two.
  var leafBits: UInt64 { UInt64(counts.clusterBits) }

  /// The clusters of a leaf that are on the disk.
  func range(ofLeaf leaf: UInt64) -> Range<UInt64> {
    let start = leaf << leafBits
    return min(start, clusters)..<min(clusters, start + 1 << leafBits)
  }

  func setLeaf(_ leaf: Int, _ value: StateCounts<GuestState>, _ signature: HostSignature) {
    counts.setLeaf(leaf, value)
    signatures[leaf] = signature
  }

  /// Entries of the range may lead to one of the conflicts.
  func mayLead(_ range: Range<UInt64>, to conflicts: ConflictSet) -> Bool {
    guard !conflicts.isEmpty, !range.isEmpty else { return false }
    let leaves = Int(range.lowerBound >> leafBits)...Int((range.upperBound - 1) >> leafBits)
    return leaves.contains { conflicts.mayContain(signatures[$0]) }
  }
}

/// A leaf of the host map in the making.
struct HostLeaf {
  var counts = StateCounts<HostState>()
  var run = FreeRun()
  var refcounts: (UInt16, UInt16) = (.max, 0)

  mutating func add(_ first: UInt64, _ count: UInt64, _ facts: HostFacts, _ fileClusters: UInt64) {
    guard facts.state != .pastEnd else { return }
    facts.add(count, to: &counts)
    let small = UInt16(clamping: facts.refcount)
    refcounts = (min(refcounts.0, small), max(refcounts.1, small))
    if first < fileClusters { run.append(count, isFree: facts.state == .free, at: first) }
  }
}

/// Counts of the file, the longest rows of free clusters, and the least and highest refcounts.
final class HostSheet {
  let counts: Pyramid<HostState>
  private(set) var freeRuns: FreeRunTree
  private(set) var refcounts: RefcountRangeTree

  private init(_ counts: Pyramid<HostState>) {
    self.counts = counts
    freeRuns = FreeRunTree(leafBits: counts.leafBits)
    refcounts = RefcountRangeTree(leafBits: counts.leafBits)
  }

  convenience init(clusters: UInt64, grain: Int = 0) {
    let shape = Pyramid<HostState>.shape(
      for: clusters, atLeastLeafBits: clusters == 0 || grain > 0 ? 0 : 8, grain: grain)
    self.init(Pyramid(clusterBits: shape.clusterBits, leafBits: shape.leafBits))
  }

  /// Clusters of a leaf, as a power of two.
  var leafBits: UInt64 { UInt64(counts.clusterBits) }

  func setLeaf(_ leaf: Int, _ value: HostLeaf) {
    counts.setLeaf(leaf, value.counts)
    freeRuns.setLeaf(leaf, value.run, clusterBits: counts.clusterBits)
    refcounts.setLeaf(leaf, value.refcounts)
  }

  /// A sheet with room for more clusters and the same counts. Free rows and refcounts do not add up from
  /// counts alone: the leaves must be set again.
  func grown(toCover clusters: UInt64) -> HostSheet { HostSheet(counts.grown(toCover: clusters)) }
}
