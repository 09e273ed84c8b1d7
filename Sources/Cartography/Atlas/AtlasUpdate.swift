// Following single operations: owners change by the events of an operation, and the leaves that it
// touched are counted again from the image. What cannot be followed starts the scan again.

import QcowFormat
import Qcow
import Storage

/// One operation on its way into a survey.
struct AtlasUpdate {
  /// More clusters than this are not counted again at once; a new scan does it in steps.
  private static let maximumRecount: UInt64 = 1 << 22
  /// Nor are more events than this followed one by one.
  private static let maximumEvents = 1 << 16

  private let survey: Survey
  private let image: Image
  private let undone: Bool

  // Places to count again.
  private var guest: Set<UInt64> = []
  private var l1: Set<UInt64> = []
  private var host: [Range<UInt64>] = []
  private var structures = false
  /// All of the disk must be counted again.
  private var isNewDisk = false
  /// L2 tables that the active disk began or ceased to use.
  private var tables: Set<HostOffset> = []
  /// L2 tables of which entries changed.
  private var touched: Set<HostOffset> = []
  /// Whole tables came or went, so that owners are not counted by single entries.
  private var isShift = false
  /// Clusters of data whose count rose above 1 or sank to it, and those that an entry began to name.
  private var shared: Set<UInt64> = []
  private var named: Set<UInt64> = []

  /// Leaves are counted again later, by ``Survey/countBacklog(until:)``.
  private let defers: Bool

  /// Follows an operation that was done, or taken back, on the image's overlay. With `defers` what it touched is only
  /// noted, to be counted in slices.
  ///
  /// - Returns: false if the change was too deep; then the survey is worth nothing any more.
  static func follow(
    _ operation: StorageOperation, undone: Bool, defers: Bool = false, in survey: Survey
  ) -> Bool {
    guard !survey.isPartial, !survey.references.needsRescan, survey.conflicts.isEmpty,
      defers || operation.events.count <= maximumEvents
    else { return false }
    var update = AtlasUpdate(survey, undone: undone, defers: defers)
    return update.follow(operation)
  }

  private init(_ survey: Survey, undone: Bool, defers: Bool) {
    self.survey = survey
    self.defers = defers
    self.undone = undone
    image = survey.image
  }

  private var references: ReferenceCounts { survey.references }
  private var geometry: Geometry { image.geometry }

  private mutating func follow(_ operation: StorageOperation) -> Bool {
    let before = survey.sources
    let now = SurveySources(image)
    let clustersBefore = before.geometry.clustersCovering(before.fileLength)
    let clustersAfter = geometry.clustersCovering(now.fileLength)
    // Owners of clusters behind the end change their meaning with the end.
    guard
      before.fileLength == now.fileLength || references.end <= clustersBefore
        || !references.hasOwners(in: clustersBefore..<references.end)
    else { return false }
    let isUncounted = survey.host.counts.root[mark: .uncounted] > 0
    let wasStale = survey.classifier.isStale

    isShift =
      now.geometry != before.geometry || now.l1Count != before.l1Count || now.snapshots != before.snapshots
      || operation.events.contains(where: movesTables)
    for event in undone ? operation.events.reversed() : operation.events { collect(event) }
    if isShift {
      guard shift(operation, to: now) else { return false }
    } else {
      survey.follow(now)
      for table in tables { updateSnapshotTables(table) }
      if structures {
        updateStructures(clustersBefore)
      } else if !tables.isEmpty {
        nameSnapshotTables(&survey.classifier.structures)
      }
    }
    // Which clusters are only not counted is a matter of all of them.
    guard !isUncounted || survey.classifier.isStale == wasStale else { return false }
    guard !references.needsRescan, !references.isIncomplete, isSharingKnown else { return false }
    if clustersAfter < clustersBefore {
      if references.hasOwners(in: clustersAfter..<clustersBefore) { return false }
      references.cut(to: clustersAfter)
    }
    if before.fileLength != now.fileLength {
      addHost(min(clustersBefore, clustersAfter).advanced(by: -1), max(clustersBefore, clustersAfter))
    }
    return recount()
  }

