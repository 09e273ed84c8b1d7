// Everything about one address: which entries lead from the guest to the host there, what they
// say in full, and what lies at the end of the way.

package import QcowFormat
import Qcow
import Storage

/// The answer to "Where is it?" for one guest offset or one host offset.
package struct Place: Sendable {
  /// One entry on the way, with the bytes it is made of.
  package struct Step<Entry: Sendable>: Sendable {
    /// Number in its table.
    package var index: Int
    /// Where the entry lies in the file.
    package var address: HostOffset
    package var entry: Entry
    /// Refcount of the cluster it points to; nil if it points nowhere or the count is unreadable.
    package var targetRefcount: UInt64?
  }

  /// Where the next guest cluster lies.
  package enum Next: Equatable, Sendable {
    /// Directly behind this one.
    case inOrder(HostOffset)
    case elsewhere(HostOffset)
    case notMapped
    case compressed
    /// This is the last cluster of the disk.
    case endOfDisk
    /// This cluster has no host cluster to compare with.
    case unknown
  }

  /// The asked guest offset, or for a host offset that of its first owner on the disk.
  package var guest: GuestOffset?
  package var cluster: GuestCluster?
  package var byteInCluster: UInt64 = 0
  package var l1: Step<L1Entry>?
  package var l2: Step<L2Entry>?
  /// Where the bitmap of an extended entry lies.
  package var bitmapAddress: HostOffset?
  package var mapping: ClusterMapping?
  /// State of every subcluster, 1 or 32 of them.
  package var subclusters: [GuestState] = []
  /// Which of them the guest offset is in.
  package var subcluster = 0
  /// The host cluster, or the compressed stream.
  package var hostRange: Range<HostOffset>?
  /// The byte the guest offset is mapped to, or the asked host offset.
  package var host: HostOffset?
  /// Refcount of the host cluster.
  package var refcount: UInt64?
  package var next = Next.unknown
  /// Up to 16 bytes at ``host``.
  package var bytes: [UInt8] = []
  /// What the host cluster is, if the place was asked for by a host offset.
  package var hostState: HostState?
  /// Who owns the host cluster, if the place was asked for by a host offset.
  package var owners: [Owner] = []
  /// What kept the answer from being complete, in words.
  package var problem: String?

  /// The state at the guest offset.
  package var state: GuestState? {
    subclusters.indices.contains(subcluster) ? subclusters[subcluster] : nil
  }

  /// The place of a byte of the virtual disk.
  package static func guest(_ offset: GuestOffset, in atlas: Atlas) -> Place { Place() }
  /// The place of a byte of the file, with its owners.
  package static func host(_ offset: HostOffset, in owners: Owners) -> Place { Place() }
}
