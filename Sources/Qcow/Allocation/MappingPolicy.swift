// What becomes of the mapping when the guest discards, zeroes and writes again, as values that are
// chosen when an image is opened, or later.

/// Who may change where a guest cluster lies in the file.
package enum MappingPolicy: String, Sendable, CaseIterable {
  /// As QEMU does without options: discards unmap, and what is written next takes the first free place.
  case qemu = "default"
  /// Discards and unmapping zero-writes keep the host cluster, as QEMU's `discard-no-unref` does.
  case keepMapping = "keep-mapping"
  /// The same, and a cluster that needs a place gets its own one, guest offset + shift, if nobody
  /// else is there. Nothing else takes a place that belongs to a guest cluster.
  case pinned

  /// Discards and unmapping zero-writes keep the host cluster.
  package var keepsHost: Bool { self != .qemu }
}

/// The smallest part of a cluster that a discard acts on.
package enum DiscardGranularity: String, Sendable, CaseIterable {
  /// Whole clusters only, as QEMU does.
  case cluster
  /// Whole subclusters of extended L2 entries; the same as ``cluster`` with standard entries.
  case subcluster
}

/// The policies that a user may choose.
package struct Policies: Equatable, Sendable {
  /// Who may change the mapping; nil for what the image itself asks for.
  package var mapping: MappingPolicy?
  /// What discards act on.
  package var discardGranularity = DiscardGranularity.cluster
  /// What subclusters read as after a discard of parts of clusters.
  package var discardReads = DiscardReads.zero

  package init(_ mapping: MappingPolicy? = nil) { self.mapping = mapping }
}

/// What a discarded subcluster reads as afterwards.
package enum DiscardReads: String, Sendable, CaseIterable {
  /// Zeroes: the zero bit is set.
  case zero
  /// What the backing file has there: both bits are cleared.
  case backing
}
