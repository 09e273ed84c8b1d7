// The one door to the bytes of an image that are not the guest's. What changes here changes in the file and
// in memory together, and the difference between before and after is what the stream of events is told.

import QcowFormat
import Storage

/// What cluster 0 of an image says.
struct HeaderCluster {
  var header: Header
  var extensions: HeaderExtensions
  var backingFileName: String?
}

/// The tables that are in memory whole, and the way to every byte of metadata in the file.
///
/// An entry or a field of the header that changes is told with what it was and what it is, once the file has
/// it. A table at a place that nothing names yet is written untold: it counts from the entry or the field on
/// that names it, and what is then different from before is told with that. Tables in caches are told when they
/// change in memory (``note(_:)``); writing them back says nothing new.
///
/// A repair works with one that has no overlap checks, on an image that nobody has open.
final class TableWriter {
  let storage: any Storage
  /// Somebody waits for ``reach(_:)``.
  let followsMoments: Bool
  private var first: HeaderCluster
  /// What follows from the header.
  private(set) var geometry: Geometry
  /// The active L1 table.
  private(set) var l1: [UInt64]
  private(set) var refcountTable: [UInt64]
  private var snapshotTable: SnapshotTable
  private var overlaps: OverlapGuard

  init(_ storage: any Storage, _ opened: OpenedTables, checks: OverlapChecks = []) {
    self.storage = storage
    followsMoments = storage.followsMoments
    first = HeaderCluster(
      header: opened.header, extensions: opened.extensions, backingFileName: opened.backingFileName)
    geometry = opened.header.geometry
    l1 = opened.l1
    refcountTable = opened.refcountTable
    snapshotTable = opened.snapshots
    overlaps = OverlapGuard(checks)
  }

  var header: Header { first.header }
  var snapshots: [SnapshotEntry] { snapshotTable.entries }
  var extensions: HeaderExtensions { first.extensions }
  var backingFileName: String? { first.backingFileName }

  /// Takes over what was read anew from the file.
  func adopt(_ opened: OpenedTables) {
    first = HeaderCluster(
      header: opened.header, extensions: opened.extensions, backingFileName: opened.backingFileName)
    geometry = opened.header.geometry
    l1 = opened.l1
    refcountTable = opened.refcountTable
    snapshotTable = opened.snapshots
    overlaps.forget()
  }

  /// Tells the stream of events of a change, if anybody listens.
  @inline(__always)
  func note(_ tag: @autoclosure () -> WriteTag) {
    if storage.isRecording { storage.note(tag()) }
  }

  /// Announces a moment that no write tells, if anybody waits for it.
  @inline(__always)
  func reach(_ moment: Moment) {
    if followsMoments { storage.reach(moment.rawValue) }
  }

  /// Throws if the range touches a table, the header, or the place of one; see ``OverlapGuard``.
  func guardWrite(
    _ offset: HostOffset, _ length: ByteCount, ignoring: OverlapChecks = []
  ) throws(ImageError) {
    try overlaps.check(offset, length, ignoring: ignoring, self)
  }

  /// Waits until the file's bytes are on the disk. Throws what the host says.
  func flush() throws(ImageError) {
    do throws(StorageError) { try storage.flush() } catch { throw ImageError(error) }
  }

  private func write(_ bytes: [UInt8], at offset: HostOffset, _ tag: WriteTag) throws(ImageError) {
    do throws(StorageError) { try storage.write(bytes, at: offset.value, tag: tag) } catch {
      throw ImageError(error)
    }
  }

