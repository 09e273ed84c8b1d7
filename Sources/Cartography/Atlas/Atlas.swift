// The atlas of an image: what both maps show at every zoom, filled by a scan that runs in small
// steps between key presses, and kept up to date after every operation without a new scan.

import QcowFormat
package import Qcow
package import Storage

/// Counts of both maps of one image: a ``Survey`` with what fills it, follows the image and answers from it.
///
/// Not safe for use from two threads at once. It reads the storage of the image and never writes;
/// changes that the image holds in memory only are not seen, so flush it first.
package final class Atlas {
  /// The image that is looked at; the counts follow its changes.
  package let image: Image
  /// What places without an L2 entry are where a layer below covers them: ``GuestState/none`` without
  /// one, ``GuestState/below`` or, if it cannot be read, ``GuestState/missing``.
  package private(set) var unallocated: GuestState
  private let given: GuestState?
  private let detail: Detail

  /// What is asked of it.
  package enum Detail: Sendable {
    /// Maps, of which every cell is a look-up.
    case cells
    /// Totals. Cells are there, and have to be counted where they are small.
    case totals
  }
  /// Clusters of the smallest leaf with totals alone, as a power of two: what one stride of the scan takes.
  private static let coarse = 13

  /// What is known of the image.
  private(set) var survey: Survey
  private var scan: AtlasScan
  private var cells: AtlasCells
  /// The last scan that saw all of the image found clusters with more users than their refcount says.
  private var knewConflicts = false

  /// How many scans were begun.
  package private(set) var scans = 1
  /// Changes whenever any answer may have changed.
  package private(set) var revision = 1

  /// Starts an empty atlas; ``step(budgetNanoseconds:)`` fills it.
  package init(_ image: Image, unallocated: GuestState? = nil, for detail: Detail = .cells) {
    self.image = image
    self.detail = detail
    given = unallocated
    let state = unallocated ?? Self.unallocated(image)
    self.unallocated = state
    survey = Survey(image, unallocated: state, grain: detail == .cells ? 0 : Self.coarse)
    scan = AtlasScan(survey)
    cells = AtlasCells(survey, scan)
  }

  private static func unallocated(_ image: Image) -> GuestState {
    guard image.backingFileName != nil else { return .none }
    return image.backing?.isMissing == true ? .missing : .below
  }

  // MARK: Being filled

  /// Forgets everything and starts the scan again.
  package func restart() {
    revision += 1
    scans += 1
    if isDone { knewConflicts = !isPartial && mayHoldConflicts }
    unallocated = given ?? Self.unallocated(image)
    survey = Survey(image, unallocated: unallocated, grain: detail == .cells ? 0 : Self.coarse)
    scan = AtlasScan(survey)
    cells = AtlasCells(survey, scan)
  }

  /// Scans on for about the given time.
  /// - Returns: true when there is nothing left to scan.
  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    guard !isDone else { return stepBacklog(budgetNanoseconds) }
    revision += 1
    return scan.step(budgetNanoseconds: budgetNanoseconds)
  }

  /// Counts again what ``follow(_:)`` left for later.
  private func stepBacklog(_ budget: UInt64) -> Bool {
    guard !survey.backlog.isEmpty else { return true }
    revision += 1
    let isDone = survey.countBacklog(until: ContinuousClock.now + .nanoseconds(Int64(clamping: budget)))
    // Cells may have been decoded in between.
    survey.cells = CellCache()
    guard isDone else { return false }
    // A conflict that came up, and the guest places that lead to it, are found by a new scan.
    guard survey.host.counts.root[mark: .conflict] == 0 else {
      restart()
      return false
    }
    return true
  }

  /// Parts of the maps, each of some thousand clusters, that changed and were not counted again yet.
  package var partsBehind: Int { survey.backlog.count }

  /// Scans to the end, for programs without a screen.
  package func scanAll() {
    while !isDone { step(budgetNanoseconds: 100_000_000) }
  }

  /// Follows an operation that was done, or taken back, on the image's overlay. Call it once for
  /// each operation, in order, after the image was flushed or reloaded.
  /// - Returns: false if the change was too deep and the scan starts again.
  @discardableResult
  package func update(with operation: StorageOperation, undone: Bool) -> Bool {
    revision += 1
    if isDone, AtlasUpdate.follow(operation, undone: undone, in: survey) { return true }
    restart()
    return false
  }

  /// Follows what was passed through the image's overlay, in order and without a gap. The maps are right when
  /// ``step(budgetNanoseconds:)`` has counted again what it touched (``partsBehind``).
  ///
  /// - Returns: false if the change was too deep and the scan starts again.
  @discardableResult
  package func follow(_ changes: StorageOperation) -> Bool {
    revision += 1
    if isDone, AtlasUpdate.follow(changes, undone: false, defers: true, in: survey) { return true }
    restart()
    return false
  }

  /// Scans on until every user of every cluster is known again, if the scan before found damage and an
  /// operation made it start anew; `stops` is asked now and then and ends it early.
  package func knowUsers(unless stops: () -> Bool) {
    guard knewConflicts else { return }
    while !scan.knowsOwners && !stops() { step(budgetNanoseconds: 20_000_000) }
  }

  /// Everything has been counted.
  package var isDone: Bool { scan.isDone }
  /// How far the scan is, 0 ... 1.
  package var progress: Double { scan.progress }
  /// Why some of the image is not in the atlas; nil if all of it is.
  package var partialReason: String? { survey.partialReason }
  /// Something could not be looked at, so that counts are lower bounds.
  package var isPartial: Bool { survey.isPartial }

  // MARK: As a whole

  /// Clusters of the file.
  package var fileClusters: UInt64 { survey.fileClusters }
  /// Clusters of the host map: those of the file, and those behind its end that are referred to.
  package var hostClusters: UInt64 { survey.hostClusters }

  /// Why the refcounts are not worth much; nil if they should be right.
  package var staleness: Staleness? {
    if image.header.incompatible.contains(.dirty) { return .dirty }
    return HostClassifier.hasNoRefcounts(image) ? .empty : nil
  }

  /// What the entries and the refcounts say in numbers.
  package var totals: Totals { Totals(survey, staleness) }

  /// What the scan found so far.
  package var health: ScanHealth { ScanHealth(totals, image.geometry, isComplete: isDone && !isPartial) }

  /// Some cluster may have more users than its refcount says. False only if the scan has seen all of the
  /// image and found no such cluster.
  package var mayHoldConflicts: Bool {
    let totals = totals
    return !isDone || isPartial || totals.wrong + totals.uncounted > 0 || totals.guest[.bad] > 0
  }

  // MARK: Ranges and cells

  /// Subclusters per state in a range of guest clusters; the part that has been scanned, if the
  /// scan is not done.
  package func guestCounts(clusters: Range<UInt64>) -> StateCounts<GuestState> {
    cells.guestCounts(clusters: clusters)
  }

  /// Clusters per state in a range of host clusters.
  package func hostCounts(clusters: Range<UInt64>) -> StateCounts<HostState> {
    cells.hostCounts(clusters: clusters)
  }

  /// Calls `body` for the runs of equal facts of the file and of what is owned behind its end, in order.
  package func hostRuns(_ body: (_ first: UInt64, _ count: UInt64, _ facts: HostFacts) -> Void) {
    cells.hostRuns(body)
  }

  /// `count` cells of 2^`cellClustersLog2` clusters each, the first of them number `first`. Down
  /// to -5 a cell is a part of a cluster, where there are subclusters.
  package func guestCells(first: UInt64, cellClustersLog2: Int, count: Int) -> [MapCell<GuestState>] {
    cells.guestCells(first: first, cellClustersLog2: cellClustersLog2, count: count)
  }

  /// `count` cells of 2^`cellClustersLog2` host clusters each (0 or more), the first of them number
  /// `first`.
  package func hostCells(first: UInt64, cellClustersLog2: Int, count: Int) -> [MapCell<HostState>] {
    cells.hostCells(first: first, cellClustersLog2: cellClustersLog2, count: count)
  }

  /// The whole file in `columns` cells or fewer, each of nearly as many clusters as its neighbours. It costs the
  /// cells, whatever they stand for.
  package func hostStrip(columns: Int) -> [HostStripCell] { cells.hostStrip(columns: columns) }

  /// The last call for cells left some unknown because decoding them all would have taken too
  /// long; calling again continues.
  package var needsRefinement: Bool { cells.needsRefinement }

  /// The next guest cluster behind (or before) `cluster` that is in `state`, at least in part.
  package func nextGuest(_ state: GuestState, from cluster: UInt64, forward: Bool) -> UInt64? {
    cells.nextGuest(state, from: cluster, forward: forward)
  }

  /// The next host cluster behind (or before) `cluster` that is in `state`.
  package func nextHost(_ state: HostState, from cluster: UInt64, forward: Bool) -> UInt64? {
    cells.nextHost(state, from: cluster, forward: forward)
  }

  // MARK: Single places

  /// What is known of one host cluster; nil before the scan has been there.
  package func hostFacts(of cluster: UInt64) -> HostFacts? { cells.hostFacts(of: cluster) }

  /// How many references to a host cluster the scan has met so far: entries and structures, snapshots
  /// included. 0 also where it has not looked.
  package func knownUsers(of cluster: UInt64) -> UInt64 { survey.references.count(of: cluster) }

  /// Why the L2 table of an L1 entry cannot be right, as far as is known; nil if nothing speaks
  /// against it.
  package func tableConflict(_ l1Index: Int) -> Conflict? {
    let geometry = image.geometry
    guard let table = image.l1Entry(l1Index).table, geometry.isAligned(table.value) else { return nil }
    return survey.classifier.conflict(
      at: geometry.cluster(of: table).value, isTable: true, fileClusters: fileClusters)
  }
}
