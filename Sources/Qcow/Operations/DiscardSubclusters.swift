// Discards finer than QEMU's: whole subclusters of extended L2 entries lose their data and give their
// bytes back, while their neighbours in the cluster stay as they are.

import QcowFormat
import Storage

extension Image {
  /// What is discarded shows the backing file again, instead of zeroes.
  var fallsThrough: Bool {
    discardGranularity == .subcluster && discardReads == .backing && geometry.hasExtendedL2
  }

  /// Discards the whole subclusters of a range; the last one of the disk counts as whole.
  func discardSubclusters(_ guest: GuestOffset, _ count: UInt64) throws(ImageError) {
    try forAlignedPieces(guest.value, count, alignment: geometry.subclusterSize) {
      (offset, length) throws(ImageError) in
      let isStart = offset & geometry.subclusterMask == 0
      let isWhole = isStart && length & geometry.subclusterMask == 0
      guard isWhole || (isStart && offset + length == geometry.virtualSize) else { return length }
      try discardPiece(offset, offset + length)
      return length
    }
  }

  private func discardPiece(_ start: UInt64, _ end: UInt64) throws(ImageError) {
    // The end of the disk ends its last cluster.
    let wholeEnd = end == geometry.virtualSize ? geometry.roundUp(end) : geometry.roundDown(end)
    let wholeStart = geometry.roundUp(start)
    try collectingDiscards { () throws(ImageError) in
      if wholeStart >= wholeEnd && geometry.roundDown(start) == geometry.roundDown(end - 1) {
        try discardPart(start, end)
      } else {
        if start < wholeStart { try discardPart(start, wholeStart) }
        if wholeStart < wholeEnd {
          try discardClusters(wholeStart, min(wholeEnd, end) - wholeStart, .request)
        }
        if wholeEnd < end { try discardPart(wholeEnd, end) }
      }
      // What shows the backing file next must not read as zeroes after a crash.
      if fallsThrough { try l2Cache.flush() }
    }
  }

  /// Discards subclusters of one cluster, from `start` to `end`.
  ///
  /// The host cluster goes with the last subcluster that held data, or stays, as the policy has it.
  /// Zero bits outside of the range stay.
  private func discardPart(_ start: UInt64, _ end: UInt64) throws(ImageError) {
    let slice = try sliceForWriting(at: GuestOffset(start))
    let old = unsafe entry(slice.memory, slice.index)
    // A stream can only be given up as a whole.
    guard !old.isCompressed else { return }
    if case .invalid = geometry.mapping(of: old, version: header.version) {
      throw invalidEntry(old, slice.table, GuestOffset(start))
    }
    let isMapped = geometry.hasHost(old)
    guard isMapped || hasBacking else { return }
    let first = geometry.subcluster(of: GuestOffset(start)).value
    let last = geometry.subcluster(of: GuestOffset(end - 1)).value
    let bits = SubclusterBitmap.mask(first, last)
    let zero = fallsThrough ? old.bitmap.zero & ~bits : old.bitmap.zero | bits
    var new = old
    new.bitmap = SubclusterBitmap(allocated: old.bitmap.allocated & ~bits, zero: zero)
    guard new != old else { return }
    let heldData = old.bitmap.allocated & bits != 0
    let freesHost = isMapped && heldData && new.bitmap.allocated == 0 && !keepsHost
    if freesHost { new.descriptor = 0 }
    setEntry(slice, slice.index, new, guestCluster: start >> UInt64(geometry.clusterBits), .unlink)
    if freesHost {
      try freeCluster(of: old, .request)
    } else if heldData && passesRequestDiscards && old.isCopied {
      let bytes = unreadable(first...last, new.bitmap)
      try punchData(
        old.offsetBits + UInt64(bytes.lowerBound) << UInt64(geometry.subclusterBits),
        UInt64(bytes.count) << UInt64(geometry.subclusterBits))
    }
  }

  /// All subclusters around some that nobody can read any more. The host gives up whole blocks only, which
  /// may be larger than a subcluster, so that small discards must reach over what earlier ones left.
  private func unreadable(_ range: ClosedRange<Int>, _ bitmap: SubclusterBitmap) -> ClosedRange<Int> {
    var (first, last) = (range.lowerBound, range.upperBound)
    while first > 0, bitmap.allocated >> UInt32(first - 1) & 1 == 0 { first -= 1 }
    while last < geometry.subclustersPerCluster - 1, bitmap.allocated >> UInt32(last + 1) & 1 == 0 {
      last += 1
    }
    return first...last
  }
}
