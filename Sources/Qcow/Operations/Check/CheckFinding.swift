// What a check can find, as values: which damage, where it is stored, who owns it, which part of the
// disk it concerns. The words are made on a higher floor.

import Glibc
package import QcowFormat

/// Damage found in an image, or a failure of the check itself.
package struct CheckFinding: Equatable, Sendable {
  /// How a finding counts.
  package enum Severity: Sendable, Equatable {
    /// The image is damaged, or writing to it may damage it.
    case corruption
    /// A host cluster is claimed that nothing uses.
    case leak
    /// Something could not be checked.
    case checkError
    /// Said once, without being counted.
    case remark
  }

  /// The damage. Entries and offsets are as stored; indices count from 0.
  package enum Kind: Equatable, Sendable {
    // Snapshot table.
    case snapshotTableTooLarge(count: UInt32)
    case snapshotTableMisplaced
    case snapshotTableUnreadable(error: Int32)
    case snapshotExtraDataTooLarge(index: Int, size: UInt32)
    /// So many entries do not fit.
    case snapshotTableTooLong(left: Int)
    case snapshotIncomplete(index: Int)
    case snapshotsWithDataFile(count: Int)
    case snapshotL1Unaligned(SnapshotEntry)
    case snapshotL1TooLarge(SnapshotEntry)
    // Mapping tables.
    case l1ReservedBits(entry: UInt64)
    case l2TableUnaligned(offset: UInt64)
    case l1Unreadable
    case l2ReservedBits(entry: UInt64)
    case l2Unreadable
    case compressedCopied(offset: UInt64)
    case compressedWithDataFile(index: Int, entry: UInt64)
    case compressedWithBitmap(index: Int, entry: UInt64)
    case conflictingBitmap(offset: UInt64)
    case clusterUnaligned(offset: UInt64, holdsData: Bool)
    case bitmapWithoutCluster
    // References.
    case beyondEnd(offset: UInt64, size: UInt64)
    case tooManyReferences(offset: UInt64)
    // Refcounts.
    case refcountBlockReservedBits(index: Int)
    case refcountBlockUnaligned(index: Int)
    case refcountBlockOutside(index: Int)
    case refcountBlockShared(index: Int, references: UInt64)
    case refcountBlockUnusable(offset: UInt64, index: UInt64)
    case refcountUnreadable(cluster: UInt64, error: Int32)
    case refcountWrong(cluster: UInt64, refcount: UInt64, references: UInt64)
    // COPIED flags.
    case copiedWrongL1(index: Int, entry: UInt64, refcount: UInt64)
    case copiedWrongL2(entry: UInt64, refcount: UInt64)
  }

  /// What was found.
  package var kind: Kind
  /// Where the damaged entry is stored, or where the cluster lies; host bytes.
  package var place: HostOffset?
  /// What the entry or the cluster belongs to; several if the cluster has several owners.
  package var owners: [CheckOwner]
  /// The part of the disk that is concerned.
  package var guest: Range<GuestOffset>?

  init(
    _ kind: Kind, at place: HostOffset? = nil, _ owner: CheckOwner? = nil, guest: Range<GuestOffset>? = nil
  ) {
    self.kind = kind
    self.place = place
    owners = owner.map { [$0] } ?? []
    self.guest = guest
  }

  /// How bad that is.
  package var severity: Severity {
    switch kind {
    case .snapshotTableTooLarge, .snapshotTableMisplaced, .snapshotTableUnreadable,
      .snapshotExtraDataTooLarge,
      .snapshotTableTooLong, .l1Unreadable, .l2Unreadable, .refcountUnreadable:
      return .checkError
    case .refcountBlockUnusable: return .remark
    case .refcountWrong(_, let refcount, let references): return refcount < references ? .corruption : .leak
    default: return .corruption
    }
  }
}

