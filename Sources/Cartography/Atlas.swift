// The atlas of an image: what both maps show at every zoom, filled by a scan that runs in small
// steps between key presses, and kept up to date after every operation without a new scan.

import QcowFormat
package import Qcow
package import Storage

/// Counts of both maps of one image.
///
/// Not safe for use from two threads at once; it reads the storage of the image and never writes.
package final class Atlas {
  package let image: Image
  /// What places without an L2 entry are: ``GuestState/none``, ``GuestState/below`` or, if the
  /// layer below cannot be read, ``GuestState/missing``.
  package let unallocated: GuestState

  /// Starts an empty atlas; ``step(budgetNanoseconds:)`` fills it.
  package init(_ image: Image, unallocated: GuestState? = nil) {
    self.image = image
    self.unallocated = unallocated ?? (image.backingFileName == nil ? .none : .below)
  }

  /// Everything has been scanned that is going to be.
  package private(set) var isDone = false
  /// Why some of the image is not in the atlas; nil if all of it is.
  package private(set) var partialReason: String?
  package var isPartial: Bool { partialReason != nil }
  /// How far the scan is, 0 ... 1.
  package var progress: Double { isDone ? 1 : 0 }
  /// Changes whenever any answer may have changed.
  package private(set) var revision = 0
  /// Clusters of the host map: those of the file, and those behind its end that are referred to.
  package var hostClusters: UInt64 { 0 }

  /// Scans on for about the given time.
  /// - Returns: true when there is nothing left to scan.
  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool { isDone }

  /// Forgets everything and starts the scan again.
  package func restart() {}

  /// Follows an operation that was done, or taken back, on the image's overlay; call it after the
  /// image was flushed or reloaded.
  /// - Returns: false if the change was too deep and the scan had to start again.
  @discardableResult
  package func update(with operation: StorageOperation, undone: Bool) -> Bool { true }

  package var totals: Totals { Totals() }

  /// Subclusters per state in a range of guest clusters. Reads at most the entries at the edges.
  package func guestCounts(clusters: Range<UInt64>) -> StateCounts<GuestState> { StateCounts() }
  /// Clusters per state in a range of host clusters.
  package func hostCounts(clusters: Range<UInt64>) -> StateCounts<HostState> { StateCounts() }

  /// `count` cells of 2^`cellClustersLog2` clusters each, the first of them number `first`. Down
  /// to -5 a cell is a part of a cluster, where there are subclusters.
  package func guestCells(first: UInt64, cellClustersLog2: Int, count: Int) -> [MapCell<GuestState>] { [] }
  /// `count` cells of 2^`cellClustersLog2` host clusters each, the first of them number `first`.
  package func hostCells(first: UInt64, cellClustersLog2: Int, count: Int) -> [MapCell<HostState>] { [] }
  /// The last call for cells left some unknown because decoding them all would have taken too long;
  /// calling again continues.
  package private(set) var needsRefinement = false

  /// The next guest cluster behind (or before) `cluster` that is in `state`, at least in part.
  package func nextGuest(_ state: GuestState, from cluster: UInt64, forward: Bool) -> UInt64? { nil }
  /// The next host cluster behind (or before) `cluster` that is in `state`.
  package func nextHost(_ state: HostState, from cluster: UInt64, forward: Bool) -> UInt64? { nil }
}
