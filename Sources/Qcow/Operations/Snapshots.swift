// Internal snapshots: a second L1 table over the same clusters. Taking one counts every cluster once
// more, so that writes copy; applying and deleting count down again.

import Glibc
import QcowFormat
import Storage

/// Takes, applies and deletes the internal snapshots of an image; throws as ``GuestWriter``.
struct InternalSnapshots {
  private let writer: GuestWriter

  /// Throws ``ImageError/Code/unsupported`` for an image that can have none.
  init(_ writer: GuestWriter) throws(ImageError) {
    self.writer = writer
    guard !writer.l2.hasExternalData else {
      throw ImageError(.unsupported, "an image with an external data file cannot have internal snapshots")
    }
  }

  private var allocator: Allocator { writer.allocator }
  private var tables: TableWriter { writer.tables }
  private var l2: L2Tables { writer.l2 }
  private var geometry: Geometry { writer.geometry }
  private var l1: [UInt64] { tables.l1 }
  private var snapshots: [SnapshotEntry] { tables.snapshots }

  /// Takes a snapshot of the disk as it is now.
  ///
  /// The new ID is one more than the highest number among the others. Names may repeat. If it cannot be taken,
  /// what was counted so far is counted back; with `leavesHalf` it stays counted and leaks, as the genuine tool
  /// has it.
  func create(
    name: String, seconds: UInt32, nanoseconds: UInt32, leavesHalf: Bool = false
  ) throws(ImageError) {
    let length = ByteCount(l1.count * 8)
    let table = length == 0 ? HostOffset(0) : try allocator.allocate(clusters(length))
    var counted = Counted()
    do throws(ImageError) {
      // The copy keeps the COPIED bits of before; nobody relies on them in a snapshot.
      try tables.copyL1(to: table)
      try walk(l1, at: tables.l1Place, .increase, &counted)
      if writer.rules.wrongOrders.contains(.keepCopied) { try leaveCopied() }
      try append(name, seconds, nanoseconds, table)
    } catch {
      // Anything else says that the tables themselves cannot be written.
      guard !leavesHalf, error.code == .refcountOverflow || error.code == .noSpace else { throw error }
      try takeBack(counted)
      if length > 0 { try allocator.free(table, length, .snapshot) }
      try writer.editor.flush()
      throw error
    }
  }

  /// Sets COPIED in the first entry that maps a cluster, as ``WrongOrder/keepCopied`` has it.
  private func leaveCopied() throws(ImageError) {
    for l1Index in l1.indices {
      guard let table = L1Entry(raw: l1[l1Index]).table else { continue }
      for index in 0..<geometry.l2EntriesPerTable {
        let guest = geometry.guestOffset(l1Index: l1Index, l2Index: index)
        let slice = try l2.slice(of: table, at: guest)
        var entry = l2.entry(slice, slice.index)
        guard !entry.isCompressed, geometry.hasHost(entry) else { continue }
        entry.descriptor |= L2Entry.copiedFlag
        l2.setEntry(slice, slice.index, entry, of: geometry.cluster(of: guest), .snapshot)
        return
      }
    }
  }

  private func append(
    _ name: String, _ seconds: UInt32, _ nanoseconds: UInt32, _ table: HostOffset
  ) throws(ImageError) {
    var list = snapshots
    list.append(
      SnapshotEntry(
        l1TableOffset: table.value, l1Size: UInt32(l1.count), id: nextSnapshotID, name: name,
        seconds: seconds,
        nanoseconds: nanoseconds, diskSize: geometry.virtualSize))
    try replaceSnapshotTable(by: list)
  }

