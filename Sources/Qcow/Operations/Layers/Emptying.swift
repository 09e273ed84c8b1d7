// Making an image empty, so that the layer below answers for all of its disk. An image that has nothing but its disk
// becomes as short as a new one; others keep their tables and give up cluster by cluster.

import QcowFormat
import Storage

/// Forgets all that the disk of an image itself holds.
package struct Emptying {
  private let writer: GuestWriter
  private let health: Health

  /// Begins nothing yet.
  ///
  /// - Throws: ``ImageError`` for an image that is only read.
  package init(_ image: Image) throws(ImageError) {
    writer = try image.changing()
    health = image.health
  }

  private var tables: TableWriter { writer.tables }
  private var geometry: Geometry { tables.geometry }
  private var allocator: Allocator { writer.allocator }

  /// Does it at once; whenever it is interrupted the image is sound, and has leaks at most.
  ///
  /// - Throws: ``ImageError``; the image then is as if the program had crashed.
  package func run() throws(ImageError) {
    try health.guarded { () throws(ImageError) in
      if let place = placeInBetween { try beginAnew(by: place) } else { try discardAll() }
    }
  }

  private var l1Clusters: UInt64 { geometry.clustersCovering(UInt64(tables.l1.count) * 8) }
  /// Refcount table, one block, and the L1 table.
  private var row: ClusterCount { ClusterCount(2 + l1Clusters) }

  /// Nothing that has to stay lies in the file.
  private var hasNothingElse: Bool {
    let (header, extensions) = (tables.header, tables.extensions)
    return header.version >= 3 && tables.snapshots.isEmpty && extensions.bitmaps == nil
      && writer.bitmaps == nil && header.cryptMethod != 2 && !writer.l2.hasExternalData
      && extensions.pin == nil && extensions.relocation == nil
  }

  /// Where tables can lie that are neither the ones of now nor those that will be directly behind the header, and one
  /// block counts all of them; nil if the image cannot begin anew.
  private var placeInBetween: HostCluster? {
    guard hasNothingElse else { return nil }
    let table = geometry.cluster(of: HostOffset(tables.header.refcountTableOffset))
    var taken = [
      table..<table + ClusterCount(UInt64(tables.header.refcountTableClusters)),
      geometry.cluster(of: tables.l1Place)..<geometry.cluster(of: tables.l1Place) + ClusterCount(l1Clusters),
    ]
    for raw in tables.refcountTable {
      guard let block = RefcountTableEntry(raw: raw).block else { continue }
      taken.append(geometry.cluster(of: block)..<geometry.cluster(of: block) + 1)
    }
    taken.sort { $0.lowerBound < $1.lowerBound }
    var place = HostCluster(1) + row
    for range in taken where range.lowerBound < place + row { place = max(place, range.upperBound) }
    var limit = geometry.refcountsPerBlock
    if tables.storage.hasFixedLength { limit = min(limit, tables.storage.length / geometry.clusterSize) }
    return (place + row).value <= limit ? place : nil
  }

  private func discardAll() throws(ImageError) {
    let step = geometry.roundDown(1 << 31 - 1)
    var start: UInt64 = 0
    while start < geometry.virtualSize {
      let count = min(step, geometry.virtualSize - start)
      try Discarder(writer).discardClusters(GuestOffset(start), ByteCount(count), .snapshot, full: true)
      start += count
    }
    try writer.editor.flush()
  }

  /// Lets go of all clusters, then moves the tables behind the header, by way of a place where no table is in the
  /// way: the image is sound at every moment, with leaks at most.
  private func beginAnew(by place: HostCluster) throws(ImageError) {
    try writer.editor.flush()
    writer.l2.cache.dropAll()
    allocator.refcounts.cache.dropAll()
    allocator.discards.forget()
    writer.reader.streams.forget()
    _ = try tables.cutL1(to: 0)
    tables.reach(.emptyImagePrepare)
    try tables.beginAnew(at: place)
    try tables.beginAnew(at: HostCluster(1))
    allocator.cursor = HostCluster(1) + row
    allocator.byteCursor = HostOffset(0)
    try tables.rewriteHeader { $0.header.incompatible.remove(.dirty) }
    try tables.flush()
    let end = geometry.start(of: HostCluster(1) + row).value
    guard tables.storage.length > end, !tables.storage.hasFixedLength else { return }
    do throws(StorageError) {
      try tables.storage.truncate(to: end, tag: WriteTag(.file, .unlink))
    } catch { throw ImageError(error) }
  }
}