  /// Brings whole tables from what they were to what they are.
  private mutating func shift(_ operation: StorageOperation, to now: SurveySources) -> Bool {
    let clustersBefore = survey.sources.geometry.clustersCovering(survey.sources.fileLength)
    isNewDisk = now.geometry != survey.sources.geometry
    guard var shift = TableShift(survey, to: now, operation, undone: undone, touched: touched),
      shift.removeOwners()
    else { return false }
    survey.follow(now)
    if survey.classifier.isStale { return false }
    survey.snapshotTables = shift.snapshotTables
    updateStructures(clustersBefore)
    guard shift.addOwners(noting: shared) else { return false }
    l1.formUnion(shift.l1)
    named.formUnion(shift.named)
    for leaf in shift.host { addHost(leaf << survey.host.leafBits, (leaf + 1) << survey.host.leafBits) }
    return true
  }

  /// The event begins or ends the use of a table whose entries are not told one by one.
  private func movesTables(_ event: StorageEvent) -> Bool {
    guard case .note = event.kind, event.tag.target == .l1Table else { return false }
    let old = L1Entry(raw: event.tag.before.0).table
    let new = L1Entry(raw: event.tag.after.0).table
    // A snapshot's table comes with its entries, and one that goes takes them along.
    return event.tag.why == .snapshot && old != new || old != nil && new == nil
  }

  private mutating func addHost(_ first: UInt64, _ end: UInt64) {
    guard first < end else { return }
    if let last = host.last, last.upperBound >= first, last.lowerBound <= first {
      host[host.count - 1] = last.lowerBound..<max(last.upperBound, end)
    } else {
      host.append(first..<end)
    }
  }

  /// Takes one event in.
  private mutating func collect(_ event: StorageEvent) {
    let tag = event.tag
    let before = undone ? tag.after : tag.before
    let after = undone ? tag.before : tag.after
    guard event.kind == .note else {
      if event.kind != .flush {
        let end = max(event.offset &+ event.count, max(event.lengthBefore, event.lengthAfter))
        let last = event.kind == .truncate ? end : event.offset &+ event.count
        addHost(geometry.cluster(of: HostOffset(event.offset)).value, geometry.clustersCovering(last))
      }
      switch tag.target {
      case .header, .snapshotTable: structures = true
      case .l1Table where tag.why == .newTable: structures = true
      case .refcountTable, .bitmaps: structures = true
      default: break
      }
      return
    }
    switch tag.target {
    case .l2Table:
      if !isShift {
        refer(before.0, isAdded: false)
        refer(after.0, isAdded: true)
      }
      touched.insert(HostOffset(tag.table))
      guest.insert(tag.index)
    case .l1Table:
      let old = L1Entry(raw: before.0).table
      let new = L1Entry(raw: after.0).table
      guard !isShift, old != new else { break }
      if let old { referTable(old, isAdded: false) }
      if let new { referTable(new, isAdded: true) }
      if old == nil || new == nil { l1.insert(tag.index) }
    case .refcountBlock:
      addHost(tag.index, tag.index + 1)
      if (before.0 > 1) != (after.0 > 1), references.kind(of: tag.index) == .data {
        shared.insert(tag.index)
      }
    case .inactiveL2Table:
      touched.insert(HostOffset(tag.table))
      structures = true
    case .refcountTable, .header, .snapshotTable, .inactiveL1Table, .bitmaps:
      structures = true
    case .none, .data, .compressedData, .file:
      break
    }
  }

  private mutating func referTable(_ table: HostOffset, isAdded: Bool) {
    guard geometry.isAligned(table.value) else { return }
    let cluster = geometry.cluster(of: table).value
    tables.insert(table)
    if isAdded { references.add(cluster, .table) } else { references.remove(cluster, .table) }
    addHost(cluster, cluster + 1)
  }

  private mutating func refer(_ descriptor: UInt64, isAdded: Bool) {
    switch survey.entries.decoder.decoder.reference(of: descriptor) {
    case .none: break
    case .cluster(let cluster): change(cluster, .data, isAdded)
    case .compressed(let clusters): for cluster in clusters { change(cluster, .compressed, isAdded) }
    }
  }

  private mutating func change(_ cluster: UInt64, _ kind: ReferenceKind, _ isAdded: Bool) {
    // As in the scan, what lies far behind the end is not counted.
    let length = max(survey.sources.fileLength, image.storage.length)
    guard cluster < GuestDecoder.mapLimit(fileClusters: geometry.clustersCovering(length)) else { return }
    if isAdded { references.add(cluster, kind) } else { references.remove(cluster, kind) }
    if isAdded { named.insert(cluster) }
    addHost(cluster, cluster + 1)
  }

  // MARK: Snapshots