  /// Makes the disk what it was when the snapshot was taken; what it is now is lost.
  ///
  /// `name` is an ID or, if none matches, a name. Bitmaps do not say what a jump back changes, so that there may
  /// be none; throws ``ImageError/Code/bitmaps`` if there is one.
  func apply(_ name: String) throws(ImageError) {
    if let reason = writer.bitmaps?.refusalOfJump { throw ImageError(.bitmaps, reason) }
    let snapshot = snapshots[try snapshotIndex(idOrName: name)]
    if let size = snapshot.diskSize, size != geometry.virtualSize {
      try DiskResize(writer).resize(to: ByteCount(size), .off)
    }
    try writer.editor.growL1(to: Int(snapshot.l1Size))
    var new = try tables.readL1(of: snapshot)
    new.append(contentsOf: repeatElement(0, count: max(0, l1.count - new.count)))
    // Counts rise before the table that needs them, and sink after the one that needed them is gone.
    try walk(snapshot, .increase)
    let old = l1
    // From here on every table has two users. The genuine tool says so at the very end: killed before, it leaves a disk
    // whose next writer changes the snapshot.
    try tables.overwriteL1(by: new.map { $0 & ~L1Entry.copiedFlag })
    try walk(old, at: nil, .decrease)
    tables.forgetOldTables()
    try walk(l1, at: tables.l1Place, .refresh)
  }

  /// Deletes the first snapshot of that name.
  func delete(name: String) throws(ImageError) {
    guard let index = snapshots.index(name: name) else {
      throw ImageError(.invalidRequest, "no snapshot is called '\(name)'")
    }
    let snapshot = snapshots[index]
    var list = snapshots
    list.remove(at: index)
    do throws(ImageError) { try replaceSnapshotTable(by: list) } catch {
      throw error.failing("Failed to remove snapshot from snapshot list")
    }
    // From here on an error leaks clusters and harms nothing.
    do throws(ImageError) {
      try walk(snapshot, .decrease)
      try allocator.free(
        HostOffset(snapshot.l1TableOffset), ByteCount(UInt64(snapshot.l1Size) * 8), .snapshot)
    } catch { throw error.failing("Failed to free the cluster and L1 table") }
    do throws(ImageError) { try walk(l1, at: tables.l1Place, .refresh) } catch {
      throw error.failing("Failed to update snapshot status in disk")
    }
  }

  private func snapshotIndex(idOrName name: String) throws(ImageError) -> Int {
    if let index = snapshots.index(idOrName: name) { return index }
    throw ImageError(.invalidRequest, "no snapshot has the ID or name '\(name)'")
  }

  private var nextSnapshotID: String {
    let highest = snapshots.compactMap { UInt64($0.id) }.max() ?? 0
    return String(highest &+ 1)
  }

  private func clusters(_ bytes: ByteCount) -> ClusterCount {
    ClusterCount(geometry.clustersCovering(bytes.value))
  }

  // MARK: Walking a table

  private typealias Walk = Allocator.Recount

  /// How far a walk came: so many entries of the L1 table with all they map, and so many of the next L2 table.
  private struct Counted {
    var tables = 0
    var entries = 0
  }

  /// Counts down what a walk over the active table has counted up before it was refused.
  private func takeBack(_ counted: Counted) throws(ImageError) {
    try allocator.discards.collecting { () throws(ImageError) in
      for index in l1.indices.prefix(counted.tables + 1) {
        guard let table = L1Entry(raw: l1[index]).table else { continue }
        let isWhole = index < counted.tables
        var left = Counted()
        try walkL2(
          table, l1Index: index, .decrease, upTo: isWhole ? geometry.l2EntriesPerTable : counted.entries,
          &left)
        if isWhole { try count(table, ByteCount(geometry.clusterSize), .decrease) }
      }
    }
    try walk(l1, at: tables.l1Place, .refresh)
  }

  private func walk(_ snapshot: SnapshotEntry, _ walk: Walk) throws(ImageError) {
    let place = HostOffset(snapshot.l1TableOffset)
    let table =
      place == tables.l1Place ? l1 : try tables.readL1(at: place, entries: Int(snapshot.l1Size))
    try self.walk(table, at: place, walk)
  }

