// What the engine writes and why, in the tags that every write and every change in memory carries.
// The log, step-through and the overlap guard read these.

package import Storage

/// A structure of the image file.
package enum Structure: UInt8, Sendable, CaseIterable {
  case none = 0
  case header
  case l1Table
  case l2Table
  case refcountTable
  case refcountBlock
  case data
  case compressedData
  case snapshotTable
  /// The length of the file.
  case file
  /// The L1 table of a snapshot.
  case inactiveL1Table
  /// An L2 table that only snapshots name.
  case inactiveL2Table
  /// Bits, tables or the directory of persistent bitmaps.
  case bitmaps
}

/// The rule that asked for a write.
package enum Reason: UInt8, Sendable, CaseIterable {
  case none = 0
  /// A cluster is taken before anything points to it.
  case claim
  /// A cluster is given back after the last pointer to it is gone.
  case release
  /// A count is taken back because the allocation is tried again elsewhere.
  case retry
  /// An entry begins to point to a cluster.
  case link
  /// An entry stops pointing to a cluster, or reads as zeroes from now on.
  case unlink
  /// A table came into being or moved.
  case newTable
  /// Changed entries of a cached table go to the file.
  case writeBack
  /// Bytes of the guest.
  case guestData
  /// Bytes around the guest's data that a new cluster needs.
  case copyOnWrite
  /// Space is given back to the host.
  case discard
  /// Refcounts are allowed to lag behind until the image is closed.
  case lazyRefcounts
  /// The image is being created.
  case create
  /// The size of the disk changes.
  case resize
  /// A snapshot is taken, applied or deleted.
  case snapshot
  /// The image is marked as damaged.
  case corrupt
  /// The pin is set, removed or given up.
  case pin
  /// A cluster, a stream or a table is copied to a better place.
  case move
  /// Counts and flags are brought in line with the references.
  case repair
  /// Another program has written it; why, only that program knows.
  case observed
}

extension WriteTag {
  /// A tag of the engine. `index` is the guest cluster for L2 entries, the host cluster for
  /// refcounts, the index of the entry for the L1, refcount and snapshot tables, and the name of a
  /// ``HeaderField`` for the header.
  package init(
    _ structure: Structure, _ reason: Reason, table: UInt64 = 0, index: UInt64 = 0,
    before: (UInt64, UInt64) = (0, 0), after: (UInt64, UInt64) = (0, 0)
  ) {
    self.init(
      structure: structure.rawValue, reason: reason.rawValue, table: table, index: index, before: before,
      after: after)
  }

  /// Which structure of the image the write is part of.
  package var target: Structure { Structure(rawValue: structure) ?? .none }
  /// The rule that asked for it.
  package var why: Reason { Reason(rawValue: reason) ?? .none }
}
