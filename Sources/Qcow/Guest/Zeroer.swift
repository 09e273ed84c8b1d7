// Zero-writes: mostly a change of entries and bitmaps. Pieces that a change of entries cannot
// express are written as data of zero bytes.

import QcowFormat
import Storage

/// Makes guest bytes read as zeroes; throws as ``GuestWriter``.
struct Zeroer {
  private let writer: GuestWriter

  init(_ writer: GuestWriter) { self.writer = writer }

  private var geometry: Geometry { writer.geometry }
  private var tables: TableWriter { writer.tables }
  private var rules: MappingRules { writer.rules }
  private var l2: L2Tables { writer.l2 }

  /// With `mayUnmap` host clusters may be freed; without, they stay reserved.
  func makeZero(_ guest: GuestOffset, _ count: ByteCount, mayUnmap: Bool) throws(ImageError) {
    // An image opened with discards ignored never unmaps, as QEMU 10 has it; 7.2 still did.
    let mayUnmap = mayUnmap && writer.options.discard == .unmap
    if writer.reader.cipher == nil {
      try zeroRange(guest, count, mayUnmap: mayUnmap)
    } else {
      try writer.zeroSectors(guest, count) { (guest, count) throws(ImageError) in
        try zeroRange(guest, count, mayUnmap: mayUnmap)
      }
    }
  }

  private func zeroRange(_ guest: GuestOffset, _ count: ByteCount, mayUnmap: Bool) throws(ImageError) {
    try GuestPieces.forEach(guest, count, alignment: ByteCount(geometry.subclusterSize)) {
      (guest, length) throws(ImageError) in
      guard try !zeroize(guest, length, mayUnmap: mayUnmap) else { return length }
      let step = min(length, ByteCount(16 << 20))
      try writer.writeZeroBytes(at: guest, step)
      return step
    }
  }

  /// Zeroes a piece by its entries; false if it has to be written as data.
  private func zeroize(
    _ guest: GuestOffset, _ length: ByteCount, mayUnmap: Bool
  ) throws(ImageError) -> Bool {
    let end = guest + length
    let head = guest.value - geometry.roundDownToSubcluster(guest.value)
    let tail =
      end.value == geometry.virtualSize ? 0 : geometry.roundUpToSubcluster(end.value) - end.value
    var start = guest
    var count = length
    if head != 0 || tail != 0 {
      start = GuestOffset(guest.value - head)
      guard try writer.reader.readsAsZero(start, ByteCount(head), looksIntoFiles: true),
        try writer.reader.readsAsZero(end, ByteCount(tail), looksIntoFiles: true)
      else { return false }
      count = ByteCount(geometry.subclusterSize)
      let state = geometry.state(
        of: try l2.entry(at: start), geometry.subcluster(of: start), version: tables.header.version)
      guard state.isUnallocated || state.readsAsZero else { return false }
    }
    return try zeroAlignedPiece(start, count, mayUnmap: mayUnmap)
  }

  /// Zeroes whole subclusters by their entries; false if they have to be written as data.
  func zeroAlignedPiece(
    _ start: GuestOffset, _ count: ByteCount, mayUnmap: Bool
  ) throws(ImageError) -> Bool {
    if tables.header.autoclear.contains(.rawExternalData), l2.hasExternalData {
      try zeroRawFile(start, count, mayUnmap: mayUnmap)
    }
    if tables.header.version < 3 {
      guard !rules.hasBacking else { return false }
      try Discarder(writer).discardClusters(start, count, .request)
      return true
    }
    var isPossible = true
    let discards = writer.allocator.discards
    try discards.collecting { () throws(ImageError) in
      isPossible = try zeroClusters(start, count, mayUnmap: mayUnmap)
      // What fails gives nothing back to the host, not even what it has freed before.
      if !isPossible { discards.forget() }
    }
    return isPossible
  }

  /// The raw file must read the same without the tables.
  private func zeroRawFile(_ guest: GuestOffset, _ count: ByteCount, mayUnmap: Bool) throws(ImageError) {
    let target = try writer.reader.openData()
    let start = guest.value
    let tag = WriteTag(.data, .guestData, table: start, index: count.value)
    do throws(StorageError) {
      if mayUnmap {
        try target.punch(at: start, count: count.value, tag: tag)
      } else {
        try target.writeZeroes(
          at: start, count: min(count.value, target.length - min(start, target.length)), tag: tag)
      }
    } catch { throw ImageError(error) }
  }