extension CheckFinding {
  /// What a repair does about a finding.
  package enum Remedy: Sendable, CaseIterable {
    /// A refcount or a flag is set to what the references say.
    case set
    /// A damaged entry is written anew.
    case mended
    /// The count goes down to what the references say, and what nobody uses is given back.
    case freed
    /// It stays as it is.
    case stays
  }

  /// What a repair of all does about it.
  package var remedy: Remedy {
    switch kind {
    case .refcountWrong(_, let refcount, let references): refcount < references ? .set : .freed
    case .copiedWrongL1, .copiedWrongL2, .refcountBlockShared, .refcountBlockOutside: .set
    case .refcountBlockReservedBits, .refcountBlockUnaligned, .snapshotIncomplete,
      .clusterUnaligned(_, holdsData: false):
      .mended
    default: .stays
    }
  }
}

/// What a place in the file belongs to. A snapshot is named by its index in the snapshot table; nil
/// stands for the active disk.
package enum CheckOwner: Equatable, Sendable {
  case header
  case l1Table(snapshot: Int?)
  case l1Entry(Int, snapshot: Int?)
  case l2Table(l1Index: Int, snapshot: Int?)
  case l2Entry(l1Index: Int, l2Index: Int, snapshot: Int?)
  case snapshotTable
  case snapshotEntry(Int)
  case refcountTable
  case refcountTableEntry(Int)
  case refcountBlock(Int)
  case encryptionHeader
  case bitmapDirectory
  case bitmapTable(Int)
  case bitmapData(Int, entry: Int)

  /// The part of the disk that it maps; nil for what maps none.
  func guestRange(_ geometry: Geometry) -> Range<GuestOffset>? {
    switch self {
    case .l1Entry(let index, _), .l2Table(let index, _): return geometry.guestRange(l1Index: index)
    case .l2Entry(let l1Index, let l2Index, _):
      return geometry.guestRange(l1Index: l1Index, l2Index: l2Index)
    default: return nil
    }
  }

  /// The structure belongs to a snapshot and not to the active disk.
  var isOfSnapshot: Bool {
    switch self {
    case .l1Table(let snapshot), .l1Entry(_, let snapshot), .l2Table(_, let snapshot),
      .l2Entry(_, _, let snapshot):
      return snapshot != nil
    default: return false
    }
  }
}

/// The outcome of a check.
public struct CheckResult: Equatable, Sendable {
  /// Errors that can cost data.
  public package(set) var corruptions: UInt64 = 0
  /// Clusters that are counted and that nobody uses.
  public package(set) var leaks: UInt64 = 0
  /// What the check itself could not do.
  public package(set) var checkErrors: UInt64 = 0
  /// Errors that a repair before this check has set right.
  package var corruptionsFixed: UInt64 = 0
  /// Leaked clusters that a repair before this check has given back.
  package var leaksFixed: UInt64 = 0
  /// Clusters of the virtual disk.
  public package(set) var totalClusters: UInt64 = 0
  /// L2 entries of the active disk with a host cluster or compressed data.
  public package(set) var allocatedClusters: UInt64 = 0
  /// Of these: not directly behind the one before in the same table, or compressed.
  public package(set) var fragmentedClusters: UInt64 = 0
  /// Of these: compressed.
  public package(set) var compressedClusters: UInt64 = 0
  /// Behind the last host cluster in use, in bytes; nil if the check did not come so far.
  public package(set) var imageEndOffset: UInt64?
  /// Why the check ended early; nil if it came to its end.
  package var failure: CheckStop?
}

/// Why a check cannot go on.
package struct CheckStop: Error, Equatable, Sendable {
  /// A number of the host's system calls, as the genuine tool reports it.
  package var error: Int32
  /// More than the number says, for limits of this program.
  package var detail: String?
  /// It counts as such, without a finding; nil if a finding has told it or nothing counts.
  var counts: CheckFinding.Severity?

  init(_ error: Int32, _ detail: String? = nil, counts: CheckFinding.Severity? = nil) {
    self.error = error
    self.detail = detail
    self.counts = counts
  }

  static let ioError = CheckStop(EIO)
}
