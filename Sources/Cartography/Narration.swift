// What an operation did, told from its events: lines for the log, numbers for the dialogs, and the
// sets of places that changed for the marks on the maps and in the tables.

package import QcowFormat
import Qcow
package import Storage

/// The story of one operation.
package struct Narration: Sendable {
  /// Numbers of an operation.
  package struct Numbers: Equatable, Sendable {
    /// Bytes of the guest that were written, and in all: tables and copied bytes too.
    package var guestBytes: UInt64 = 0
    package var hostBytes: UInt64 = 0
    package var metadataBytes: UInt64 = 0
    package var copiedBytes: UInt64 = 0
    package var clustersTaken: UInt64 = 0
    package var clustersFreed: UInt64 = 0
    package var refcountsChanged: UInt64 = 0
    package var l2EntriesChanged: UInt64 = 0
    package var tablesAdded: UInt64 = 0
    package var bytesPunched: UInt64 = 0
    package var lengthBefore: UInt64 = 0
    package var lengthAfter: UInt64 = 0
  }

  package var title = ""
  /// "L2[80] -> 0xa0000, new cluster", "refcount[a] 0 -> 1", "file +66K": runs, in order.
  package var lines: [String] = []
  package var numbers = Numbers()
  /// Guest clusters whose entries changed, as sorted ranges.
  package var guestClusters: [Range<UInt64>] = []
  /// Host clusters whose refcount, entry or bytes changed, as sorted ranges.
  package var hostClusters: [Range<UInt64>] = []
  /// L1 entries that changed.
  package var l1Entries: [Int] = []

  /// Tells `operation`; `undone` tells it backwards.
  package init(_ operation: StorageOperation, geometry: Geometry, undone: Bool = false) {
    title = operation.title
  }

  package func changed(guest cluster: UInt64) -> Bool { false }
  package func changed(host cluster: UInt64) -> Bool { false }
  /// What the entry of a guest cluster was before, if it changed.
  package func entryBefore(_ cluster: UInt64) -> L2Entry? { nil }
  /// What the refcount of a host cluster was before, if it changed.
  package func refcountBefore(_ cluster: UInt64) -> UInt64? { nil }
}
