// How many users a host cluster has: the refcount blocks that the refcount table names, through a cache.

import QcowFormat
import Glibc
import Storage

/// A refcount block in the cache. The memory is valid until the cache is asked for another block.
@safe struct RefcountBlock {
  /// Host offset of the block.
  let place: HostOffset
  let bytes: UnsafeMutableRawBufferPointer
}

/// The refcount blocks of an image.
final class RefcountBlocks {
  let tables: TableWriter
  private(set) var cache: TableCache
  private(set) var codec: RefcountCodec

  init(_ tables: TableWriter, _ cache: TableCache) {
    self.tables = tables
    self.cache = cache
    codec = RefcountCodec(order: tables.geometry.refcountOrder)
  }

  /// Counts have the width that the header says now; blocks in memory are those of another width.
  func adoptWidth() { codec = RefcountCodec(order: geometry.refcountOrder) }

  /// Goes on with an empty cache; what the old one holds is lost.
  func replaceCache(by cache: TableCache) {
    self.cache.isReplaced = true
    self.cache = cache
    adoptWidth()
  }

  @inline(__always)
  var geometry: Geometry { tables.geometry }

  /// How many users a host cluster has; 0 where no refcount block is. Throws as ``block(_:)``.
  func count(of cluster: HostCluster) throws(ImageError) -> UInt64 {
    guard let block = try block(geometry.refcountTableIndex(of: cluster)) else { return 0 }
    return count(in: block, of: cluster)
  }

  /// How many clusters in a row have no user, or all have one, from `first` on and at most `limit`. Throws as
  /// ``block(_:)``.
  func clusters(
    from first: HostCluster, limit: ClusterCount, areFree: Bool
  ) throws(ImageError) -> ClusterCount {
    var found: ClusterCount = 0
    while found < limit {
      let cluster = first + found
      let room = min(limit - found, geometry.endOfBlock(cluster) - cluster)
      let start = geometry.refcountBlockIndex(of: cluster)
      let range = start..<start + Int(room.value)
      guard let block = try block(geometry.refcountTableIndex(of: cluster)) else {
        if !areFree { break }
        found += room
        continue
      }
      let bytes = unsafe UnsafeRawBufferPointer(block.bytes)
      let end = unsafe areFree ? codec.firstUsed(in: bytes, range) : codec.firstFree(in: bytes, range)
      found += ClusterCount(end - start)
      if end < range.upperBound { break }
    }
    return found
  }

  /// The count of a cluster that `block` counts.
  @inline(__always)
  func count(in block: RefcountBlock, of cluster: HostCluster) -> UInt64 {
    unsafe codec.value(
      in: UnsafeRawBufferPointer(block.bytes), at: geometry.refcountBlockIndex(of: cluster))
  }

  /// Sets a count in memory, tells it, and marks the block for write-back.
  func set(_ count: UInt64, of cluster: HostCluster, in block: RefcountBlock, _ reason: Reason) {
    cache.markDirty(block.place)
    let old = self.count(in: block, of: cluster)
    if old != count { replace(old, by: count, of: cluster, in: block, reason) }
  }

  /// Changes a count in memory and tells it; the caller marks the block.
  @inline(__always)
  func replace(
    _ old: UInt64, by new: UInt64, of cluster: HostCluster, in block: RefcountBlock, _ reason: Reason
  ) {
    unsafe codec.store(new, in: block.bytes, at: geometry.refcountBlockIndex(of: cluster))
    tables.note(
      WriteTag(
        .refcountBlock, reason, table: block.place.value, index: cluster.value, before: (old, 0),
        after: (new, 0)))
  }

  /// The block of an entry of the refcount table, read if it is not in memory; nil if there is none.
  /// Throws ``ImageError/Code/corrupt`` if it is not aligned, and what the host says.
  func block(_ tableIndex: Int) throws(ImageError) -> RefcountBlock? {
    guard let place = try place(ofBlock: tableIndex) else { return nil }
    return try block(at: place)
  }

  /// The block at a place. Throws what the host says.
  func block(at place: HostOffset) throws(ImageError) -> RefcountBlock {
    let memory = unsafe try cache.table(at: place)
    return unsafe RefcountBlock(
      place: place, bytes: UnsafeMutableRawBufferPointer(start: memory, count: cache.tableSize))
  }

  /// A new block in memory that counts nothing; it is not marked for write-back. Throws what the host says
  /// when the cache has to write another block back.
  func emptyBlock(at place: HostOffset) throws(ImageError) -> RefcountBlock {
    let memory = unsafe try cache.emptyTable(at: place)
    return unsafe RefcountBlock(
      place: place, bytes: UnsafeMutableRawBufferPointer(start: memory, count: cache.tableSize))
  }

  /// Host offset of the block of an entry of the refcount table; nil if there is none. Throws
  /// ``ImageError/Code/corrupt`` if it is not aligned.
  @inline(__always)
  func place(ofBlock tableIndex: Int) throws(ImageError) -> HostOffset? {
    try place(ofBlock: tableIndex, in: tables.refcountTable)
  }

  /// The same with another refcount table.
  @inline(__always)
  func place(ofBlock tableIndex: Int, in table: [UInt64]) throws(ImageError) -> HostOffset? {
    guard tableIndex < table.count else { return nil }
    let offset = table[tableIndex] & RefcountTableEntry.offsetMask
    guard offset != 0 else { return nil }
    guard geometry.isAligned(offset), offset <= UInt64(Int64.max) else {
      throw refusal(HostOffset(offset), tableIndex)
    }
    return HostOffset(offset)
  }

  private func refusal(_ block: HostOffset, _ tableIndex: Int) -> ImageError {
    let index = UInt64(tableIndex)
    guard geometry.isAligned(block.value) else {
      return ImageError(
        .corrupt, "Refblock offset \(hex(block.value)) unaligned (reftable index: \(hex(index)))",
        at: .refcountTable, index: index, block)
    }
    // Not damage by the rules of the genuine tool: a block behind the end of the file reads as zeroes, and
    // writing it back is what fails. Only what no host can address is refused here.
    var error = ImageError(
      .storage, "refcount block \(index) lies at \(hex(block.value)), which no file has",
      at: .refcountTable, index: index, block)
    error.errno = EIO
    return error
  }

  /// The last host cluster of the file with a refcount; nil if none has one. Throws as ``block(_:)``.
  func lastUsedCluster() throws(ImageError) -> HostCluster? {
    var cluster = geometry.clustersCovering(tables.storage.length)
    let perBlock = geometry.refcountsPerBlock
    while cluster > 0 {
      let first = (cluster - 1) / perBlock * perBlock
      if let block = try block(geometry.refcountTableIndex(of: HostCluster(cluster - 1))),
        let index = unsafe codec.lastUsed(
          in: UnsafeRawBufferPointer(block.bytes), below: Int(cluster - first))
      {
        return HostCluster(first + UInt64(index))
      }
      cluster = first
    }
    return nil
  }
}
