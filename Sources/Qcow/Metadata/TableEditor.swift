// Tables that a write needs: the L2 table of a guest offset, allocated or copied so that it may be
// changed in place, and a larger L1 table; and what the header must say before they change.

import Glibc
import QcowFormat
import Storage

/// Makes tables ready to be changed. What it throws, unless a method says more: as ``Allocator/allocate(_:)``
/// and ``L2Tables/slice(of:at:)``.
final class TableEditor {
  let tables: TableWriter
  let l2: L2Tables
  let allocator: Allocator
  private let rules: MappingRules
  private let options: Image.Options
  /// Requests of the guest that changed something, and how many had when a flush was through. What a request flushes
  /// itself it flushes before its end.
  private var endedRequests = 0
  private var flushedRequests = 0
  private let streams: StreamReader

  init(
    _ l2: L2Tables, _ allocator: Allocator, _ rules: MappingRules, _ options: Image.Options,
    _ streams: StreamReader
  ) {
    tables = l2.tables
    self.l2 = l2
    self.allocator = allocator
    self.rules = rules
    self.options = options
    self.streams = streams
  }

  private var geometry: Geometry { tables.geometry }

  // MARK: What the header says first

  /// Refcounts on disk may be too low, and the header says so.
  var isDirty: Bool { tables.header.incompatible.contains(.dirty) }

  /// With lazy refcounts, says in the header that refcounts will lag behind, before they do; without, new links
  /// wait on disk for the counts of what they name.
  func announceLink() throws(ImageError) {
    if !isDirty, tables.header.version >= 3,
      options.lazyRefcounts ?? tables.header.compatible.contains(.lazyRefcounts)
    {
      try tables.setIncompatible(tables.header.incompatible.union(.dirty), .lazyRefcounts)
    }
    if !isDirty { try l2.cache.depend(on: allocator.refcounts.cache) }
  }

  /// A writer that does not honour the pin says so before its first change, as any other program
  /// would by clearing the bit it does not know.
  private func announceUnpinnedWrite() throws(ImageError) {
    guard tables.header.autoclear.contains(.pinned), rules.policy != .pinned else { return }
    try tables.setAutoclear(tables.header.autoclear.subtracting(.pinned), .pin)
  }

  /// Goes on with empty caches of the sizes that fit the disk. Throws what the writing back throws.
  func rebuildCaches() throws(ImageError) {
    try l2.cache.flush()
    try allocator.refcounts.cache.flush()
    let caches = try TableCaches(tables, options, dataFile: l2.cache.dataFile)
    l2.replaceCache(by: caches.l2)
    allocator.refcounts.replaceCache(by: caches.refcounts)
  }

  /// A request has come to its end, done or not.
  func endRequest() {
    endedRequests &+= 1
    if !rules.wrongOrders.isEmpty, rules.wrongOrders.contains(.stalePunch) { punchLate() }
  }

  /// Brings all changed tables to disk in a safe order. While the dirty bit is set refcounts wait. Behind damage
  /// nothing is written. `announcing` the moments of a flush is for those that the genuine tool makes as well.
  func flush(announcing: Bool = true) throws(ImageError) {
    let health = allocator.health
    guard !health.isOutOfService else { return }
    try health.guarded { () throws(ImageError) in
      if announcing { tables.reach(.flushToOs) }
      try l2.cache.write()
      if !isDirty { try allocator.refcounts.cache.write() }
      let now = endedRequests
      if announcing, now != flushedRequests { tables.reach(.flushToDisk) }
      try health.flushStorage()
      flushedRequests = now
    }
  }

  // MARK: L2 tables

  /// The slice that maps `guest`, in a table with refcount 1, so that it may be changed.
  ///
  /// Discards and zero-writes of areas never written come here too and allocate a table. An L1 table that ends
  /// in front of the entry grows, as it does for machine state behind the disk.
  func slice(at guest: GuestOffset) throws(ImageError) -> L2Slice {
    try announceUnpinnedWrite()
    streams.forget()
    let index = geometry.l1Index(of: guest)
    try growL1(toHold: index)
    let old = try l2.table(l1Index: index)
    if L1Entry(raw: tables.l1[index]).isCopied, let old { return try l2.slice(of: old, at: guest) }
    let new = try allocateTable(l1Index: index, copyOf: old)
    if let old { allocator.release(old, ByteCount(geometry.clusterSize), .other) }
    return try l2.slice(of: new, at: guest)
  }

  private func allocateTable(l1Index: Int, copyOf old: HostOffset?) throws(ImageError) -> HostOffset {
    let table = try allocator.allocate(1)
    guard table.value != 0 else {
      throw ImageError(
        .corrupt, "Preventing invalid allocation of L2 table at offset 0", at: .header, table)
    }
    allocator.madeTables &+= 1
    do throws(ImageError) {
      try allocator.refcounts.cache.flush()
      try tables.guardWrite(table, ByteCount(geometry.clusterSize), ignoring: .activeL2)
      try l2.fill(table, copyOf: old)
      try tables.setL1Entry(l1Index, L1Entry(table: table, copied: true))
      if rules.wrongOrders.contains(.publishedUncounted) { try uncount(table) }
    } catch {
      // Nothing points there yet.
      allocator.release(table, ByteCount(geometry.clusterSize), .always)
      throw error
    }
    return table
  }

  // MARK: L1 table

  /// Lets the L1 table reach the entry `index`. It grows by halves, so that a state that is written piece by
  /// piece does not move it with each of them.
  private func growL1(toHold index: Int) throws(ImageError) {
    guard index >= tables.l1.count else { return }
    guard index < L1Entry.maximumCount else { throw Self.largestL1 }
    var entries = max(1, tables.l1.count)
    while entries <= index { entries = (entries * 3 + 1) / 2 }
    try growL1(to: entries)
  }

  private static var largestL1: ImageError {
    var error = ImageError(
      .noSpace, "the L1 table cannot grow beyond 32 MiB; the image is too big for its cluster size")
    error.errno = EFBIG
    return error
  }

  /// Moves the L1 table to a larger place with exactly `entries` entries. Throws ``ImageError/Code/noSpace`` if
  /// a header cannot name so many.
  func growL1(to entries: Int) throws(ImageError) {
    guard entries > tables.l1.count else { return }
    guard entries <= L1Entry.maximumCount else { throw Self.largestL1 }
    let clusters = ClusterCount(geometry.clustersCovering(UInt64(entries) * 8))
    tables.reach(.l1GrowAllocTable)
    let offset = try allocator.allocate(clusters)
    do throws(ImageError) {
      try allocator.refcounts.cache.flush()
      try moveL1(to: offset, entries: entries)
    } catch {
      if tables.l1Place != offset { try? allocator.free(offset, geometry.bytes(clusters), .other) }
      throw error
    }
  }

  /// Moves the active L1 table to `offset`, where clusters have been taken for it, and frees its old place.
  func moveL1(to offset: HostOffset, entries: Int) throws(ImageError) {
    let old = try tables.moveL1(to: offset, entries: entries)
    if old.clusters > 0 { allocator.release(old.offset, geometry.bytes(old.clusters), .other) }
  }
}
