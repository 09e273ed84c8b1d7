// Zero-writes: mostly a change of entries and bitmaps. Pieces that a change of entries cannot
// express are written as data of zero bytes.

package import QcowFormat
import Storage

extension Image {
  /// Makes guest bytes read as zeroes.
  ///
  /// With `mayUnmap` host clusters may be freed; without, they stay reserved.
  ///
  /// - Throws: ``ImageError`` for a range that does not lie on the disk, an image that may not be written,
  ///   damage, and a host without room.
  package func writeZeroes(at guest: GuestOffset, count: UInt64, mayUnmap: Bool) throws(ImageError) {
    try requireWritable()
    try requireOnDisk(guest, count)
    try guarded { () throws(ImageError) in
      try makeZero(guest, count, mayUnmap: mayUnmap)
      if options.cache == .writethrough { try flush() }
    }
  }

  /// The zero-write without the flush at its end.
  func makeZero(_ guest: GuestOffset, _ count: UInt64, mayUnmap: Bool) throws(ImageError) {
    // An image opened with discards ignored never unmaps, as QEMU 10 has it; 7.2 still did.
    let mayUnmap = mayUnmap && options.discard == .unmap
    if dataCipher == nil {
      try zeroRange(guest.value, count, mayUnmap: mayUnmap)
    } else {
      try zeroSectors(guest.value, count) { (offset, count) throws(ImageError) in
        try zeroRange(offset, count, mayUnmap: mayUnmap)
      }
    }
  }

  private func zeroRange(_ offset: UInt64, _ count: UInt64, mayUnmap: Bool) throws(ImageError) {
    try forAlignedPieces(offset, count, alignment: geometry.subclusterSize) {
      (offset, length) throws(ImageError) in
      guard try !zeroize(offset, length, mayUnmap: mayUnmap) else { return length }
      let step = min(length, 16 << 20)
      let zeroes = [UInt8](repeating: 0, count: Int(step))
      var problem: ImageError?
      unsafe zeroes.withUnsafeBytes { bytes in
        do throws(ImageError) { unsafe try writeData(bytes, at: GuestOffset(offset)) } catch {
          problem = error
        }
      }
      if let problem { throw problem }
      return step
    }
  }

  /// Cuts a request into head, aligned middle and tail, and large middles into parts.
  ///
  /// `body` says how much of its piece it did.
  func forAlignedPieces(
    _ start: UInt64, _ count: UInt64, alignment: UInt64,
    _ body: (_ offset: UInt64, _ length: UInt64) throws(ImageError) -> UInt64
  ) throws(ImageError) {
    let largest = (1 << 31 - 1) / alignment * alignment
    var offset = start
    var left = count
    var head = start % alignment
    let tail = (start + count) % alignment
    while left > 0 {
      var length = left
      if head != 0 {
        length = min(left, alignment - head)
      } else if tail != 0 && length > alignment {
        length -= tail
      }
      length = min(length, largest)
      let done = try body(offset, length)
      guard done > 0 else { return }
      if head != 0 { head = (head + done) % alignment }
      offset += done
      left -= done
    }
  }

  /// Zeroes a piece by its entries; false if it has to be written as data.
  private func zeroize(_ offset: UInt64, _ length: UInt64, mayUnmap: Bool) throws(ImageError) -> Bool {
    let mask = geometry.subclusterMask
    let end = offset + length
    let head = offset & mask
    let tail = end == geometry.virtualSize ? 0 : ((end + mask) & ~mask) - end
    var start = offset
    var count = length
    if head != 0 || tail != 0 {
      guard try readsAsZero(offset - head, head), try readsAsZero(end, tail) else { return false }
      start -= head
      count = geometry.subclusterSize
      let state = geometry.state(
        of: try l2Entry(at: GuestOffset(start)), geometry.subcluster(of: GuestOffset(start)),
        version: header.version)
      guard state.isUnallocated || state.readsAsZero else { return false }
    }
    return try zeroAlignedPiece(start, count, mayUnmap: mayUnmap)
  }

