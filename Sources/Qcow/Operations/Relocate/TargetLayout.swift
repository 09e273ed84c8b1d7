// Where the parts of an image are to lie when it is in order: a value that the planner makes from what
// the image holds, and that everything that moves clusters only reads.

package import QcowFormat

/// Where standard data clusters are to lie.
package enum TargetLayout: Equatable, Sendable {
  /// One run without holes: the k-th mapped cluster in guest order lies at `base + k`. Without a base the
  /// planner takes the one, close behind the metadata, that leaves the most clusters where they are.
  case packed(base: HostCluster?)
  /// Every mapped cluster lies at its guest cluster plus `by`; what is not mapped stays a hole. Without
  /// a shift the planner chooses as above.
  case shifted(by: ClusterCount?)
}

/// How much of an image is put in order.
package enum RelocationScope: Sendable {
  /// Metadata in front, data behind it, compressed streams behind the data, and the file is cut.
  case everything
  /// Data clusters go to their places, and whatever lies there gets out of the way. Nothing else moves,
  /// and the file is not cut.
  case dataOnly
}

/// The places of everything.
struct RelocationPlaces: Equatable {
  enum Rule: Equatable { case packed, shifted }
  var rule: Rule
  /// Place of the first mapped cluster (packed), or of the disk's first cluster, mapped or not.
  var base: HostCluster
  /// Where the refcount table and the L1 table go.
  var refcountTable: Range<HostCluster>
  var l1Table: Range<HostCluster>
  /// Header and tables lie in front of this cluster; 0 if they stay where they are.
  var metadataEnd: HostCluster
  /// From the first to behind the last data cluster; with a shift there may be holes between them.
  var data: Range<HostCluster>
  /// Behind the last cluster with compressed streams, which begin where the data ends.
  var end: HostCluster
  /// By index into the refcount table: the block is needed in the end.
  var blocks: [Bool]

  /// The place of a mapped cluster, the `rank`-th in guest order.
  @inline(__always)
  func slot(rank: ClusterCount, guest: GuestCluster) -> HostCluster {
    base + (rule == .packed ? rank : ClusterCount(guest.value))
  }

  /// `index` is that of an entry of the refcount table.
  func needsBlock(_ index: Int) -> Bool { index < blocks.count && blocks[index] }
}