  /// Whether an entry that is not COPIED shares its cluster follows from the refcount alone, so the guest
  /// cluster that maps a cluster whose count changed must be among those that are counted again: nobody maps
  /// it any more but snapshots, or the one entry that does has changed.
  private var isSharingKnown: Bool {
    shared.allSatisfy { cluster in
      let owners = references.count(of: cluster)
      let others = survey.snapshotReferences?.count(of: cluster) ?? 0
      return owners <= others || owners == others + 1 && named.contains(cluster)
    }
  }

  /// A table that the active disk leaves is one that only snapshots use, and one that it takes back is not.
  private func updateSnapshotTables(_ table: HostOffset) {
    let cluster = geometry.cluster(of: table).value
    let times = survey.snapshotReferences?.count(of: cluster) ?? 0
    let isOnly = times > 0 && references.count(of: cluster) == times
    let known = survey.snapshotTables
    let place = known.firstIndex { $0.offset >= table } ?? known.count
    let isKnown = place < known.count && known[place].offset == table
    guard isOnly != isKnown else { return }
    if isOnly {
      let signature = survey.entries.count(table: table, from: survey.entries.tables)
      survey.snapshotTables.insert(
        SnapshotTable(offset: table, times: times, isMachineState: false, signature: signature), at: place)
    } else {
      survey.snapshotTables.remove(at: place)
    }
  }

  /// Enters the tables that only snapshots use among the structures.
  private func nameSnapshotTables(_ structures: inout Structures) {
    guard survey.snapshotReferences != nil else { return }
    structures.addSnapshotTables(survey.snapshotTables.map { geometry.cluster(of: $0.offset).value })
  }

  private mutating func updateStructures(_ clustersBefore: UInt64) {
    var new = Structures(image)
    nameSnapshotTables(&new)
    let old = survey.classifier.structures
    guard new != old else { return }
    let oldLimit = GuestDecoder.mapLimit(fileClusters: clustersBefore)
    for structure in old.found {
      for cluster in structure.range where cluster < oldLimit { references.remove(cluster, .table) }
      addHost(structure.range.lowerBound, structure.range.upperBound)
    }
    let limit = GuestDecoder.mapLimit(fileClusters: survey.fileClusters)
    for structure in new.found {
      for cluster in structure.range where cluster < limit { references.add(cluster, .table) }
      addHost(structure.range.lowerBound, structure.range.upperBound)
    }
    survey.classifier.structures = new
  }

  // MARK: Leaves

  /// Counts the touched leaves again; false if that would take too long.
  private func recount() -> Bool {
    let perTable = UInt64(geometry.l2EntriesPerTable)
    let sheet = survey.guest
    var guestLeaves = Set(guest.lazy.filter { $0 < sheet.clusters }.map { $0 >> sheet.leafBits })
    for index in l1 where index < UInt64(image.l1Count) && index * perTable < sheet.clusters {
      let last = min((index + 1) * perTable, sheet.clusters) - 1
      for leaf in index * perTable >> sheet.leafBits...last >> sheet.leafBits { guestLeaves.insert(leaf) }
    }
    if isNewDisk {
      // Most of a disk may have no tables, which costs nothing.
      let tables = (0..<image.l1Count).reduce(0) { $0 + (image.l1Entry($1).table == nil ? 0 : 1) }
      guard UInt64(tables) * perTable <= Self.maximumRecount else { return false }
      guestLeaves = Set(0..<UInt64(sheet.counts.leafCount))
    } else if !defers, UInt64(guestLeaves.count) << sheet.leafBits > Self.maximumRecount,
      guestLeaves.count > 4
    {
      return false
    }
    if defers {
      survey.backlog.guest.formUnion(guestLeaves)
    } else {
      for leaf in guestLeaves { survey.recountGuest(leaf) }
    }

    survey.growHost()
    let leafBits = survey.host.leafBits
    var hostLeaves: Set<UInt64> = []
    for range in host {
      let last = min(range.upperBound, survey.host.counts.capacity)
      guard range.lowerBound < last else { continue }
      for leaf in range.lowerBound >> leafBits...(last - 1) >> leafBits { hostLeaves.insert(leaf) }
    }
    if defers {
      survey.backlog.host.formUnion(hostLeaves)
      return true
    }
    guard UInt64(hostLeaves.count) << leafBits <= Self.maximumRecount || hostLeaves.count <= 4 else {
      return false
    }
    for leaf in hostLeaves.sorted() { survey.recountHost(leaf) }
    // A conflict that came up, and the guest places that lead to it, are found by a new scan.
    return survey.host.counts.root[mark: .conflict] == 0
  }
}
