// Who follows a walk over all references of an image: whoever counts them, and whoever looks for the owners
// of some clusters once they have been counted.

import QcowFormat

/// Whether a cluster with an owner may have another one.
enum ReferenceSharing {
  case exclusive
  /// Compressed clusters share host clusters with each other.
  case compressed
  /// Snapshots share with the active disk and with each other.
  case snapshot
}

/// What a walk learns of an L2 table of the active disk on its way.
struct TableFacts {
  var tally = AllocationTally()
  var odd = OddEntries()
  /// A COPIED flag may be wrong.
  var isSuspect = false
}

/// Takes what a ``ReferenceWalk`` comes across.
protocol ReferenceVisitor: AnyObject {
  /// The first cluster behind those that are counted, one behind the file at most.
  var end: HostCluster { get }

  /// Clusters in a row have an owner; they lie in the file, or one behind it. `owner` is only asked when there
  /// is something to tell, with the number of the cluster in the row; `guest` is what they map, if that is not
  /// what the owner says. Throws what ends the walk, as all of these.
  func claim(
    _ first: HostCluster, _ count: ClusterCount, _ sharing: ReferenceSharing, _ guest: Range<GuestOffset>?,
    _ owner: (ClusterCount) -> CheckOwner
  ) throws(CheckStop)

  /// Claims plain entries of a table one by one from word `first` on, as long as nothing about them asks for more
  /// than that, and returns the first word that it left.
  func claimScattered(
    _ entries: PlainEntries, from first: Int, isActive: Bool, isExtended: Bool, _ facts: inout TableFacts
  ) -> Int

  /// A region ends a cluster or more behind the file.
  func passEnd(
    _ offset: HostOffset, _ size: ByteCount, _ owner: CheckOwner, _ guest: Range<GuestOffset>?
  ) throws(CheckStop)

  /// A refcount block has been claimed.
  func visitBlock(_ index: Int, _ cluster: HostCluster, at place: HostOffset) throws(CheckStop)

  /// Something is wrong with what names the reference.
  func tell(_ finding: CheckFinding) throws(CheckStop)

  /// The same where a repair can set it right on the way; true if it has, and then nothing is named any more.
  func mend(_ finding: CheckFinding) -> Bool

  /// False if COPIED flags of clusters in a row may be wrong.
  func isCopiedRight(_ isCopied: Bool, _ clusters: Range<HostCluster>) -> Bool

  /// The L2 table of an entry of the active L1 table has been gone through.
  func finishTable(l1Index: Int, _ facts: TableFacts)
}

extension ReferenceVisitor {
  func mend(_ finding: CheckFinding) -> Bool { false }

  func claimScattered(
    _ entries: PlainEntries, from first: Int, isActive: Bool, isExtended: Bool, _ facts: inout TableFacts
  ) -> Int { first }

  /// Counts one reference to every cluster that a region touches.
  func reference(
    _ offset: HostOffset, _ size: ByteCount, _ sharing: ReferenceSharing = .exclusive, in image: CheckedImage,
    guest: Range<GuestOffset>? = nil, _ owner: (ClusterCount) -> CheckOwner
  ) throws(CheckStop) {
    switch try image.region(at: offset, size) {
    case .nothing: return
    case .beyondEnd: try passEnd(offset, size, owner(0), guest)
    case .clusters(let first, let count): try claim(first, count, sharing, guest, owner)
    }
  }
}