  private static func bytes(_ words: some Collection<UInt64>) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(words.count * 8)
    for word in words { BigEndian.append(word, width: 8, to: &bytes) }
    return bytes
  }

  // MARK: Header

  /// Writes the whole of cluster 0 with what `change` makes of it; memory follows once the file has it.
  ///
  /// Throws ``ImageError/Code/format(_:)`` if it does not fit into the cluster, and what the host says.
  func rewriteHeader(
    _ reason: Reason = .writeBack, _ change: (inout HeaderCluster) -> Void = { _ in }
  ) throws(ImageError) {
    var new = first
    change(&new)
    let bytes: [UInt8]
    do throws(FormatError) {
      bytes = try new.header.encodeCluster(extensions: new.extensions, backingName: new.backingFileName)
    } catch {
      throw ImageError(error)
    }
    try writeHeader(bytes, at: 0, reason)
    adopt(header: new)
  }

  private func adopt(header new: HeaderCluster) {
    first = new
    geometry = new.header.geometry
  }

  /// Writes some bytes of cluster 0 and tells which fields and extensions differ.
  private func writeHeader(_ bytes: [UInt8], at offset: Int, _ reason: Reason) throws(ImageError) {
    let tag = WriteTag(.header, reason, index: UInt64(offset))
    guard storage.isRecording else { return try write(bytes, at: HostOffset(UInt64(offset)), tag) }
    let old: [UInt8]
    do throws(StorageError) {
      old = try storage.bytes(at: 0, count: max(Int(geometry.clusterSize), offset + bytes.count))
    } catch { throw ImageError(error) }
    try write(bytes, at: HostOffset(UInt64(offset)), tag)
    var new = old
    new.replaceSubrange(offset..<offset + bytes.count, with: bytes)
    for change in HeaderField.changes(from: old, to: new) {
      storage.note(
        WriteTag(.header, reason, index: change.field, before: change.before, after: change.after))
    }
  }

  /// Writes a few fields in place, tells with `note` what follows from that, and waits for the disk; memory
  /// follows then.
  private func patchHeader(
    _ fields: Range<Int>, _ reason: Reason, _ change: (inout Header) -> Void, note: () -> Void = {}
  ) throws(ImageError) {
    var new = first
    change(&new.header)
    try writeHeader(Array(new.header.encodedFields()[fields]), at: fields.lowerBound, reason)
    note()
    try flush()
    adopt(header: new)
  }

  /// Throws what the host says, as do the others that write a field.
  func setDiskSize(_ size: ByteCount) throws(ImageError) {
    try patchHeader(HeaderField.size, .resize) { $0.size = size.value }
  }

  func setIncompatible(_ features: IncompatibleFeatures, _ reason: Reason) throws(ImageError) {
    try patchHeader(HeaderField.incompatible, reason) { $0.incompatible = features }
  }

  func setAutoclear(_ features: AutoclearFeatures, _ reason: Reason) throws(ImageError) {
    try patchHeader(HeaderField.autoclear, reason) { $0.autoclear = features }
  }

  /// Lets the disk have another size for a while, in memory only.
  func withDiskSize<T>(_ size: ByteCount, _ body: () throws(ImageError) -> T) throws(ImageError) -> T {
    let before = first.header.size
    first.header.size = size.value
    geometry = first.header.geometry
    defer {
      first.header.size = before
      geometry = first.header.geometry
    }
    return try body()
  }

  // MARK: New tables

  /// Writes a table, or a part of one, to a place that nothing names yet; its clusters have been taken.
  /// Throws ``ImageError/Code/overlap`` if something is there that is in use, and what the host says.
  func writeNew(
    _ bytes: [UInt8], _ structure: Structure, _ reason: Reason, at offset: HostOffset,
    ignoring: OverlapChecks = []
  ) throws(ImageError) {
    try guardWrite(offset, ByteCount(bytes.count), ignoring: ignoring)
    try write(bytes, at: offset, WriteTag(structure, reason, table: offset.value))
  }

  /// Writes a part of a table that is copied to a place that nothing names yet. The caller has guarded it.
  func writeCopy(
    _ bytes: UnsafeRawBufferPointer, of structure: Structure, at offset: HostOffset
  ) throws(ImageError) {
    do throws(StorageError) {
      try unsafe storage.write(
        bytes, at: offset.value,
        tag: WriteTag(structure, .move, table: offset.value, index: UInt64(bytes.count)))
    } catch { throw ImageError(error) }
  }

  /// Gives bytes of a table back to the host: of a copy that nothing names yet, which are zeroes, or of a table
  /// that nothing names any more. Throws what the host says.
  func punch(
    _ structure: Structure, _ reason: Reason, at offset: HostOffset, _ length: ByteCount
  ) throws(ImageError) {
    do throws(StorageError) {
      try storage.punch(
        at: offset.value, count: length.value, tag: WriteTag(structure, reason, table: offset.value))
    } catch { throw ImageError(error) }
  }

  /// Writes a table of a cache back; its changes have been told. Throws ``ImageError/Code/overlap`` if the
  /// table is something else, and what the host says.
  func writeBack(
    _ bytes: UnsafeRawBufferPointer, of structure: Structure, at offset: HostOffset
  ) throws(ImageError) {
    try guardWrite(
      offset, ByteCount(bytes.count), ignoring: structure == .l2Table ? .activeL2 : .refcountBlock)
    do throws(StorageError) {
      try unsafe storage.write(
        bytes, at: offset.value, tag: WriteTag(structure, .writeBack, table: offset.value))
    } catch { throw ImageError(error) }
  }

  /// Writes a table of an image that is being made, before it has a header.
  static func make(
    _ bytes: [UInt8], _ structure: Structure, at offset: HostOffset, on storage: any Storage
  ) throws(StorageError) {
    let table = structure == .l2Table || structure == .refcountBlock ? offset.value : 0
    try storage.write(bytes, at: offset.value, tag: WriteTag(structure, .create, table: table))
  }

  // MARK: Entries

  /// Writes entries over those of a table in use, in one go, and tells those that differ.
  private func overwrite(
    _ structure: Structure, _ reason: Reason, table: HostOffset, first index: Int = 0,
    _ old: some Collection<UInt64>, by new: some Collection<UInt64>
  ) throws(ImageError) {
    try write(
      Self.bytes(new), at: table + ByteCount(index * 8),
      WriteTag(structure, reason, table: table.value, index: UInt64(index)))
    noteEntries(structure, reason, table: table, first: index, old, by: new)
  }

  /// Tells which entries of a table differ from those before; what one of both lacks is empty.
  private func noteEntries(
    _ structure: Structure, _ reason: Reason, table: HostOffset, first index: Int = 0,
    _ old: some Collection<UInt64>, by new: some Collection<UInt64>
  ) {
    guard storage.isRecording else { return }
    var (before, after) = (old.makeIterator(), new.makeIterator())
    for number in 0..<max(old.count, new.count) {
      let (was, now) = (before.next() ?? 0, after.next() ?? 0)
      guard was != now else { continue }
      storage.note(
        WriteTag(
          structure, reason, table: table.value, index: UInt64(index + number), before: (was, 0),
          after: (now, 0)))
    }
  }

  /// Writes one entry and tells it; memory follows.
  private func setEntry(
    _ structure: Structure, _ reason: Reason, table: HostOffset, index: Int, from old: UInt64, to new: UInt64
  ) throws(ImageError) {
    let tag = WriteTag(
      structure, reason, table: table.value, index: UInt64(index), before: (old, 0), after: (new, 0))
    try write(Self.bytes(CollectionOfOne(new)), at: table + ByteCount(index * 8), tag)
    note(tag)
  }

  // MARK: L1 tables

  var l1Place: HostOffset { HostOffset(first.header.l1TableOffset) }

  /// Writes an entry of the active L1 table; without `flushes` the caller waits for the disk.
  ///
  /// A table that nothing named before holds what the one of the old entry holds, or nothing.
  /// Throws ``ImageError/Code/overlap`` if the table lies on another one, and what the host says.
  func setL1Entry(_ index: Int, _ entry: L1Entry, flushes: Bool = true) throws(ImageError) {
    try guardWrite(l1Place + ByteCount(index * 8), 8, ignoring: .activeL1)
    try setEntry(.l1Table, .link, table: l1Place, index: index, from: l1[index], to: entry.raw)
    if flushes { try flush() }
    overlaps.replaceL2Table(L1Entry(raw: l1[index]), by: entry, geometry)
    l1[index] = entry.raw
  }

  /// Writes the active L1 table to clusters that have been taken for it and lets the header point there.
  /// New entries behind the old ones are empty. Throws as ``writeNew(_:_:_:at:ignoring:)``.
  ///
  /// - Returns: the old place and its clusters, which the caller frees.
  func moveL1(to offset: HostOffset, entries: Int) throws(ImageError) -> (
    offset: HostOffset, clusters: ClusterCount
  ) {
    let new = l1 + [UInt64](repeating: 0, count: max(0, entries - l1.count))
    try writeNew(Self.bytes(new), .l1Table, .newTable, at: offset)
    try flush()
    let clusters = geometry.clustersCovering(UInt64(first.header.l1Size) * 8)
    let old = (offset: l1Place, clusters: ClusterCount(clusters))
    try patchHeader(HeaderField.l1Table, .newTable) {
      $0.l1TableOffset = offset.value
      $0.l1Size = UInt32(new.count)
    }
    l1 = new
    return old
  }

  /// Empties the entries from `count` on; the table keeps its length. Throws what the host says.
  ///
  /// - Returns: the entries, whose tables the caller frees.
  func cutL1(to count: Int) throws(ImageError) -> [L1Entry] {
    let old = Array(l1[count...])
    let zeroes = [UInt64](repeating: 0, count: old.count)
    try overwrite(.l1Table, .unlink, table: l1Place, first: count, old, by: zeroes)
    try flush()
    for (index, entry) in old.enumerated() {
      overlaps.replaceL2Table(L1Entry(raw: entry), by: L1Entry(raw: 0), geometry)
      l1[count + index] = 0
    }
    return old.map(L1Entry.init(raw:))
  }

  /// Writes other entries into the active L1 table: those of a snapshot, or with other COPIED flags. Throws as
  /// ``setL1Entry(_:_:flushes:)``.
  ///
  /// What the old entries named is kept from harm until ``forgetOldTables()``.
  func overwriteL1(by new: [UInt64]) throws(ImageError) {
    guard !new.isEmpty else { return }
    try guardWrite(l1Place, ByteCount(new.count * 8), ignoring: [.activeL1, .inactiveL1])
    try overlaps.learn(self)
    try overwrite(.l1Table, .snapshot, table: l1Place, l1, by: new)
    try flush()
    l1 = new
  }

  /// The same for the L1 table of a snapshot.
  func overwriteInactiveL1(_ old: [UInt64], at table: HostOffset, by new: [UInt64]) throws(ImageError) {
    guard !new.isEmpty else { return }
    try guardWrite(table, ByteCount(new.count * 8), ignoring: [.activeL1, .inactiveL1])
    try overwrite(.inactiveL1Table, .snapshot, table: table, old, by: new)
    try flush()
  }

  /// Writes a copy of the active L1 table for a snapshot that does not exist yet, and waits for the disk.
  /// Throws as ``writeNew(_:_:_:at:ignoring:)``.
  func copyL1(to offset: HostOffset) throws(ImageError) {
    guard !l1.isEmpty else { return }
    try writeNew(Self.bytes(l1), .inactiveL1Table, .snapshot, at: offset)
    try flush()
  }

  /// From now on only what the tables name now is kept from harm.
  func forgetOldTables() { overlaps.forget() }

  /// The L1 table of a snapshot. Throws ``ImageError/Code/corrupt`` for an impossible place or size, and what
  /// the host says.
  func readL1(of snapshot: SnapshotEntry) throws(ImageError) -> [UInt64] {
    guard geometry.isAligned(snapshot.l1TableOffset), snapshot.l1Size <= L1Entry.maximumCount else {
      throw ImageError(
        .corrupt,
        "the L1 table of snapshot '\(snapshot.name)' at \(hex(snapshot.l1TableOffset)) is misaligned or too large",
        at: .inactiveL1Table, HostOffset(snapshot.l1TableOffset))
    }
    return try readL1(at: HostOffset(snapshot.l1TableOffset), entries: Int(snapshot.l1Size))
  }

  /// Answers through the L1 table of a snapshot from now on; for images that are only read. Throws as
  /// ``readL1(of:)``.
  func showL1(of snapshot: SnapshotEntry) throws(ImageError) { l1 = try readL1(of: snapshot) }

  /// Entries of an L1 table at a place that has been checked. Throws what the host says.
  func readL1(at offset: HostOffset, entries: Int) throws(ImageError) -> [UInt64] {
    let bytes: [UInt8]
    do throws(StorageError) { bytes = try storage.bytes(at: offset.value, count: entries * 8) } catch {
      throw ImageError(error)
    }
    return (0..<entries).map { BigEndian.u64(bytes, $0 * 8) }
  }

  // MARK: Refcount table

  var refcountTablePlace: HostOffset { HostOffset(first.header.refcountTableOffset) }

  /// Writes an entry of the refcount table; without `flushes` the caller waits for the disk. A block that
  /// nothing named before holds what the old one holds, or what was told of it. Throws what the host says.
  func setRefcountTableEntry(_ index: Int, _ block: HostOffset, flushes: Bool = true) throws(ImageError) {
    try setEntry(
      .refcountTable, .newTable, table: refcountTablePlace, index: index, from: refcountTable[index],
      to: block.value)
    if flushes { try flush() }
    overlaps.replaceRefcountBlock(
      RefcountTableEntry(raw: refcountTable[index]), by: RefcountTableEntry(raw: block.value), geometry)
    refcountTable[index] = block.value
  }

  /// Writes a refcount table, whole clusters of it, to clusters that have been taken for it and lets the header
  /// point there. Throws as ``writeNew(_:_:_:at:ignoring:)``.
  ///
  /// - Returns: the host bytes of the old table, which the caller frees.
  func installRefcountTable(
    _ table: [UInt64], at offset: HostOffset
  ) throws(ImageError) -> Range<HostOffset> {
    let bytes = Self.bytes(table)
    try writeNew(bytes, .refcountTable, .newTable, at: offset)
    try flush()
    let old = refcountTablePlace
    let oldSize = UInt64(first.header.refcountTableClusters) * geometry.clusterSize
    try patchHeader(HeaderField.refcountTable, .newTable) {
      $0.refcountTableOffset = offset.value
      $0.refcountTableClusters = UInt32(UInt64(bytes.count) / geometry.clusterSize)
    } note: {
      noteEntries(.refcountTable, .newTable, table: offset, refcountTable, by: table)
    }
    refcountTable = table
    overlaps.forget()
    return old..<old + oldSize
  }

  /// Writes a refcount table whose blocks have refcounts of 2^`order` bits, and the same counts as those before,
  /// to clusters that have been taken for it, and lets the header say so. Throws as
  /// ``writeNew(_:_:_:at:ignoring:)``.
  func replaceRefcounts(by table: [UInt64], at offset: HostOffset, order: Int) throws(ImageError) {
    let bytes = Self.bytes(table)
    try writeNew(bytes, .refcountTable, .newTable, at: offset)
    try flush()
    let clusters = UInt32(geometry.clustersCovering(UInt64(bytes.count)))
    try rewriteHeader(.newTable) {
      $0.header.refcountOrder = UInt32(order)
      $0.header.refcountTableClusters = clusters
      $0.header.refcountTableOffset = offset.value
    }
    noteEntries(.refcountTable, .newTable, table: offset, refcountTable, by: table)
    refcountTable = table
    overlaps.forget()
    try flush()
  }

  /// Takes blocks out of the table, in one write. Their clusters are still counted. Throws what the host says.
  func dropRefcountBlocks(_ indices: [Int]) throws(ImageError) {
    var table = refcountTable
    for index in indices { table[index] = 0 }
    try overwrite(.refcountTable, .unlink, table: refcountTablePlace, refcountTable, by: table)
    try flush()
    for index in indices {
      overlaps.replaceRefcountBlock(
        RefcountTableEntry(raw: refcountTable[index]), by: RefcountTableEntry(raw: 0), geometry)
    }
    refcountTable = table
  }

  // MARK: All tables

  /// Lets an image that maps nothing have its tables in a row: refcount table, one block, L1 table. Nothing that is
  /// in use lies there, and the block counts the header's cluster and these.
  ///
  /// Throws as ``writeNew(_:_:_:at:ignoring:)``. The header is written in one piece, so that either the old tables
  /// count or the new ones; what the old ones counted is free.
  func beginAnew(at first: HostCluster) throws(ImageError) {
    let l1Clusters = ClusterCount(geometry.clustersCovering(UInt64(l1.count) * 8))
    let (block, newL1) = (first + ClusterCount(1), first + ClusterCount(2))
    var table = [UInt64](repeating: 0, count: Int(geometry.tableEntriesPerCluster))
    table[0] = geometry.start(of: block).value
    let counts = counts(of: [HostCluster(0)..<HostCluster(1), first..<newL1 + l1Clusters])
    try writeNew(counts, .refcountBlock, .newTable, at: geometry.start(of: block))
    try writeNew(
      [UInt8](repeating: 0, count: Int(geometry.bytes(l1Clusters).value)), .l1Table, .newTable,
      at: geometry.start(of: newL1))
    try writeNew(Self.bytes(table), .refcountTable, .newTable, at: geometry.start(of: first))
    try flush()
    let before = storage.isRecording ? try countsBefore() : []
    try patchHeader(HeaderField.tables, .newTable) {
      $0.l1TableOffset = geometry.start(of: newL1).value
      $0.refcountTableOffset = geometry.start(of: first).value
      $0.refcountTableClusters = 1
    } note: {
      noteEntries(.refcountTable, .newTable, table: geometry.start(of: first), refcountTable, by: table)
      let none = [UInt8](repeating: 0, count: counts.count)
      for (index, old) in before {
        noteCounts(
          at: geometry.start(of: block), first: geometry.firstCluster(ofBlock: index), old,
          by: index == 0 ? counts : none)
      }
    }
    refcountTable = table
    overlaps.forget()
  }

  /// The first refcount block of an image that uses each cluster of these ranges once.
  private func counts(of ranges: [Range<HostCluster>]) -> [UInt8] {
    let codec = RefcountCodec(order: geometry.refcountOrder)
    var counts = [UInt8](repeating: 0, count: Int(geometry.clusterSize))
    unsafe counts.withUnsafeMutableBytes { bytes in
      for range in ranges {
        for cluster in range.lowerBound.value..<range.upperBound.value {
          unsafe codec.store(1, in: bytes, at: Int(cluster))
        }
      }
    }
    return counts
  }

  /// All refcount blocks as they are in the file, by their number.
  private func countsBefore() throws(ImageError) -> [(index: Int, bytes: [UInt8])] {
    var blocks: [(index: Int, bytes: [UInt8])] = []
    for (index, raw) in refcountTable.enumerated() {
      guard let block = RefcountTableEntry(raw: raw).block else { continue }
      do throws(StorageError) {
        blocks.append((index, try storage.bytes(at: block.value, count: Int(geometry.clusterSize))))
      } catch { throw ImageError(error) }
    }
    return blocks
  }

  // MARK: Refcount blocks

  /// Writes a refcount block in place and tells the counts that differ. Throws what the host says.
  func overwriteBlock(
    at offset: HostOffset, first cluster: HostCluster, _ old: [UInt8], by new: [UInt8]
  ) throws(ImageError) {
    try write(new, at: offset, WriteTag(.refcountBlock, .repair, table: offset.value))
    noteCounts(at: offset, first: cluster, old, by: new)
  }

  /// Tells the counts in which a block that is about to be named differs from what counts before.
  func noteCounts(at offset: HostOffset, first cluster: HostCluster, _ old: [UInt8], by new: [UInt8]) {
    guard storage.isRecording else { return }
    let codec = RefcountCodec(order: geometry.refcountOrder)
    unsafe old.withUnsafeBytes { old in
      unsafe new.withUnsafeBytes { new in
        for index in 0..<Int(geometry.refcountsPerBlock) {
          let (was, now) = unsafe (codec.value(in: old, at: index), codec.value(in: new, at: index))
          guard was != now else { continue }
          storage.note(
            WriteTag(
              .refcountBlock, now < was ? .release : .claim, table: offset.value,
              index: cluster.value + UInt64(index), before: (was, 0), after: (now, 0)))
        }
      }
    }
  }

  // MARK: COPIED flags

  /// Sets the COPIED flag of an L1 entry right, in a repair. Throws what the host says.
  func setCopied(l1 index: Int, _ new: L1Entry) throws(ImageError) {
    let reason: Reason = new.isCopied ? .release : .claim
    try setEntry(.l1Table, reason, table: l1Place, index: index, from: l1[index], to: new.raw)
    l1[index] = new.raw
  }

  /// The same for an entry of an L2 table, which no cache may hold.
  func setCopied(
    l2 table: HostOffset, _ index: Int, of guest: GuestCluster, from old: L2Entry, to new: L2Entry
  ) throws(ImageError) {
    try setEntry(
      l2: table, index, of: guest, from: old, to: new, new.isCopied ? .release : .claim, in: .l2Table)
  }

  /// Sets an entry of an L2 table right, in a repair; no cache may hold it. Throws ``ImageError/Code/overlap``
  /// if something else lies there, as far as this one looks, and what the host says.
  func setEntry(
    l2 table: HostOffset, _ index: Int, of guest: GuestCluster, from old: L2Entry, to new: L2Entry,
    _ reason: Reason, in structure: Structure
  ) throws(ImageError) {
    let tag = WriteTag(
      structure, reason, table: table.value, index: guest.value,
      before: (old.descriptor, old.bitmap.raw), after: (new.descriptor, new.bitmap.raw))
    let place = table + UInt64(index * geometry.l2EntrySize)
    let words = new.bitmap == old.bitmap ? [new.descriptor] : [new.descriptor, new.bitmap.raw]
    try guardWrite(
      place, ByteCount(words.count * 8), ignoring: structure == .l2Table ? .activeL2 : .inactiveL2)
    try write(Self.bytes(words), at: place, tag)
    note(tag)
  }

  // MARK: Encryption

  /// Writes over a part of the LUKS area: its header, or the key material of a slot. Throws
  /// ``ImageError/Code/overlap`` if something else lies there, and what the host says.
  func overwriteKeys(_ bytes: [UInt8], at offset: HostOffset) throws(ImageError) {
    try guardWrite(offset, ByteCount(bytes.count))
    try write(bytes, at: offset, WriteTag(.header, .writeBack, table: offset.value))
  }

  // MARK: Bitmaps

  /// Writes the directory of bitmaps over the one in use and tells the flags that differ. Throws
  /// ``ImageError/Code/overlap`` if something else lies there, and what the host says.
  func overwriteBitmapDirectory(
    _ entries: [BitmapDirectoryEntry], at offset: HostOffset, insteadOf old: [BitmapDirectoryEntry]
  ) throws(ImageError) {
    let bytes = entries.flatMap(\.encoded)
    try guardWrite(offset, ByteCount(bytes.count), ignoring: .bitmapDirectory)
    try write(bytes, at: offset, WriteTag(.bitmaps, .writeBack, table: offset.value))
    guard storage.isRecording else { return }
    for (index, (was, now)) in zip(old, entries).enumerated() where was.flags != now.flags {
      storage.note(
        WriteTag(
          .bitmaps, .writeBack, table: offset.value, index: UInt64(index), before: (UInt64(was.flags), 0),
          after: (UInt64(now.flags), 0)))
    }
  }

  // MARK: Snapshots

  /// Bytes of the snapshot table in the file.
  var snapshotTableSize: ByteCount { snapshotTable.size }

  /// Writes a complete new snapshot table to clusters that have been taken for it; the header does not name
  /// it yet. Throws as ``writeNew(_:_:_:at:ignoring:)``.
  func writeSnapshotTable(_ entries: [[UInt8]], at table: HostOffset) throws(ImageError) {
    var end: ByteCount = 0
    for bytes in entries { end = SnapshotEntry.place(behind: end) + ByteCount(bytes.count) }
    try guardWrite(table, end)
    var at: ByteCount = 0
    for bytes in entries {
      // The gaps between entries are not written.
      at = SnapshotEntry.place(behind: at)
      try write(bytes, at: table + at, WriteTag(.snapshotTable, .snapshot, table: table.value))
      at += ByteCount(bytes.count)
    }
  }

  /// Lets the header name a snapshot table that is on the disk; at 0 without entries. Throws what the host says.
  ///
  /// - Returns: place and bytes of the old table, which the caller frees.
  func installSnapshots(
    _ list: [SnapshotEntry], at table: HostOffset
  ) throws(ImageError) -> (offset: HostOffset, size: ByteCount) {
    let old = (offset: HostOffset(first.header.snapshotsOffset), size: snapshotTableSize)
    try patchHeader(HeaderField.snapshots, .snapshot) {
      $0.snapshotCount = UInt32(list.count)
      $0.snapshotsOffset = table.value
    } note: {
      noteSnapshots(list, at: table)
    }
    snapshotTable = SnapshotTable(entries: list, size: SnapshotEntry.tableSize(list))
    overlaps.forget()
    return old
  }

  private func noteSnapshots(_ list: [SnapshotEntry], at table: HostOffset) {
    guard storage.isRecording else { return }
    for index in 0..<max(list.count, snapshots.count) {
      let was = snapshots.indices.contains(index) ? snapshots[index].words : (0, 0)
      let now = list.indices.contains(index) ? list[index].words : (0, 0)
      guard was != now else { continue }
      storage.note(
        WriteTag(
          .snapshotTable, .snapshot, table: table.value, index: UInt64(index), before: was, after: now))
    }
  }
}

extension SnapshotEntry {
  /// An entry as the stream tells it: place and length of its L1 table.
  fileprivate var words: (UInt64, UInt64) { (l1TableOffset, UInt64(l1Size)) }

  /// Where the next entry begins in a snapshot table of so many bytes.
  static func place(behind end: ByteCount) -> ByteCount { ByteCount((end.value + 7) & ~7) }

  /// Bytes of a table of these entries.
  static func tableSize(_ entries: [SnapshotEntry]) -> ByteCount {
    var size: ByteCount = 0
    for entry in entries { size = place(behind: size) + ByteCount(entry.storedSize) }
    return size
  }
}
