// Finding free clusters the way QEMU does: a cursor that only moves forward past everything it has
// looked at, and falls back when something lower is freed.

import QcowFormat
import Storage

extension Image {
  /// Brings to disk that clusters freed since the last flush are no longer pointed to.
  ///
  /// Otherwise new data could be written to such a cluster while the entry on disk still points to
  /// it, and a crash would show one part of the disk the data of another. The link of the new data
  /// would wait for the same flush, so this one only comes earlier.
  func settleFrees() throws(ImageError) { try refcountCache.flushDependency() }

  /// Takes `count` contiguous clusters, wherever the search finds them.
  ///
  /// - Returns: the host offset of the first.
  func allocate(_ count: UInt64) throws(ImageError) -> UInt64 {
    try settleFrees()
    // A retry happens once per refcount block or table that was missing.
    while true {
      let first = try searchFree(count)
      let offset = first << UInt64(geometry.clusterBits)
      let length = count << UInt64(geometry.clusterBits)
      if try updateRefcounts(offset, length, increase: true, .never, .claim) == .done { return offset }
    }
  }

  /// Takes up to `count` free clusters from `offset` on; stops at the first used one.
  ///
  /// Neither uses nor moves the cursor.
  /// - Returns: how many were taken, possibly none.
  func allocate(at offset: UInt64, _ count: UInt64) throws(ImageError) -> UInt64 {
    try settleFrees()
    let first = offset >> UInt64(geometry.clusterBits)
    guard offset < Geometry.hostOffsetLimit else { return 0 }
    while true {
      var found: UInt64 = 0
      while found < count, try refcount(of: HostCluster(first + found)) == 0 { found += 1 }
      guard found > 0 else { return 0 }
      let length = found << UInt64(geometry.clusterBits)
      if try updateRefcounts(offset, length, increase: true, .never, .claim) == .done { return found }
    }
  }

  /// The first of `count` contiguous free clusters from the cursor on.
  ///
  /// Every cluster looked at is passed for good, also those of holes that were too small. Behind
  /// the end of the refcount table everything is free, so the search ends.
  func searchFree(_ count: UInt64) throws(ImageError) -> UInt64 {
    // What waits to be punched must not be given out before it was.
    if collectsDiscards { try processDiscards() }
    let limit = Geometry.hostOffsetLimit >> UInt64(geometry.clusterBits)
    // An honest image has no more used clusters than its file holds, and some slack.
    var patience = geometry.clustersCovering(storage.length) + 1 << 26
    var run: UInt64 = 0
    let places = pinnedClusters
    while run < count {
      if let places, places.contains(cursor) {
        cursor = places.upperBound
        run = 0
      }
      guard cursor < limit else { throw ImageError(.noSpace, "no free cluster below host offset 2^56") }
      let perBlock = geometry.refcountsPerBlock
      var end = (cursor / perBlock + 1) * perBlock
      if let places, cursor < places.lowerBound { end = min(end, places.lowerBound) }
      guard let blockOffset = try refcountBlockOffset(cursor / perBlock) else {
        let step = min(count - run, end - cursor)
        run += step
        cursor += step
        continue
      }
      let memory = unsafe try refcountCache.table(at: blockOffset)
      let block = unsafe UnsafeRawBufferPointer(start: memory, count: refcountCache.tableSize)
      var position = cursor
      while position < end && run < count {
        run = unsafe codec.value(in: block, at: Int(position & (perBlock - 1))) == 0 ? run + 1 : 0
        position += 1
      }
      let seen = position - cursor
      cursor = position
      guard seen <= patience else {
        throw ImageError(.noSpace, "the refcounts say that far more clusters are in use than the file has")
      }
      patience -= seen
    }
    return cursor - count
  }
}
