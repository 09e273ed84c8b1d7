// Following single operations: owners change by the events of an operation, and the leaves that it
// touched are counted again from the image. What cannot be followed starts the scan again.

import QcowFormat
import Qcow
package import Storage

extension Atlas {
  /// More clusters than this are not counted again at once; a new scan does it in steps.
  private static let maximumRecount: UInt64 = 1 << 22
  /// Nor are more events than this followed one by one.
  private static let maximumEvents = 1 << 16

  /// Follows an operation that was done, or taken back, on the image's overlay. Call it once for
  /// each operation, in order, after the image was flushed or reloaded.
  /// - Returns: false if the change was too deep and the scan starts again.
  @discardableResult
  package func update(with operation: StorageOperation, undone: Bool) -> Bool {
    if follow(operation, undone) { return true }
    restart()
    return false
  }

  private func follow(_ operation: StorageOperation, _ undone: Bool) -> Bool {
    guard phase == .done, !isPartial, !references.needsRescan, conflicts.isEmpty,
      operation.events.count <= Self.maximumEvents
    else { return false }
    revision += 1
    var now = Sources(image)
    let lengthBefore = sources.fileLength
    let lengthAfter = now.fileLength
    now.fileLength = lengthBefore
    guard now == sources else { return false }
    let geometry = image.geometry
    let clustersBefore = geometry.clustersCovering(lengthBefore)
    // Owners of clusters behind the end change their meaning with the end.
    guard
      lengthBefore == lengthAfter || references.end <= clustersBefore
        || !references.hasOwners(in: clustersBefore..<references.end)
    else { return false }

    var changes = Changes()
    for event in undone ? operation.events.reversed() : operation.events {
      guard collect(event, undone, &changes) else { return false }
    }
    decoder = Self.makeDecoder(image, unallocated, shared, regionBits: decoder.regionBits)
    tables.invalidate()
    shared.invalidate()
    classifier.invalidate()
    cells = CellCache()
    sources.fileLength = lengthAfter
    for table in changes.tables { updateSnapshotTables(table) }
    if changes.structures {
      updateStructures(&changes)
    } else if !changes.tables.isEmpty {
      nameSnapshotTables(&classifier.structures)
    }
    guard !references.needsRescan, !references.isIncomplete, isSharingKnown(changes) else { return false }
    let clustersAfter = geometry.clustersCovering(lengthAfter)
    if clustersAfter < clustersBefore && references.hasOwners(in: clustersAfter..<clustersBefore) {
      return false
    }
    if lengthAfter != lengthBefore {
      changes.addHost(min(clustersBefore, clustersAfter).advanced(by: -1), max(clustersBefore, clustersAfter))
    }
    return recount(changes)
  }

  /// Places to count again.
  private struct Changes {
    var guest: Set<UInt64> = []
    var l1: Set<UInt64> = []
    var host: [Range<UInt64>] = []
    var structures = false
    /// L2 tables that the active disk began or ceased to use.
    var tables: Set<HostOffset> = []
    /// Clusters of data whose count was above 1 before or after, and those that an entry began to name.
    var shared: Set<UInt64> = []
    var named: Set<UInt64> = []

    mutating func addHost(_ first: UInt64, _ end: UInt64) {
      guard first < end else { return }
      if let last = host.last, last.upperBound >= first, last.lowerBound <= first {
        host[host.count - 1] = last.lowerBound..<max(last.upperBound, end)
      } else {
        host.append(first..<end)
      }
    }
  }