  /// Zeroes whole subclusters by their entries; false if they have to be written as data.
  func zeroAlignedPiece(_ start: UInt64, _ count: UInt64, mayUnmap: Bool) throws(ImageError) -> Bool {
    if header.autoclear.contains(.rawExternalData), hasExternalData {
      // The raw file must read the same without the tables.
      let target = try openData()
      let tag = WriteTag(.data, .guestData, table: start, index: count)
      try io { () throws(StorageError) in
        if mayUnmap {
          try target.punch(at: start, count: count, tag: tag)
        } else {
          try target.writeZeroes(
            at: start, count: min(count, target.length - min(start, target.length)), tag: tag)
        }
      }
    }
    if header.version < 3 {
      guard !hasBacking else { return false }
      try discardClusters(start, count, .request)
      return true
    }
    var isPossible = true
    try collectingDiscards { () throws(ImageError) in
      isPossible = try zeroClusters(start, count, mayUnmap: mayUnmap)
      // What fails gives nothing back to the host, not even what it has freed before.
      if !isPossible { discardQueue = [] }
    }
    return isPossible
  }

  private func zeroClusters(_ offset: UInt64, _ count: UInt64, mayUnmap: Bool) throws(ImageError) -> Bool {
    var start = offset
    var end = offset + count
    let head = min(end, geometry.roundUp(start)) - start
    start += head
    let tail = end >= geometry.virtualSize ? 0 : end - max(start, geometry.roundDown(end))
    end -= tail
    if head > 0 {
      guard try zeroSubclusters(start - head, head) else { return false }
    }
    var left = start < end ? geometry.clustersCovering(end - start) : 0
    while left > 0 {
      let done = try zeroSlice(start, left, mayUnmap: mayUnmap)
      left -= done
      start += done << UInt64(geometry.clusterBits)
    }
    if tail > 0 {
      guard try zeroSubclusters(end, tail) else { return false }
    }
    return true
  }

  /// Sets zero bits of a part of one cluster; its entry stays as it is. Extended L2 entries only.
  private func zeroSubclusters(_ offset: UInt64, _ count: UInt64) throws(ImageError) -> Bool {
    let slice = try sliceForWriting(at: GuestOffset(offset))
    let old = unsafe entry(slice.memory, slice.index)
    guard !old.isCompressed else { return false }
    let first = geometry.subcluster(of: GuestOffset(offset)).value
    let bits = SubclusterBitmap.mask(first, first + Int((count - 1) >> UInt64(geometry.subclusterBits)))
    var new = old
    new.bitmap = SubclusterBitmap(allocated: old.bitmap.allocated & ~bits, zero: old.bitmap.zero | bits)
    if new != old {
      setEntry(slice, slice.index, new, guestCluster: offset >> UInt64(geometry.clusterBits), .unlink)
    }
    return true
  }

  /// Zeroes whole clusters up to the end of the slice; returns how many.
  private func zeroSlice(_ offset: UInt64, _ clusters: UInt64, mayUnmap: Bool) throws(ImageError) -> UInt64 {
    let slice = try sliceForWriting(at: GuestOffset(offset))
    let count = min(clusters, UInt64(sliceEntries - slice.index))
    for i in 0..<count {
      let index = slice.index + Int(i)
      let guest = offset + i << UInt64(geometry.clusterBits)
      let old = unsafe entry(slice.memory, index)
      let isMapped = !old.isCompressed && geometry.hasHost(old)
      let unmaps = old.isCompressed || (isMapped && mayUnmap)
      let keepsReference = unmaps && isMapped && keepsHost
      let new = zeroed(old, dropsHost: unmaps && !keepsReference)
      guard new != old else { continue }
      setEntry(slice, index, new, guestCluster: guest >> UInt64(geometry.clusterBits), .unlink)
      if keepsReference {
        // Bytes that a snapshot shares stay; QEMU gives those away as well.
        if passesRequestDiscards && old.isCopied { try punchData(old.offsetBits, geometry.clusterSize) }
      } else if unmaps {
        try freeCluster(of: old, .request)
      }
    }
    return count
  }

  /// The entry that reads as zeroes, with or without its host cluster.
  func zeroed(_ entry: L2Entry, dropsHost: Bool) -> L2Entry {
    if geometry.hasExtendedL2 {
      return L2Entry(descriptor: dropsHost ? 0 : entry.descriptor, bitmap: .allZero)
    }
    return L2Entry(descriptor: dropsHost ? L2Entry.zeroFlag : entry.descriptor | L2Entry.zeroFlag)
  }
}