  private func zeroClusters(
    _ guest: GuestOffset, _ count: ByteCount, mayUnmap: Bool
  ) throws(ImageError) -> Bool {
    var start = guest.value
    var end = start + count.value
    let head = min(end, geometry.roundUp(start)) - start
    start += head
    let tail = end >= geometry.virtualSize ? 0 : end - max(start, geometry.roundDown(end))
    end -= tail
    if head > 0 {
      guard try zeroSubclusters(guest, ByteCount(head)) else { return false }
    }
    var position = GuestOffset(start)
    var left = ClusterCount(start < end ? geometry.clustersCovering(end - start) : 0)
    while left > 0 {
      let done = try zeroSlice(position, left, mayUnmap: mayUnmap)
      left.value -= done.value
      position = position + geometry.bytes(done)
    }
    if tail > 0 {
      guard try zeroSubclusters(GuestOffset(end), ByteCount(tail)) else { return false }
    }
    return true
  }

  /// Sets zero bits of a part of one cluster; its entry stays as it is. Extended L2 entries only.
  private func zeroSubclusters(_ guest: GuestOffset, _ count: ByteCount) throws(ImageError) -> Bool {
    let slice = try writer.editor.slice(at: guest)
    let old = l2.entry(slice, slice.index)
    guard !old.isCompressed else { return false }
    let first = geometry.subcluster(of: guest).value
    let bits = SubclusterBitmap.mask(first, first + geometry.wholeSubclusters(count.value - 1))
    var new = old
    new.bitmap = SubclusterBitmap(allocated: old.bitmap.allocated & ~bits, zero: old.bitmap.zero | bits)
    if new != old { l2.setEntry(slice, slice.index, new, of: geometry.cluster(of: guest), .unlink) }
    return true
  }

  /// Zeroes whole clusters up to the end of the slice; returns how many.
  private func zeroSlice(
    _ guest: GuestOffset, _ clusters: ClusterCount, mayUnmap: Bool
  ) throws(ImageError) -> ClusterCount {
    let slice = try writer.editor.slice(at: guest)
    let count = min(clusters.value, UInt64(l2.sliceEntries - slice.index))
    let firstCluster = geometry.cluster(of: guest)
    for i in 0..<count {
      let index = slice.index + Int(i)
      let old = l2.entry(slice, index)
      let isMapped = !old.isCompressed && geometry.hasHost(old)
      let unmaps = old.isCompressed || (isMapped && mayUnmap)
      let keepsReference = unmaps && isMapped && rules.keepsHost
      let drops = unmaps && !keepsReference
      let new =
        drops && rules.wrongOrders.contains(.zeroAsNothing) ? .empty : geometry.zeroed(old, dropsHost: drops)
      guard new != old else { continue }
      l2.setEntry(slice, index, new, of: firstCluster + ClusterCount(i), .unlink)
      if keepsReference {
        try writer.punchKept(old)
      } else if unmaps {
        try writer.freeCluster(of: old, .request)
      }
    }
    return ClusterCount(count)
  }
}

extension GuestWriter {
  /// Gives the bytes of a cluster that stays mapped back to the host. Bytes that a snapshot shares stay; QEMU
  /// gives those away as well.
  func punchKept(_ entry: L2Entry) throws(ImageError) {
    guard allocator.discards.passes(.request), entry.isCopied else { return }
    try punchData(HostOffset(entry.offsetBits), ByteCount(geometry.clusterSize))
  }
}

extension Geometry {
  /// The entry that reads as zeroes, with or without its host cluster.
  func zeroed(_ entry: L2Entry, dropsHost: Bool) -> L2Entry {
    if hasExtendedL2 { return L2Entry(descriptor: dropsHost ? 0 : entry.descriptor, bitmap: .allZero) }
    return L2Entry(descriptor: dropsHost ? L2Entry.zeroFlag : entry.descriptor | L2Entry.zeroFlag)
  }
}

/// How a request is cut before its entries are changed.
enum GuestPieces {
  /// Cuts a request into head, aligned middle and tail, and large middles into parts. `body` says how much
  /// of its piece it did. Throws what `body` throws.
  static func forEach(
    _ guest: GuestOffset, _ count: ByteCount, alignment: ByteCount,
    _ body: (_ offset: GuestOffset, _ length: ByteCount) throws(ImageError) -> ByteCount
  ) throws(ImageError) {
    let unit = alignment.value
    let largest = (1 << 31 - 1) / unit * unit
    var offset = guest.value
    var left = count.value
    var head = offset % unit
    let tail = (offset + left) % unit
    while left > 0 {
      var length = left
      if head != 0 {
        length = min(left, unit - head)
      } else if tail != 0 && length > unit {
        length -= tail
      }
      length = min(length, largest)
      let done = try body(GuestOffset(offset), ByteCount(length)).value
      guard done > 0 else { return }
      if head != 0 { head = (head + done) % unit }
      offset += done
      left -= done
    }
  }
}