  /// Takes one event in; false if it cannot be followed.
  private func collect(_ event: StorageEvent, _ undone: Bool, _ changes: inout Changes) -> Bool {
    let tag = event.tag
    let before = undone ? tag.after : tag.before
    let after = undone ? tag.before : tag.after
    let bits = UInt64(image.geometry.clusterBits)
    guard event.kind == .note else {
      if event.kind != .flush {
        let end = max(event.offset &+ event.count, max(event.lengthBefore, event.lengthAfter))
        let last = event.kind == .truncate ? end : event.offset &+ event.count
        changes.addHost(event.offset >> bits, image.geometry.clustersCovering(last))
      }
      switch tag.target {
      case .header, .snapshotTable: changes.structures = true
      case .l1Table where tag.why == .newTable: changes.structures = true
      case .refcountTable, .bitmaps: changes.structures = true
      default: break
      }
      return true
    }
    switch tag.target {
    case .l2Table:
      refer(before.0, isAdded: false, &changes)
      refer(after.0, isAdded: true, &changes)
      changes.guest.insert(tag.index)
    case .l1Table:
      let old = L1Entry(raw: before.0).table
      let new = L1Entry(raw: after.0).table
      // A snapshot's table comes with entries that are not told one by one.
      if tag.why == .snapshot && old != new { return false }
      // The entries of a table that goes are not told one by one, but for one that is taken back.
      if old != nil && new == nil && !undone { return false }
      if old == nil && new != nil && undone { return false }
      if let old, old != new { referTable(old, isAdded: false, &changes) }
      if let new, old != new { referTable(new, isAdded: true, &changes) }
      if old == nil || new == nil { changes.l1.insert(tag.index) }
    case .refcountBlock:
      changes.addHost(tag.index, tag.index + 1)
      if max(tag.before.0, tag.after.0) > 1, references.kind(of: tag.index) == .data {
        changes.shared.insert(tag.index)
      }
    case .refcountTable, .header, .snapshotTable, .inactiveL1Table, .inactiveL2Table, .bitmaps:
      changes.structures = true
    case .none, .data, .compressedData, .file:
      break
    }
    return true
  }

  private func referTable(_ table: HostOffset, isAdded: Bool, _ changes: inout Changes) {
    let cluster = table.value >> UInt64(image.geometry.clusterBits)
    guard image.geometry.isAligned(table.value) else { return }
    changes.tables.insert(table)
    if isAdded { references.add(cluster, .table) } else { references.remove(cluster, .table) }
    changes.addHost(cluster, cluster + 1)
  }

  private func refer(_ descriptor: UInt64, isAdded: Bool, _ changes: inout Changes) {
    func change(_ cluster: UInt64, _ kind: ReferenceKind) {
      // As in the scan, what lies far behind the end is not counted.
      let length = max(sources.fileLength, image.storage.length)
      guard cluster < GuestDecoder.mapLimit(fileClusters: image.geometry.clustersCovering(length)) else {
        return
      }
      if isAdded { references.add(cluster, kind) } else { references.remove(cluster, kind) }
      if isAdded { changes.named.insert(cluster) }
      changes.addHost(cluster, cluster + 1)
    }
    switch entries.reference(of: descriptor) {
    case .none: break
    case .cluster(let cluster): change(cluster, .data)
    case .compressed(let clusters): for cluster in clusters { change(cluster, .compressed) }
    }
  }

  // MARK: Snapshots

  /// Whether an entry that is not COPIED shares its cluster follows from the refcount alone, so the guest
  /// cluster that maps a cluster whose count changed must be among those that are counted again: nobody maps
  /// it any more but snapshots, or the one entry that does has changed.
  private func isSharingKnown(_ changes: Changes) -> Bool {
    changes.shared.allSatisfy { cluster in
      let owners = references.count(of: cluster)
      let others = snapshotReferences?.count(of: cluster) ?? 0
      return owners <= others || owners == others + 1 && changes.named.contains(cluster)
    }
  }

  /// A table that the active disk leaves is one that only snapshots use, and one that it takes back is not.
  private func updateSnapshotTables(_ table: HostOffset) {
    let cluster = image.geometry.cluster(of: table).value
    let times = snapshotReferences?.count(of: cluster) ?? 0
    let isOnly = times > 0 && references.count(of: cluster) == times
    let known = snapshotTables.only
    let place = known.firstIndex { $0.offset >= table.value } ?? known.count
    let isKnown = place < known.count && known[place].offset == table.value
    guard isOnly != isKnown else { return }
    if isOnly {
      let use = SnapshotTables.Use(times: times, isMachineState: false)
      snapshotTables.only.insert(
        SnapshotTables.Table(offset: table.value, use: use, signature: signature(of: table)), at: place)
    } else {
      snapshotTables.only.remove(at: place)
    }
  }

  /// The regions of the file that a table leads to.
  private func signature(of table: HostOffset) -> HostSignature {
    var signature = HostSignature()
    var ignored = StateCounts<GuestState>()
    var at: UInt64 = 0
    while at < image.geometry.clusterSize {
      let count = min(UInt64(TableReader.pieceSize), image.geometry.clusterSize - at)
      if let bytes = unsafe tables.bytes(at: table.value + at, count: Int(count)) {
        unsafe decoder.count(bytes, into: &ignored, signature: &signature, references: nil, times: 1)
      }
      at += count
    }
    return signature
  }