  /// Counts every cluster of an L1 table up or down, or only sets the COPIED bits right, and writes the
  /// table back if it is still in use. `offset` is nil for a table that is no longer on disk.
  private func walk(_ before: [UInt64], at offset: HostOffset?, _ walk: Walk) throws(ImageError) {
    var counted = Counted()
    try self.walk(before, at: offset, walk, &counted)
  }

  private func walk(
    _ before: [UInt64], at offset: HostOffset?, _ walk: Walk, _ counted: inout Counted
  ) throws(ImageError) {
    var table = before
    try allocator.discards.collecting { () throws(ImageError) in
      for index in table.indices {
        counted = Counted(tables: index)
        guard let l2Table = L1Entry(raw: before[index]).table else { continue }
        guard geometry.isAligned(l2Table.value) else { throw L2Tables.unaligned(l2Table, index) }
        try walkL2(l2Table, l1Index: index, walk, upTo: geometry.l2EntriesPerTable, &counted)
        try count(l2Table, ByteCount(geometry.clusterSize), walk)
        counted = Counted(tables: index + 1)
        table[index] = L1Entry(table: l2Table, copied: try isOnly(l2Table)).raw
      }
      try writer.editor.flush()
    }
    guard table != before, walk != .decrease, let offset else { return }
    // A walk over a snapshot writes its own L1 table back.
    if offset == tables.l1Place {
      try tables.overwriteL1(by: table)
      tables.forgetOldTables()
    } else {
      try tables.overwriteInactiveL1(before, at: offset, by: table)
    }
  }

  /// A cluster has one user.
  private func isOnly(_ offset: HostOffset) throws(ImageError) -> Bool {
    try allocator.refcounts.count(of: geometry.cluster(of: offset)) == 1
  }

  /// The first `limit` entries of an L2 table; tells in `counted` how many of them are done.
  private func walkL2(
    _ table: HostOffset, l1Index: Int, _ walk: Walk, upTo limit: Int, _ counted: inout Counted
  ) throws(ImageError) {
    let isActive = l1.indices.contains(l1Index) && L1Entry(raw: l1[l1Index]).table == table
    let structure: Structure = isActive ? .l2Table : .inactiveL2Table
    var next = 0
    while next < limit {
      let index = next
      counted.entries = index
      let guest = geometry.guestOffset(l1Index: l1Index, l2Index: index)
      // Counting may push the slice out of the cache, so it is asked for again for every entry.
      let slice = try l2.slice(of: table, at: guest)
      next += try walkRow(slice, limit - index, geometry.cluster(of: guest), walk, structure)
      guard next == index else { continue }
      next += 1
      let old = l2.entry(slice, slice.index)
      var isOnly = false
      if old.isCompressed {
        if walk != .refresh {
          let extent = geometry.compressedExtent(of: old.descriptor)
          try count(extent.offset, ByteCount(extent.byteCount), walk)
        }
      } else if geometry.hasHost(old) {
        let host = HostOffset(old.offsetBits)
        guard geometry.isAligned(host.value) else {
          throw ImageError(
            .corrupt,
            "Cluster allocation offset \(hex(host.value)) unaligned (L2 offset: \(hex(table.value)), L2 index: \(hex(UInt64(index))))",
            at: .l2Table, index: UInt64(index), table)
        }
        try count(host, ByteCount(geometry.clusterSize), walk)
        isOnly = try self.isOnly(host)
      }
      var new = old
      new.descriptor = old.descriptor & ~L2Entry.copiedFlag | (isOnly ? L2Entry.copiedFlag : 0)
      guard new != old else { continue }
      if walk == .increase { try l2.cache.depend(on: allocator.refcounts.cache) }
      let again = try l2.slice(of: table, at: guest)
      l2.setEntry(
        again, again.index, new, of: geometry.cluster(of: guest), .snapshot, in: structure)
    }
    counted.entries = limit
  }

