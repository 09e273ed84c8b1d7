// What an operation did, told from its events: lines for the log, numbers for the dialogs, and the
// sets of places that changed for the marks on the maps and in the tables.

import Qcow
package import QcowFormat
package import Storage

/// The story of one operation, done or taken back.
package struct Narration: Sendable {
  /// Numbers of an operation.
  package struct Numbers: Equatable, Sendable {
    /// Bytes of the guest that were written.
    package var guestBytes: UInt64 = 0
    /// All bytes written: guest data, copied bytes and tables.
    package var hostBytes: UInt64 = 0
    /// Bytes of tables that were written.
    package var metadataBytes: UInt64 = 0
    /// Bytes around the guest's data that a new cluster needed.
    package var copiedBytes: UInt64 = 0
    /// Bytes of new clusters that the host was told to make zeroes, before the guest's data came into them.
    package var zeroedBytes: UInt64 = 0
    /// Clusters whose refcount became more than 0, and became 0.
    package var clustersTaken: UInt64 = 0
    /// Host clusters given back.
    package var clustersFreed: UInt64 = 0
    /// Refcounts that changed.
    package var refcountsChanged: UInt64 = 0
    /// L2 entries that changed.
    package var l2EntriesChanged: UInt64 = 0
    /// New L2 tables.
    package var tablesAdded: UInt64 = 0
    /// Bytes given back to the host or made to read as zeroes in the file.
    package var bytesPunched: UInt64 = 0
    /// How many of these the host keeps until then, as its map of holes says; nil if it does not tell, and where
    /// nobody asked.
    package var bytesGivenBack: UInt64?
    /// Bytes of the file before.
    package var lengthBefore: UInt64 = 0
    /// Bytes of the file afterwards.
    package var lengthAfter: UInt64 = 0
  }

  /// Numbers one by one, as ranges of those that come in a row.
  private struct RangeList {
    var ranges: [Range<UInt64>] = []
    mutating func add(_ number: UInt64) {
      if let last = ranges.last, last.upperBound == number {
        ranges[ranges.count - 1] = last.lowerBound..<number &+ 1
      } else {
        ranges.append(number..<number &+ 1)
      }
    }
  }

  /// A value before and after.
  struct Change<Value: Equatable & Sendable>: Sendable {
    var before: Value
    var after: Value
    var isChange: Bool { before != after }
  }

  /// What was asked for.
  package let title: String
  /// The operation was taken back.
  package let undone: Bool
  /// "L2[80] -> 0xa0000, new cluster", "refcount[10] 0 -> 1", "file +66K": runs, in a fixed order.
  package private(set) var lines: [String] = []
  /// Those of them that are about other files, and names.
  package private(set) var besides: [String] = []
  /// What was counted on the way.
  package private(set) var numbers = Numbers()
  /// Guest clusters whose entries changed, as sorted ranges.
  package private(set) var guestClusters: [Range<UInt64>] = []
  /// Host clusters whose refcount, owner or bytes changed, as sorted ranges.
  package private(set) var hostClusters: [Range<UInt64>] = []
  /// L1 entries that changed, sorted.
  package private(set) var l1Entries: [Int] = []

  private(set) var entries = ChangeList<L2Entry>()
  private(set) var refcounts = ChangeList<UInt64>()
  private(set) var tables: [UInt64: Change<UInt64>] = [:]
  private(set) var blocks: [UInt64: Change<UInt64>] = [:]
  /// Bytes that were copied into a host cluster around what the guest wrote.
  private(set) var copies: [UInt64: UInt64] = [:]
  /// The shift of the pin, 0 without one, as the header says.
  private(set) var pinShift: Change<UInt64>?
  /// Bytes of the disk, and how many snapshots there are, as the header says.
  private(set) var diskSize: Change<UInt64>?
  private(set) var snapshots: Change<UInt64>?
  /// Whether the autoclear bit vouches for the pin.
  private(set) var pinBit: Change<Bool>?
  /// Whether the header says that clusters are being moved.
  private(set) var moving: Change<UInt64>?
  let geometry: Geometry

  /// More lines than this are summed up in one.
  static let maximumLines = 200

  /// Tells `operation`; `undone` tells it backwards.
  package init(_ operation: StorageOperation, geometry: Geometry, undone: Bool = false) {
    self.init(operation, geometry, undone: undone)
    var touched: [Range<UInt64>] = []
    for event in undone ? operation.events.reversed() : operation.events { take(event, &touched) }
    finish(touched)
  }

  /// Tells what an operation did to the image file and to its external data file, either of which it may
  /// have left alone; nil if `stops`, which is asked now and then, says so.
  package init?(
    _ operation: StorageOperation?, data: StorageOperation?, title: String, length: UInt64,
    geometry: Geometry, unless stops: () -> Bool
  ) {
    self.init(title: title, operation?.lengthBefore ?? length, operation?.lengthAfter ?? length, geometry)
    var touched: [Range<UInt64>] = []
    for (index, event) in (operation?.events ?? []).enumerated() {
      if index % 256 == 0 && stops() { return nil }
      take(event, &touched)
    }
    for (index, event) in (data?.events ?? []).enumerated() {
      if index % 256 == 0 && stops() { return nil }
      // Its clusters are none of the image file's.
      countBytes(event)
    }
    if stops() { return nil }
    finish(touched)
    if stops() { return nil }
  }

  private init(_ operation: StorageOperation, _ geometry: Geometry, undone: Bool) {
    let before = operation.lengthBefore ?? 0
    let after = operation.lengthAfter ?? before
    self.init(
      title: operation.title, undone ? after : before, undone ? before : after, geometry, undone: undone)
  }

  private init(title: String, _ before: UInt64, _ after: UInt64, _ geometry: Geometry, undone: Bool = false) {
    self.title = title
    self.undone = undone
    self.geometry = geometry
    (numbers.lengthBefore, numbers.lengthAfter) = (before, after)
  }

  private mutating func finish(_ touched: [Range<UInt64>]) {
    entries.finish()
    refcounts.finish()
    tables = tables.filter(\.value.isChange)
    blocks = blocks.filter(\.value.isChange)
    count()
    collectPlaces(touched)
    let told = tell()
    lines = Array(told.prefix(Self.maximumLines))
    if told.count > lines.count { lines.append("and \(told.count - lines.count) more changes") }
  }

  /// Says how many of the bytes that are given back the host keeps; nil if it does not tell.
  package mutating func set(givenBack bytes: UInt64?) { numbers.bytesGivenBack = bytes }

  /// The ranges of a file that events give back to the host, in order and without overlaps: those that
  /// ``Numbers/bytesPunched`` counts.
  package static func returned(by events: [StorageEvent]) -> [Range<UInt64>] {
    merged(
      events.filter { $0.kind == .punch || $0.kind == .zero && $0.tag.why != .copyOnWrite }.map {
        $0.offset..<$0.offset &+ $0.count
      })
  }

  /// A line behind all others, about something besides the image's clusters.
  package mutating func append(_ line: String) {
    lines.append(line)
    besides.append(line)
  }

  private mutating func take(_ event: StorageEvent, _ touched: inout [Range<UInt64>]) {
    let tag = event.tag
    let old = undone ? tag.after : tag.before
    let new = undone ? tag.before : tag.after
    guard event.kind == .note else {
      countBytes(event)
      let bits = UInt64(geometry.clusterBits)
      if event.kind != .flush, event.count > 0 {
        touched.append(event.offset >> bits..<geometry.clustersCovering(event.offset &+ event.count))
      }
      return
    }
    switch tag.target {
    case .l2Table:
      let before = L2Entry(descriptor: old.0, bitmap: SubclusterBitmap(raw: old.1))
      let after = L2Entry(descriptor: new.0, bitmap: SubclusterBitmap(raw: new.1))
      entries.add(tag.index, before, after)
    case .refcountBlock: refcounts.add(tag.index, old.0, new.0)
    case .l1Table: tables[tag.index, default: Change(before: old.0, after: new.0)].after = new.0
    case .refcountTable: blocks[tag.index, default: Change(before: old.0, after: new.0)].after = new.0
    case .header: takeHeader(tag, old, new)
    case .none, .data, .compressedData, .snapshotTable, .file, .inactiveL1Table, .inactiveL2Table, .bitmaps:
      break
    }
  }

  private mutating func takeHeader(_ tag: WriteTag, _ old: (UInt64, UInt64), _ new: (UInt64, UInt64)) {
    switch (tag.why, tag.index) {
    case (.pin, HeaderField.pin): pinShift = Change(before: pinShift?.before ?? old.0, after: new.0)
    case (.pin, HeaderField.autoclearFeatures):
      func isPinned(_ bits: UInt64) -> Bool { AutoclearFeatures(rawValue: bits).contains(.pinned) }
      pinBit = Change(before: pinBit?.before ?? isPinned(old.0), after: isPinned(new.0))
    case (.resize, HeaderField.diskSize): diskSize = Change(before: diskSize?.before ?? old.0, after: new.0)
    case (.snapshot, HeaderField.snapshotCount):
      snapshots = Change(before: snapshots?.before ?? old.0, after: new.0)
    case (.move, HeaderField.relocation): moving = Change(before: moving?.before ?? old.1, after: new.1)
    default: break
    }
  }

  private mutating func countBytes(_ event: StorageEvent) {
    switch event.kind {
    case .write:
      numbers.hostBytes += event.count
      switch event.tag.written {
      case .copy:
        numbers.copiedBytes += event.count
        copies[event.offset >> UInt64(geometry.clusterBits), default: 0] += event.count
      case .guest: numbers.guestBytes += event.count
      case .table: numbers.metadataBytes += event.count
      }
    case .zero where event.tag.why == .copyOnWrite: numbers.zeroedBytes += event.count
    case .zero, .punch: numbers.bytesPunched += event.count
    case .truncate, .flush, .note: break
    }
  }

  private mutating func count() {
    for change in refcounts {
      if change.before == 0 { numbers.clustersTaken += 1 }
      if change.after == 0 { numbers.clustersFreed += 1 }
    }
    numbers.refcountsChanged = UInt64(refcounts.count)
    numbers.l2EntriesChanged = UInt64(entries.count)
    for change in tables.values {
      if L1Entry(raw: change.before).table == nil, L1Entry(raw: change.after).table != nil {
        numbers.tablesAdded += 1
      }
    }
  }

  private mutating func collectPlaces(_ touched: [Range<UInt64>]) {
    var guest = RangeList()
    for change in entries { guest.add(change.key) }
    guestClusters = Self.merged(guest.ranges)
    l1Entries = tables.keys.map { Int(clamping: $0) }.sorted()
    var host = RangeList()
    for change in refcounts { host.add(change.key) }
    // Entries of an image with an external data file point into that.
    if !geometry.hasExternalData {
      var (old, new) = (RangeList(), RangeList())
      for change in entries {
        if let cluster = cluster(of: change.before) { old.add(cluster) }
        if let cluster = cluster(of: change.after) { new.add(cluster) }
      }
      host.ranges += old.ranges + new.ranges
    }
    hostClusters = Self.merged(touched + host.ranges)
  }

  static func merged(_ ranges: [Range<UInt64>]) -> [Range<UInt64>] {
    var result: [Range<UInt64>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) where !range.isEmpty {
      if let last = result.last, last.upperBound >= range.lowerBound {
        result[result.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        result.append(range)
      }
    }
    return result
  }

  /// The host cluster of a standard entry.
  func cluster(of entry: L2Entry) -> UInt64? {
    guard !entry.isCompressed, geometry.hasHost(entry) else { return nil }
    return entry.offsetBits >> UInt64(geometry.clusterBits)
  }

  // MARK: Marks

  private static func contains(_ ranges: [Range<UInt64>], _ value: UInt64) -> Bool {
    overlaps(ranges, value..<value + 1)
  }

  private static func overlaps(_ ranges: [Range<UInt64>], _ wanted: Range<UInt64>) -> Bool {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound > wanted.lowerBound { high = middle } else { low = middle + 1 }
    }
    return low < ranges.count && ranges[low].lowerBound < wanted.upperBound
  }

  /// The entry of a guest cluster changed.
  package func changed(guest cluster: UInt64) -> Bool {
    cluster < .max && Self.contains(guestClusters, cluster)
  }
  /// The entry of any of these guest clusters changed; for cells of a map.
  package func changed(guest clusters: Range<UInt64>) -> Bool { Self.overlaps(guestClusters, clusters) }
  /// Refcount, owner or bytes of a host cluster changed.
  package func changed(host cluster: UInt64) -> Bool {
    cluster < .max && Self.contains(hostClusters, cluster)
  }
  /// Whether one of the host clusters was written or changed its use.
  package func changed(host clusters: Range<UInt64>) -> Bool { Self.overlaps(hostClusters, clusters) }
  /// Whether the L2 table of an L1 entry was changed.
  package func changed(l1 index: Int) -> Bool { tables[UInt64(clamping: index)] != nil }
  /// What the entry of a guest cluster was before, if it changed.
  package func entryBefore(_ cluster: UInt64) -> L2Entry? { entries.before(cluster) }
  /// What the refcount of a host cluster was before, if it changed.
  package func refcountBefore(_ cluster: UInt64) -> UInt64? { refcounts.before(cluster) }
}