  /// Enters the tables that only snapshots use among the structures.
  private func nameSnapshotTables(_ structures: inout Structures) {
    guard snapshotReferences != nil else { return }
    structures.addSnapshotTables(
      snapshotTables.only.map { image.geometry.cluster(of: HostOffset($0.offset)).value })
  }

  private func updateStructures(_ changes: inout Changes) {
    var new = Structures(image)
    nameSnapshotTables(&new)
    let old = classifier.structures
    guard new != old else { return }
    let limit = GuestDecoder.mapLimit(fileClusters: fileClusters)
    for structure in old.found {
      for cluster in structure.range where cluster < limit { references.remove(cluster, .table) }
      changes.addHost(structure.range.lowerBound, structure.range.upperBound)
    }
    for structure in new.found {
      for cluster in structure.range where cluster < limit { references.add(cluster, .table) }
      changes.addHost(structure.range.lowerBound, structure.range.upperBound)
    }
    classifier.structures = new
  }

  /// Counts the touched leaves again; false if that would take too long.
  private func recount(_ changes: Changes) -> Bool {
    let perTable = UInt64(image.geometry.l2EntriesPerTable)
    let guestBits = UInt64(guest.clusterBits)
    var guestLeaves = Set(changes.guest.lazy.filter { $0 < self.guestClusters }.map { $0 >> guestBits })
    for index in changes.l1 where index < UInt64(image.l1Count) && index * perTable < guestClusters {
      let last = min((index + 1) * perTable, guestClusters) - 1
      for leaf in index * perTable >> guestBits...last >> guestBits { guestLeaves.insert(leaf) }
    }
    guard UInt64(guestLeaves.count) << guestBits <= Self.maximumRecount || guestLeaves.count <= 4 else {
      return false
    }
    for leaf in guestLeaves { recountGuest(leaf) }

    growHostMap()
    let hostBits = UInt64(host.clusterBits)
    var hostLeaves: Set<UInt64> = []
    for range in changes.host {
      let last = min(range.upperBound, host.capacity)
      guard range.lowerBound < last else { continue }
      for leaf in range.lowerBound >> hostBits...(last - 1) >> hostBits { hostLeaves.insert(leaf) }
    }
    guard UInt64(hostLeaves.count) << hostBits <= Self.maximumRecount || hostLeaves.count <= 4 else {
      return false
    }
    for leaf in hostLeaves.sorted() { recountHost(leaf) }
    // A conflict that came up, and the guest places that lead to it, are found by a new scan.
    return host.root[mark: .conflict] == 0
  }

  private func recountGuest(_ leaf: UInt64) {
    let bits = UInt64(guest.clusterBits)
    let perTable = UInt64(image.geometry.l2EntriesPerTable)
    var counts = StateCounts<GuestState>()
    var signature = HostSignature()
    var at = leaf << bits
    let end = min(at + 1 << bits, guestClusters)
    while at < end {
      let stop = min(end, (at / perTable + 1) * perTable)
      countEntries(at..<stop, into: &counts, signature: &signature, references: nil)
      at = stop
    }
    setGuestLeaf(Int(leaf), counts, signature)
  }

  private func recountHost(_ leaf: UInt64) {
    let bits = UInt64(host.clusterBits)
    var value = HostLeaf()
    let start = leaf << bits
    let end = min(start + 1 << bits, hostClusters)
    let fileClusters = fileClusters
    if start < end {
      _ = classifier.classify(start..<end) { first, count, facts in
        value.add(first, count, facts, fileClusters)
      }
    }
    setHostLeaf(Int(leaf), value)
  }

  /// Makes room for a file that grew.
  private func growHostMap() {
    guard host.capacity < hostClusters else { return }
    let old = host
    host = old.grown(toCover: hostClusters)
    freeRuns = FreeRunTree(leafBits: host.leafBits)
    refcountRanges = RefcountRangeTree(leafBits: host.leafBits)
    // The other trees do not add up from counts alone; a file that outgrows its map is rare.
    for leaf in 0..<UInt64(old.capacity >> UInt64(host.clusterBits)) { recountHost(leaf) }
  }
}
