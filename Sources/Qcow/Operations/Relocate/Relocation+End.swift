// The end of a relocation: free stretches inside the file become holes, and the file is cut behind the
// last cluster in use. And what a relocation will cost, said before it begins.

import Glibc
import QcowFormat
import Storage

extension Relocation {
  /// Gives free stretches back to the host and cuts the file.
  func cut() throws(ImageError) -> Bool {
    let storage = image.storage
    try image.l2.cache.flush()
    try image.refcounts.cache.flush()
    let end = (try image.refcounts.lastUsedCluster() ?? HostCluster(0)) + 1
    try punchFree(below: end)
    let length = mover.start(end).value
    if length < storage.length {
      do throws(StorageError) {
        try storage.truncate(to: length, tag: WriteTag(.file, .move))
      } catch {
        // A block device keeps its length.
        guard error.errno == EINVAL else { throw ImageError(error) }
      }
    }
    try mover.flushStorage()
    mover.allocator.cursor = HostCluster(0)
    progress.done = progress.total
    return false
  }

  private func punchFree(below end: HostCluster) throws(ImageError) {
    let geometry = image.geometry
    var at = HostCluster(0)
    while at < end {
      let extent = image.storage.extent(at: mover.start(at).value)
      let stop = min(end, max(at + 1, geometry.cluster(of: HostOffset(extent.end))))
      guard !extent.isHole else {
        at = stop
        continue
      }
      var run: ClusterCount = 0
      while at <= stop {
        if at < stop, try mover.refcount(at) == 0 {
          run += 1
        } else if run > 0 {
          let start = mover.start(HostCluster(at.value - run.value)).value
          do throws(StorageError) {
            try image.storage.punch(
              at: start, count: geometry.bytes(run).value, tag: WriteTag(.data, .discard, table: start))
          } catch { throw ImageError(error) }
          run = 0
        }
        at = at + 1
      }
      at = stop
    }
  }
}

extension RelocationPlanner {
  /// What it takes to bring everything to its place, in batches of so many clusters.
  func forecast(
    _ places: RelocationPlaces, _ scope: RelocationScope, _ batch: ClusterCount
  ) throws(ImageError) -> RelocationForecast {
    let geometry = image.geometry
    let end = geometry.start(of: places.end)
    var result = RelocationForecast()
    result.base = places.base.value
    result.lengthBefore = image.storage.length
    var streams = StreamPlaces(geometry, from: places.data.upperBound)
    var index = 0
    var streamsAside: UInt64 = 0
    let lengths = inventory.streamLengths
    try image.l2.walkEntries { (guest, entry) throws(ImageError) in
      switch entry {
      case .data(let host, let rank):
        if host == places.slot(rank: rank, guest: guest) {
          result.inPlace += 1
        } else {
          result.toMove += 1
          if places.data.contains(host) { result.inTheWay += 1 }
        }
      case .stream(let descriptor):
        guard index < lengths.count else { return }
        let length = UInt64(lengths[index])
        index += 1
        let place = streams.next(ByteCount(length))
        if descriptor == geometry.compressedDescriptor(offset: place, length: length) || scope == .dataOnly {
          result.streamsInPlace += 1
        } else {
          result.streamsToMove += 1
          result.streamBytesToMove += length
          if geometry.compressedExtent(of: descriptor).offset < end {
            streamsAside += length
          }
        }
      }
    }
    if scope == .everything { result.tablesToMove = tablesToMove(places) }
    let waiting = min(result.inTheWay, 2 * batch.value)
    result.bytesToCopy =
      geometry.byteCount(ofClusters: result.toMove + waiting + result.tablesToMove)
      + result.streamBytesToMove + streamsAside
    let isMoving = result.toMove + result.tablesToMove + result.streamsToMove > 0
    let behind = max(end.value, result.lengthBefore) - result.lengthBefore
    let aside = geometry.byteCount(ofClusters: waiting + result.tablesToMove) + streamsAside
    result.spaceNeeded = isMoving ? behind + aside : 0
    result.dataEnd = end.value
    result.hasFixedLength = image.storage.hasFixedLength
    result.lengthAfter =
      scope == .everything && !result.hasFixedLength ? result.dataEnd : result.lengthBefore
    return result
  }

  private func tablesToMove(_ places: RelocationPlaces) -> UInt64 {
    let geometry = image.geometry
    var count: UInt64 = 0
    func isOut(_ offset: HostOffset) -> Bool {
      let cluster = geometry.cluster(of: offset)
      return cluster >= places.metadataEnd || places.refcountTable.contains(cluster)
        || places.l1Table.contains(cluster)
    }
    for raw in image.tables.l1 {
      if let table = L1Entry(raw: raw).table, isOut(table) { count += 1 }
    }
    for (index, raw) in image.tables.refcountTable.enumerated() where places.needsBlock(index) {
      if RefcountTableEntry(raw: raw).block.map(isOut) ?? true { count += 1 }
    }
    if geometry.cluster(of: image.tables.l1Place) != places.l1Table.lowerBound {
      count += UInt64(places.l1Table.count)
    }
    if geometry.cluster(of: image.tables.refcountTablePlace) != places.refcountTable.lowerBound
      || UInt64(image.header.refcountTableClusters) != UInt64(places.refcountTable.count)
    {
      count += UInt64(places.refcountTable.count)
    }
    return count
  }
}
