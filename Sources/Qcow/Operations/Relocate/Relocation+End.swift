// The end of a relocation: free stretches inside the file become holes, and the file is cut behind the
// last cluster in use. And what a relocation will cost, said before it begins.

import Glibc
import QcowFormat
import Storage

extension Relocation {
  /// Gives free stretches back to the host and cuts the file.
  func cut() throws(ImageError) -> Bool {
    let bits = UInt64(image.geometry.clusterBits)
    let storage = image.storage
    try image.l2Cache.flush()
    try image.refcountCache.flush()
    let end = (try image.lastUsedCluster() ?? 0) + 1
    try punchFree(below: end)
    if end << bits < storage.length {
      do throws(StorageError) {
        try storage.truncate(to: end << bits, tag: WriteTag(.file, .move))
      } catch {
        // A block device keeps its length.
        guard error.errno == EINVAL else { throw ImageError(error) }
      }
    }
    try image.flushStorage()
    image.cursor = 0
    progress.done = progress.total
    return false
  }

  private func punchFree(below end: UInt64) throws(ImageError) {
    let bits = UInt64(image.geometry.clusterBits)
    var at: UInt64 = 0
    while at < end {
      let extent = image.storage.extent(at: at << bits)
      let stop = min(end, max(at + 1, extent.end >> bits))
      guard !extent.isHole else {
        at = stop
        continue
      }
      var run: UInt64 = 0
      while at <= stop {
        if at < stop, try mover.refcount(at) == 0 {
          run += 1
        } else if run > 0 {
          let range = ((at - run) << bits, run << bits)
          try image.io { () throws(StorageError) in
            try image.storage.punch(
              at: range.0, count: range.1, tag: WriteTag(.data, .discard, table: range.0))
          }
          run = 0
        }
        at += 1
      }
      at = stop
    }
  }
}

extension RelocationPlanner {
  /// What it takes to bring everything to its place, in batches of so many clusters.
  func forecast(
    _ places: RelocationPlaces, _ scope: RelocationScope, _ batch: UInt64
  ) throws(ImageError) -> RelocationForecast {
    let geometry = image.geometry
    let bits = UInt64(geometry.clusterBits)
    var result = RelocationForecast()
    result.base = places.base
    result.lengthBefore = image.storage.length
    var streams = StreamPlaces(geometry, from: places.data.upperBound << bits)
    var index = 0
    var streamsAside: UInt64 = 0
    let lengths = inventory.streamLengths
    try image.walkEntries { (guest, entry) throws(ImageError) in
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
        let place = HostOffset(streams.next(length))
        if descriptor == geometry.compressedDescriptor(offset: place, length: length) || scope == .dataOnly {
          result.streamsInPlace += 1
        } else {
          result.streamsToMove += 1
          result.streamBytesToMove += length
          if geometry.compressedExtent(of: descriptor).offset.value < places.end << bits {
            streamsAside += length
          }
        }
      }
    }
    if scope == .everything { result.tablesToMove = tablesToMove(places) }
    let waiting = min(result.inTheWay, 2 * batch)
    result.bytesToCopy =
      (result.toMove + waiting + result.tablesToMove) << bits + result.streamBytesToMove + streamsAside
    let isMoving = result.toMove + result.tablesToMove + result.streamsToMove > 0
    let behind = max(places.end << bits, result.lengthBefore) - result.lengthBefore
    result.spaceNeeded = isMoving ? behind + (waiting + result.tablesToMove) << bits + streamsAside : 0
    result.dataEnd = places.end << bits
    result.hasFixedLength = image.storage.hasFixedLength
    result.lengthAfter =
      scope == .everything && !result.hasFixedLength ? result.dataEnd : result.lengthBefore
    return result
  }

  private func tablesToMove(_ places: RelocationPlaces) -> UInt64 {
    let bits = UInt64(image.geometry.clusterBits)
    var count: UInt64 = 0
    func isOut(_ offset: UInt64) -> Bool {
      let cluster = offset >> bits
      return cluster >= places.metadataEnd || places.refcountTable.contains(cluster)
        || places.l1Table.contains(cluster)
    }
    for raw in image.l1 where raw & L1Entry.offsetMask != 0 && isOut(raw & L1Entry.offsetMask) { count += 1 }
    for (index, raw) in image.refcountTable.enumerated() where places.needsBlock(UInt64(index)) {
      if raw & RefcountTableEntry.offsetMask == 0 || isOut(raw & RefcountTableEntry.offsetMask) { count += 1 }
    }
    if image.header.l1TableOffset >> bits != places.l1Table.lowerBound {
      count += UInt64(places.l1Table.count)
    }
    if image.header.refcountTableOffset >> bits != places.refcountTable.lowerBound
      || UInt64(image.header.refcountTableClusters) != UInt64(places.refcountTable.count)
    {
      count += UInt64(places.refcountTable.count)
    }
    return count
  }
}
