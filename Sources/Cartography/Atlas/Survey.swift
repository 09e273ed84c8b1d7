// What is known of an image so far: owners of every host cluster, structures, conflicts, and the two sheets that
// are counted from them. A scan fills it from nothing; an update keeps it true after an operation.

import QcowFormat
import Qcow
import Storage

/// The findings of one scan and of the updates behind it. A scan that starts again begins with a new one.
final class Survey {
  let image: Image
  /// What places without an L2 entry are where a layer below covers them.
  let unallocated: GuestState
  /// Which host clusters have a refcount above 1.
  let shared: SharedClusters
  /// How many owners every host cluster has.
  let references: ReferenceCounts
  /// How many of the owners are snapshots; nil without any.
  var snapshotReferences: ReferenceCounts? { classifier.snapshotReferences }
  /// Names the state of host clusters by what is known here.
  let classifier: HostClassifier
  /// Reads the L2 entries of the active disk.
  private(set) var entries: GuestEntries
  /// L2 tables that no entry of the active L1 table leads to, sorted by their places.
  var snapshotTables: [SnapshotTable] = []
  /// Clusters in conflict that were met so far.
  var conflicts = ConflictSet()
  private(set) var guest: GuestSheet
  private(set) var host: HostSheet
  /// Leaves that are to be counted again.
  var backlog = LeafBacklog()
  /// Cells that were decoded, until what they say may have changed.
  var cells = CellCache()
  /// Why some of the image is not here; nil if all of it is.
  private(set) var partialReason: String?
  /// What all of this was made from.
  private(set) var sources: SurveySources

  /// Clusters of the smallest leaf, as a power of two.
  private let grain: Int

  init(_ image: Image, unallocated: GuestState, grain: Int) {
    self.image = image
    self.grain = grain
    self.unallocated = unallocated
    // Whoever is named in what could not be read looks like nobody.
    partialReason = image.damagedParts.first.map { "not all owners are known: " + $0 }
    sources = SurveySources(image)
    shared = SharedClusters(image)
    references = ReferenceCounts(allocated: image.storage.allocatedBytes)
    classifier = HostClassifier(
      image, references,
      snapshots: image.snapshots.isEmpty ? nil : ReferenceCounts(allocated: image.storage.allocatedBytes))
    entries = GuestEntries(image, unallocated, shared, classifier)
    guest = GuestSheet(clusters: image.geometry.clusterCount, grain: grain)
    // The host map is made when its scan begins; until then nothing of it is known.
    host = HostSheet(clusters: 0)
  }

  var isPartial: Bool { partialReason != nil }

  func markPartial(_ reason: String) {
    if partialReason == nil { partialReason = reason }
  }

  /// Clusters of the file.
  var fileClusters: UInt64 { image.geometry.clustersCovering(image.storage.length) }
  /// Clusters of the host map: those of the file, and those behind its end that are referred to.
  var hostClusters: UInt64 {
    min(max(fileClusters, min(references.end, GuestDecoder.mapLimit(fileClusters: fileClusters))), 1 << 44)
  }

  // MARK: Leaves

  /// Begins the sheet of the file, once all owners are known.
  func beginHost() { host = HostSheet(clusters: hostClusters, grain: grain) }

  /// Stores a leaf of the guest's disk; what has no entry is the rest.
  func setGuestLeaf(_ leaf: Int, _ counted: StateCounts<GuestState>, _ signature: HostSignature) {
    guest.setLeaf(leaf, entries.withRest(counted, guest.range(ofLeaf: UInt64(leaf))), signature)
  }

  /// Counts a leaf of the guest's disk again.
  func recountGuest(_ leaf: UInt64) {
    var counts = StateCounts<GuestState>()
    var signature = HostSignature()
    entries.count(all: guest.range(ofLeaf: leaf), into: &counts, signature: &signature)
    setGuestLeaf(Int(leaf), counts, signature)
  }

  /// Counts a leaf of the file again.
  func recountHost(_ leaf: UInt64) {
    var value = HostLeaf()
    let start = leaf << host.leafBits
    let end = min(start + 1 << host.leafBits, hostClusters)
    let fileClusters = fileClusters
    if start < end {
      _ = classifier.classify(start..<end) { first, count, facts in
        value.add(first, count, facts, fileClusters)
      }
    }
    host.setLeaf(Int(leaf), value)
  }

  /// Counts leaves again that an update left for later, for about the time until `end`.
  ///
  /// - Returns: true when none is left.
  func countBacklog(until end: ContinuousClock.Instant) -> Bool {
    let clock = ContinuousClock()
    while let leaf = backlog.guest.popFirst() {
      recountGuest(leaf)
      guard clock.now < end else { return backlog.isEmpty }
    }
    while let leaf = backlog.host.popFirst() {
      recountHost(leaf)
      guard clock.now < end else { return backlog.isEmpty }
    }
    return true
  }

  /// Makes room for a file that grew.
  func growHost() {
    guard host.counts.capacity < hostClusters else { return }
    let old = host
    host = old.grown(toCover: hostClusters)
    // The trees do not add up from counts alone; a file that outgrows its map is rare.
    for leaf in 0..<UInt64(old.counts.capacity >> host.leafBits) { recountHost(leaf) }
  }

  // MARK: Following

  /// The image changed: what was read of it is forgotten, what was counted stays until it is counted again.
  /// The leaves of a disk of another size are empty.
  func follow(_ now: SurveySources) {
    if now.snapshots.isEmpty {
      classifier.count(snapshots: nil)
    } else if snapshotReferences == nil {
      classifier.count(snapshots: ReferenceCounts(allocated: image.storage.allocatedBytes))
    }
    if now.geometry != sources.geometry {
      guest = GuestSheet(clusters: now.geometry.clusterCount, grain: grain)
    }
    sources = now
    classifier.invalidate()
    shared.invalidate()
    entries = GuestEntries(
      image, unallocated, shared, classifier, regionBits: entries.decoder.regionBits)
    cells = CellCache()
  }

  /// Decodes entries against the file as it is now, for single places.
  var currentEntries: EntryDecoder {
    GuestDecoder(image, unallocated, shared, regionBits: entries.decoder.regionBits).decoder
  }
}

/// Leaves of both maps whose counts are older than the image.
struct LeafBacklog {
  var guest: Set<UInt64> = []
  var host: Set<UInt64> = []
  var isEmpty: Bool { guest.isEmpty && host.isEmpty }
  var count: Int { guest.count + host.count }
}

/// What a survey is made from, where a change of it is more than a change of entries.
struct SurveySources: Equatable {
  var geometry: Geometry
  var l1Count: Int
  var l1Place: HostOffset
  var snapshots: [SnapshotEntry]
  var fileLength: UInt64

  init(_ image: Image) {
    geometry = image.geometry
    l1Count = image.l1Count
    l1Place = HostOffset(image.header.l1TableOffset)
    snapshots = image.snapshots
    fileLength = image.storage.length
  }
}

/// An L2 table that only snapshots use.
struct SnapshotTable {
  var offset: HostOffset
  /// Entries of L1 tables that lead to it.
  var times: UInt64
  /// The table maps saved machine state.
  var isMachineState: Bool
  /// The regions of the file it leads to.
  var signature = HostSignature()
}
