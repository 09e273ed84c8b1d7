// Turning zero clusters into what version 2 of the format has: nothing, where nothing lies below, and clusters
// full of zeroes elsewhere.

import QcowFormat
import Storage

/// Expands the zero clusters of the disk and of all snapshots; throws as ``GuestWriter``.
struct ZeroExpansion {
  private let writer: GuestWriter

  init(_ writer: GuestWriter) { self.writer = writer }

  private var tables: TableWriter { writer.tables }
  private var allocator: Allocator { writer.allocator }
  private var l2: L2Tables { writer.l2 }
  private var geometry: Geometry { writer.geometry }

  /// `progress` counts entries of L1 tables. The image has no subclusters and no external data file.
  func run(_ progress: AmendProgress) throws(ImageError) {
    let total = tables.snapshots.reduce(tables.l1.count) { $0 + Int($1.l1Size) }
    var visited = 0
    try expand(tables.l1, .l2Table, &visited, total, progress)
    try l2.cache.flush()
    for snapshot in tables.snapshots {
      try expand(try tables.readL1(of: snapshot), .inactiveL2Table, &visited, total, progress)
    }
    try l2.cache.flush()
  }

  private func expand(
    _ l1: [UInt64], _ structure: Structure, _ visited: inout Int, _ total: Int,
    _ progress: AmendProgress
  ) throws(ImageError) {
    for index in l1.indices {
      if let table = L1Entry(raw: l1[index]).table {
        guard geometry.isAligned(table.value) else { throw L2Tables.unaligned(table, index) }
        try expandTable(table, l1Index: index, structure)
      }
      visited += 1
      progress.tell(visited, of: total)
    }
  }

  private func expandTable(
    _ table: HostOffset, l1Index: Int, _ structure: Structure
  ) throws(ImageError) {
    let table = Table(
      place: table, users: try allocator.refcounts.count(of: geometry.cluster(of: table)))
    for index in 0..<geometry.l2EntriesPerTable {
      let guest = geometry.guestOffset(l1Index: l1Index, l2Index: index)
      let slice = try l2.slice(of: table.place, at: guest)
      let old = l2.entry(slice, slice.index)
      guard !old.isCompressed, old.descriptor & L2Entry.zeroFlag != 0 else { continue }
      let new = try expanded(old, table, index, guest)
      // Taking a cluster may have pushed the slice out of the cache.
      let again = try l2.slice(of: table.place, at: guest)
      l2.setEntry(again, again.index, new.entry, of: geometry.cluster(of: guest), .unlink, in: structure)
      if new.entry != .empty { l2.cache.dependOnFlush() }
      guard let gone = new.gone else { continue }
      // Somebody else has it, so that it does not become free.
      try allocator.refcounts.cache.depend(on: l2.cache)
      try setCount(of: gone, { $0 - table.users }, .release)
    }
  }

  /// An L2 table and how many L1 entries name it.
  private struct Table {
    var place: HostOffset
    var users: UInt64
  }

  /// What a zero entry becomes, and the host cluster that the users of its table give up.
  private func expanded(
    _ old: L2Entry, _ table: Table, _ index: Int, _ guest: GuestOffset
  ) throws(ImageError) -> (entry: L2Entry, gone: HostOffset?) {
    var host = HostOffset(old.offsetBits)
    var gone: HostOffset?
    if host.value != 0 {
      guard geometry.isAligned(host.value) else {
        throw ImageError(
          .corrupt,
          "Cluster allocation offset \(hex(host.value)) unaligned (L2 offset: \(hex(table.place.value)), L2 index: \(hex(UInt64(index))))",
          at: .l2Table, index: UInt64(index), table.place)
      }
      // A snapshot that shares the cluster may have data in it, which the genuine tool overwrites.
      if try allocator.refcounts.count(of: geometry.cluster(of: host)) > table.users { gone = host }
    }
    if host.value == 0 || gone != nil {
      guard writer.reader.backing != nil else { return (.empty, gone) }
      host = try take(for: table)
    }
    do throws(ImageError) { try zero(host, guest) } catch {
      if host.value != old.offsetBits { allocator.release(host, ByteCount(geometry.clusterSize), .always) }
      throw error
    }
    if host.value != old.offsetBits { try l2.cache.depend(on: allocator.refcounts.cache) }
    return (L2Entry(descriptor: host.value | (table.users == 1 ? L2Entry.copiedFlag : 0)), gone)
  }

  /// A new cluster for as many users as the table has.
  private func take(for table: Table) throws(ImageError) -> HostOffset {
    let host = try allocator.allocate(1)
    if table.users > 1 { try setCount(of: host, { _ in table.users }, .claim) }
    return host
  }

  private func setCount(
    of host: HostOffset, _ change: (UInt64) -> UInt64, _ reason: Reason
  ) throws(ImageError) {
    let (refcounts, cluster) = (allocator.refcounts, geometry.cluster(of: host))
    guard let block = try refcounts.block(geometry.refcountTableIndex(of: cluster)) else {
      throw ImageError(
        .corrupt, "host cluster at \(hex(host.value)) has no refcount block", at: .refcountTable, host)
    }
    refcounts.set(change(refcounts.count(in: block, of: cluster)), of: cluster, in: block, reason)
  }

  /// Fills a cluster with what reads as zeroes. In an encrypted image these are no zero bytes, which the genuine
  /// tool writes there too.
  private func zero(_ host: HostOffset, _ guest: GuestOffset) throws(ImageError) {
    let size = ByteCount(geometry.clusterSize)
    try tables.guardWrite(host, size)
    let target = try writer.reader.openData()
    let tag = WriteTag(.data, .unlink, table: host.value, index: size.value)
    guard let cipher = writer.reader.cipher else {
      do throws(StorageError) {
        return try target.writeZeroes(at: host.value, count: size.value, tag: tag)
      } catch { throw ImageError(error) }
    }
    let bytes = unsafe Secret(capacity: Int(size.value)) { (room) throws(Never) in room.count }
    try unsafe bytes.withBytes { (bytes) throws(ImageError) in
      unsafe try cipher.encrypt(bytes, guest: guest, host: host)
      do throws(StorageError) {
        unsafe try target.write(UnsafeRawBufferPointer(bytes), at: host.value, tag: tag)
      } catch { throw ImageError(error) }
    }
  }

  /// Whether some cluster of the disk or of a snapshot is compressed. The genuine tool looks at the disk only,
  /// and snapshots lose such clusters.
  func hasCompressedClusters() throws(ImageError) -> Bool {
    if try hasCompressed(tables.l1) { return true }
    for snapshot in tables.snapshots where try hasCompressed(try tables.readL1(of: snapshot)) { return true }
    return false
  }

  private func hasCompressed(_ l1: [UInt64]) throws(ImageError) -> Bool {
    for (l1Index, raw) in l1.enumerated() {
      guard let table = L1Entry(raw: raw).table else { continue }
      guard geometry.isAligned(table.value) else { throw L2Tables.unaligned(table, l1Index) }
      for index in 0..<geometry.l2EntriesPerTable {
        let slice = try l2.slice(of: table, at: geometry.guestOffset(l1Index: l1Index, l2Index: index))
        if l2.entry(slice, slice.index).isCompressed { return true }
      }
    }
    return false
  }
}
