// Discards: whole clusters lose their data. What is left reads as zeroes, and the host cluster is
// freed or, by policy, kept mapped.

package import QcowFormat
import Storage

extension Image {
  /// Tells that guest bytes are no longer needed. Parts of clusters at the ends are ignored, except
  /// the last cluster of the disk when the request reaches the disk's end. By option the same holds
  /// for subclusters instead (``DiscardGranularity``).
  ///
  /// - Throws: ``ImageError`` for a range that does not lie on the disk, an image that may not be written,
  ///   and damage.
  package func discard(at guest: GuestOffset, count: UInt64) throws(ImageError) {
    try requireWritable()
    try requireOnDisk(guest, count)
    guard options.discard == .unmap else { return }
    try guarded { () throws(ImageError) in try discardPieces(guest, count) }
  }

  private func discardPieces(_ guest: GuestOffset, _ count: UInt64) throws(ImageError) {
    if discardGranularity == .subcluster && geometry.hasExtendedL2 {
      return try discardSubclusters(guest, count)
    }
    try forAlignedPieces(guest.value, count, alignment: geometry.clusterSize) {
      (offset, length) throws(ImageError) in
      let isWhole = geometry.isAligned(offset) && geometry.isAligned(length)
      let reachesEnd = geometry.isAligned(offset) && offset + length == geometry.virtualSize
      guard isWhole || reachesEnd, header.version >= 3 || !hasBacking else { return length }
      try discardClusters(offset, length, .request)
      return length
    }
  }

  /// Discards whole clusters; a last one that is cut by the end of the disk counts as whole.
  ///
  /// A full discard forgets everything, also that an area reads as zeroes; a guest's does not.
  func discardClusters(
    _ offset: UInt64, _ length: UInt64, _ freeClass: FreeClass, full: Bool = false
  ) throws(ImageError) {
    try collectingDiscards { () throws(ImageError) in
      var start = offset
      var left = geometry.clustersCovering(length)
      while left > 0 {
        let done = try discardSlice(start, left, freeClass, full)
        left -= done
        start += done << UInt64(geometry.clusterBits)
      }
    }
  }

  /// Discards clusters up to the end of the slice; returns how many.
  private func discardSlice(
    _ offset: UInt64, _ clusters: UInt64, _ freeClass: FreeClass, _ full: Bool
  ) throws(ImageError) -> UInt64 {
    let slice = try sliceForWriting(at: GuestOffset(offset))
    let count = min(clusters, UInt64(sliceEntries - slice.index))
    for i in 0..<count {
      let index = slice.index + Int(i)
      let guestCluster = (offset >> UInt64(geometry.clusterBits)) + i
      let old = unsafe entry(slice.memory, index)
      let isMapped = !old.isCompressed && geometry.hasHost(old)
      let keepsReference = isMapped && keepsHost && !full
      let new = full ? .empty : discarded(old, isMapped: isMapped, keepsReference: keepsReference)
      guard new != old else { continue }
      setEntry(slice, index, new, guestCluster: guestCluster, .unlink)
      if keepsReference {
        // Bytes that a snapshot shares stay; QEMU gives those away as well.
        if passesRequestDiscards && old.isCopied { try punchData(old.offsetBits, geometry.clusterSize) }
      } else {
        try freeCluster(of: old, freeClass)
      }
    }
    return count
  }

  /// What a guest's discard makes of an entry.
  private func discarded(_ entry: L2Entry, isMapped: Bool, keepsReference: Bool) -> L2Entry {
    if fallsThrough {
      return L2Entry(descriptor: keepsReference ? entry.descriptor : 0)
    }
    if keepsReference { return zeroed(entry, dropsHost: false) }
    guard isMapped || entry.isCompressed || hasBacking else { return entry }
    // Version 2 has no zero flag; without a backing file an unallocated cluster reads as zeroes.
    guard header.version >= 3 else { return .empty }
    return zeroed(entry, dropsHost: true)
  }
}
