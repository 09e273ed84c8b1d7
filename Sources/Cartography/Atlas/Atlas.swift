// The atlas of an image: what both maps show at every zoom, filled by a scan that runs in small
// steps between key presses, and kept up to date after every operation without a new scan.

import QcowFormat
package import Qcow
import Storage

/// Counts of both maps of one image.
///
/// Not safe for use from two threads at once. It reads the storage of the image and never writes;
/// changes that the image holds in memory only are not seen, so flush it first.
package final class Atlas {
  /// The image that is looked at; the counts follow its changes.
  package let image: Image
  /// What places without an L2 entry are where a layer below covers them: ``GuestState/none`` without
  /// one, ``GuestState/below`` or, if it cannot be read, ``GuestState/missing``.
  package let unallocated: GuestState

  /// Where the scan is.
  enum Phase: Int {
    case snapshots, tables, snapshotTables, host, conflicts, done
  }

  var phase = Phase.snapshots
  var decoder: GuestDecoder
  let tables: TableReader
  var references: ReferenceCounts
  /// How many of the owners are snapshots; nil without any.
  var snapshotReferences: ReferenceCounts?
  var shared: SharedClusters
  /// Clusters in conflict that the scan has met so far.
  var conflicts = ConflictSet()
  /// The last scan that saw all of the image found clusters with more users than their refcount says.
  var knewConflicts = false
  var classifier: HostClassifier
  var guest: Pyramid<GuestState>
  /// Per leaf of the guest map, the regions of the file it lies in.
  var signatures: [HostSignature]
  var host: Pyramid<HostState>
  var freeRuns: FreeRunTree
  var refcountRanges: RefcountRangeTree
  /// The next cluster to scan on either side.
  var guestPosition: UInt64 = 0
  var hostPosition: UInt64 = 0
  /// The next leaf of the guest map to look at for conflicts.
  var conflictLeaf = 0
  var pendingGuest = StateCounts<GuestState>()
  var pendingSignature = HostSignature()
  var pendingHost = HostLeaf()
  var snapshotTables = SnapshotTables()
  /// How often the table that is being scanned counts.
  var currentTimes: UInt64 = 1
  var sources: Sources
  var cells = CellCache()

  /// Why some of the image is not in the atlas; nil if all of it is.
  package internal(set) var partialReason: String?
  /// Something could not be looked at, so that counts are lower bounds.
  package var isPartial: Bool { partialReason != nil }
  /// Changes whenever any answer may have changed.
  package internal(set) var revision = 0
  /// The last call for cells left some unknown because decoding them all would have taken too
  /// long; calling again continues.
  package internal(set) var needsRefinement = false

  /// Starts an empty atlas; ``step(budgetNanoseconds:)`` fills it.
  package init(_ image: Image, unallocated: GuestState? = nil) {
    self.image = image
    let below: GuestState = image.backing?.isMissing == true ? .missing : .below
    let state = unallocated ?? (image.backingFileName == nil ? .none : below)
    self.unallocated = state
    sources = Sources(image)
    tables = TableReader(image.storage)
    references = ReferenceCounts()
    classifier = HostClassifier(image, references)
    shared = SharedClusters(image)
    decoder = Self.makeDecoder(image, state, shared)
    guest = Pyramid(clusterBits: 0, leafBits: 0)
    host = Pyramid(clusterBits: 0, leafBits: 0)
    signatures = []
    freeRuns = FreeRunTree(leafBits: 0)
    refcountRanges = RefcountRangeTree(leafBits: 0)
    restart()
  }

  static func makeDecoder(
    _ image: Image, _ unallocated: GuestState, _ shared: SharedClusters, regionBits: UInt64? = nil
  ) -> GuestDecoder {
    let entries = EntryDecoder(
      geometry: image.geometry, version: image.header.version, fileLength: image.storage.length,
      unallocated: unallocated, belowEnd: belowEnd(image, unallocated),
      hasExternalData: image.header.incompatible.contains(.externalDataFile))
    var bits: UInt64 = 0
    while bits < 56, entries.fileClusters >> bits > 256 { bits += 1 }
    return GuestDecoder(decoder: entries, shared: shared, regionBits: regionBits ?? bits)
  }

  /// Where the layer below ends; nobody knows of one that is missing.
  private static func belowEnd(_ image: Image, _ unallocated: GuestState) -> UInt64 {
    guard unallocated != .none else { return 0 }
    guard let backing = image.backing, !backing.isMissing else { return .max }
    return backing.virtualSize
  }

  /// What the atlas was made from, where a change of it needs a new scan.
  struct Sources: Equatable {
    var geometry: Geometry
    var l1Count: Int
    var snapshots: [SnapshotEntry]
    var fileLength: UInt64

    init(_ image: Image) {
      geometry = image.geometry
      l1Count = image.l1Count
      snapshots = image.snapshots
      fileLength = image.storage.length
    }
  }

  /// Everything has been counted.
  package var isDone: Bool { phase == .done }

  /// How far the scan is, 0 ... 1.
  package var progress: Double {
    let guestEnd = Double(max(1, scanEnd))
    switch phase {
    case .snapshots: return 0
    case .tables: return 0.6 * min(1, Double(guestPosition) / guestEnd)
    case .snapshotTables: return 0.6
    case .host: return 0.6 + 0.35 * min(1, Double(hostPosition) / Double(max(1, hostClusters)))
    case .conflicts: return 0.95 + 0.05 * Double(conflictLeaf) / Double(max(1, signatures.count))
    case .done: return 1
    }
  }

  var entries: EntryDecoder { decoder.decoder }
  /// Clusters of the virtual disk.
  var guestClusters: UInt64 { image.geometry.clusterCount }
  /// Clusters that the L1 table can map, beyond the end of the disk too.
  var scanEnd: UInt64 { UInt64(image.l1Count) << UInt64(image.geometry.l2Bits) }
  /// Clusters of the file.
  package var fileClusters: UInt64 { image.geometry.clustersCovering(image.storage.length) }
  /// Clusters of the host map: those of the file, and those behind its end that are referred to.
  package var hostClusters: UInt64 {
    min(max(fileClusters, min(references.end, GuestDecoder.mapLimit(fileClusters: fileClusters))), 1 << 44)
  }

  /// Why the refcounts are not worth much; nil if they should be right.
  package var staleness: Staleness? {
    if image.header.incompatible.contains(.dirty) { return .dirty }
    return HostClassifier.hasNoRefcounts(image) ? .empty : nil
  }

  /// What the entries and the refcounts say in numbers.
  package var totals: Totals {
    let geometry = image.geometry
    var totals = Totals()
    totals.guest = guest.root
    totals.host = host.root
    totals.fileLength = image.storage.length
    totals.fileClusters = fileClusters
    totals.hostBlocks = image.storage.allocatedBytes
    func bytes(_ clusters: UInt64) -> UInt64 { clusters << UInt64(geometry.clusterBits) }
    for state in GuestState.allCases where state.isFilled {
      totals.guestData &+= totals.guest[state] << UInt64(geometry.subclusterBits)
    }
    for state in HostState.allCases where state.isMetadata { totals.metadata &+= bytes(totals.host[state]) }
    for state in HostState.allCases where state.isContent {
      totals.dataClusterBytes &+= bytes(totals.host[state])
    }
    totals.freeClusters = totals.host[.free]
    let runs = freeRuns.root
    totals.freeAtTail = runs.suffix
    totals.largestFreeRun = runs.best
    totals.largestFreeRunStart = runs.bestStart
    totals.imageEnd = bytes(fileClusters - min(fileClusters, runs.suffix))
    totals.leaked = totals.host[.leaked] + totals.host[mark: .leaked]
    totals.wrong = totals.host[.wrong] + totals.host[mark: .conflict]
    totals.uncounted = totals.host[mark: .uncounted]
    totals.sharedClusters = totals.host[mark: .shared]
    totals.snapshotClusters = totals.host[mark: .snapshots]
    totals.leftOverState = totals.host[mark: .leftOver]
    totals.bad = totals.guest[.bad]
    totals.staleness = staleness
    return totals
  }
}