  /// The first entries of a slice that map clusters in a row, `limit` at most, as far as their counts change
  /// without ado; returns how many that are. Disks that were written in order consist of little else.
  private func walkRow(
    _ slice: L2Slice, _ limit: Int, _ guest: GuestCluster, _ walk: Walk, _ structure: Structure
  ) throws(ImageError) -> Int {
    let first = l2.entry(slice, slice.index)
    guard !first.isCompressed, geometry.hasHost(first), geometry.isAligned(first.offsetBits) else { return 0 }
    let most = min(limit, l2.sliceEntries - slice.index)
    var count = 1
    while count < most {
      let entry = l2.entry(slice, slice.index + count)
      guard !entry.isCompressed, geometry.hasHost(entry),
        entry.offsetBits == first.offsetBits &+ geometry.byteCount(ofClusters: UInt64(count))
      else { break }
      count += 1
    }
    // The row stays in memory: only counts are asked for until it is changed.
    if walk == .increase { try l2.cache.depend(on: allocator.refcounts.cache) }
    return try allocator.recount(
      geometry.cluster(of: HostOffset(first.offsetBits)), ClusterCount(UInt64(count)), walk, .snapshot
    ) { index, isOnly in
      let old = l2.entry(slice, slice.index + index)
      guard old.isCopied != isOnly else { return }
      var new = old
      new.descriptor = old.descriptor & ~L2Entry.copiedFlag | (isOnly ? L2Entry.copiedFlag : 0)
      l2.setEntry(
        slice, slice.index + index, new, of: guest + ClusterCount(UInt64(index)), .snapshot, in: structure)
    }
  }

  private func count(_ offset: HostOffset, _ length: ByteCount, _ walk: Walk) throws(ImageError) {
    guard walk != .refresh else { return }
    let increase = walk == .increase
    guard try allocator.update(offset, length, increase: increase, .snapshot, .snapshot) == .done else {
      throw ImageError(
        .corrupt, "host cluster at \(hex(offset.value)) is in use and has no refcount block",
        at: .refcountTable, offset)
    }
  }

  // MARK: The table of snapshots

  /// Writes a complete new snapshot table, lets the header name it, and frees the old one.
  private func replaceSnapshotTable(by list: [SnapshotEntry]) throws(ImageError) {
    guard list.count <= SnapshotEntry.maximumCount else {
      throw ImageError(.noSpace, "an image has at most 65536 snapshots")
    }
    var entries: [[UInt8]] = []
    var size: ByteCount = 0
    for entry in list {
      let bytes = try encode(entry)
      entries.append(bytes)
      size = SnapshotEntry.place(behind: size) + ByteCount(bytes.count)
    }
    guard size <= ByteCount(SnapshotEntry.maximumTableSize) else {
      throw ImageError(.noSpace, "the snapshot table cannot grow beyond 64 MiB")
    }
    let table = size == 0 ? HostOffset(0) : try allocator.allocate(clusters(size))
    try writer.editor.flush()
    try tables.writeSnapshotTable(entries, at: table)
    try writer.editor.flush()
    let old = try tables.installSnapshots(list, at: table)
    // The new table is in place. A damaged old one may lie where nothing is counted; what cannot be given back leaks.
    if old.size > 0 { allocator.release(old.offset, old.size, .snapshot) }
  }

  /// Writes the table anew, with all that entries of old images lack.
  func rewriteTable() throws(ImageError) { try replaceSnapshotTable(by: snapshots) }

  /// An entry that does not say how large the disk was is that of a disk of the size of now.
  private func encode(_ entry: SnapshotEntry) throws(ImageError) -> [UInt8] {
    var entry = entry
    if entry.diskSize == nil { entry.diskSize = geometry.virtualSize }
    if entry.icount == nil { entry.icount = .max }
    do throws(FormatError) { return try entry.encoded() } catch { throw ImageError(error) }
  }
}
