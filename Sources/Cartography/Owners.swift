// The way back: who owns a host cluster. Signatures of the atlas say which tables can point there,
// so that only these are read, and the counter of references says when all have been found.

package import QcowFormat
import Qcow

/// Somebody who uses a host cluster.
package enum Owner: Hashable, Sendable {
  case header
  case l1Table
  case refcountTable
  case refcountBlock(index: Int)
  /// The L2 table of an entry of the active L1 table.
  case l2Table(l1Index: Int)
  /// Bytes of the guest, by an entry of an L2 table.
  case data(l1Index: Int, l2Index: Int, table: HostOffset, guest: GuestOffset)
  /// A compressed cluster whose stream touches the host cluster.
  case compressed(l1Index: Int, l2Index: Int, table: HostOffset, guest: GuestOffset)
  case snapshotTable
  case snapshotL1(snapshot: Int)
  case snapshotL2(snapshot: Int, l1Index: Int)
  case snapshotData(snapshot: Int, l1Index: Int, l2Index: Int, table: HostOffset, guest: GuestOffset)
  case bitmaps
  case crypto
  /// The refcount counts owners that do not exist.
  case leaked(refcount: UInt64, owners: UInt64)
  case free
  case pastEnd

  /// The place on the virtual disk, for owners that have one.
  package var guest: GuestOffset? {
    switch self {
    case .data(_, _, _, let guest), .compressed(_, _, _, let guest): guest
    default: nil
    }
  }

  /// One line, as "L2[16] of the L2 table at 0x40000".
  package func text(snapshots: [SnapshotEntry]) -> String { "" }
}

/// What is known about the owners of one cluster.
package struct OwnerList: Equatable, Sendable {
  package var owners: [Owner] = []
  /// All owners have been found; otherwise asking again searches on.
  package var isComplete = true
  package var refcount: UInt64?
  package var state = HostState.free
}

/// Finds owners of host clusters.
package final class Owners {
  package let atlas: Atlas
  package init(_ atlas: Atlas) { self.atlas = atlas }

  /// The owners of a cluster, with a bounded amount of reading per call.
  package func owners(of cluster: HostCluster) -> OwnerList { OwnerList() }
}
