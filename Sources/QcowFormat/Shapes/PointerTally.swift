// One pass over a cluster as if it were a table of pointers: how many of its entries each kind of table could
// hold. Nothing is allocated, and bytes that are no table are given up after a few entries.

/// How the words of a cluster fit as entries of each table.
package struct PointerTally: Sendable {
  /// Words that are not zero and were looked at.
  package private(set) var words = 0
  /// Of these: could be entries of an L1 table, a refcount table, a bitmap table.
  package private(set) var l1 = 0
  package private(set) var refcountTable = 0
  package private(set) var bitmapTable = 0
  /// Entries of an L2 table that are not empty, and those that could be some.
  package private(set) var l2Entries = 0
  package private(set) var l2 = 0
  /// L2 entries that map nothing but zeroes, and those of compressed clusters.
  package private(set) var zeroEntries = 0
  package private(set) var compressed = 0
  /// Entries with the COPIED flag.
  package private(set) var copied = 0
  /// Places that follow the one before them, and places that repeat it.
  package private(set) var rising = 0
  package private(set) var repeated = 0
  /// Places in front of the one before them.
  package private(set) var falling = 0
  /// Places in all, the lowest and the highest.
  package private(set) var places = 0
  package private(set) var lowest = UInt64.max
  package private(set) var highest: UInt64 = 0
  /// The bytes were given up as a table.
  package private(set) var isHopeless = false
  private var last: UInt64 = 0

  init() {}

  /// Looks at whole words from the start of `bytes`.
  init(_ bytes: UnsafeRawBufferPointer, _ limits: ShapeLimits) {
    // The words between two looks at whether to go on.
    let step = 512
    var at = 0
    while at < bytes.count {
      let end = min(bytes.count, at + step)
      if limits.geometry.hasExtendedL2 {
        unsafe addExtended(bytes, at..<end, limits)
      } else {
        unsafe addPlain(bytes, at..<end, limits)
      }
      at = end
      let best = max(max(l1, refcountTable), max(bitmapTable, l2))
      if words > 24, best * 2 < min(words, max(1, l2Entries)) {
        isHopeless = true
        return
      }
    }
  }

  private mutating func addPlain(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, _ limits: ShapeLimits)
  {
    var at = range.lowerBound
    while at + 8 <= range.upperBound {
      let word = unsafe UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
      at += 8
      guard word != 0 else { continue }
      addTable(word, limits)
      l2Entries += 1
      addStandard(word, limits)
    }
  }

  private mutating func addExtended(
    _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, _ limits: ShapeLimits
  ) {
    var at = range.lowerBound
    while at + 16 <= range.upperBound {
      let word = unsafe UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
      let bits = unsafe UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: at + 8, as: UInt64.self))
      at += 16
      if word != 0 { addTable(word, limits) }
      if bits != 0 { addTable(bits, limits) }
      guard word | bits != 0 else { continue }
      l2Entries += 1
      addExtendedEntry(word, SubclusterBitmap(raw: bits), limits)
    }
    // A table of an odd number of words; no L2 table is one.
    guard at + 8 <= range.upperBound else { return }
    let word = unsafe UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
    if word != 0 { addTable(word, limits) }
  }

  /// One word as an entry of the tables that have entries of one word whatever the L2 tables have.
  @inline(__always)
  private mutating func addTable(_ word: UInt64, _ limits: ShapeLimits) {
    words += 1
    let offset = word & L1Entry.offsetMask
    if limits.isPlace(offset), word & L1Entry.reservedMask == 0 {
      l1 += 1
      if word & L1Entry.copiedFlag != 0 { copied += 1 } else if word == offset { refcountTable += 1 }
      note(offset, limits)
    }
    if word == 1 || word == offset && limits.isPlace(offset) { bitmapTable += 1 }
  }

  @inline(__always)
  private mutating func note(_ offset: UInt64, _ limits: ShapeLimits) {
    if places > 0 {
      if offset == last {
        repeated += 1
      } else if offset == last &+ limits.geometry.clusterSize {
        rising += 1
      } else if offset < last {
        falling += 1
      }
    }
    last = offset
    places += 1
    lowest = min(lowest, offset)
    highest = max(highest, offset)
  }

  @inline(__always)
  private mutating func addStandard(_ word: UInt64, _ limits: ShapeLimits) {
    if word & L2Entry.compressedFlag != 0 {
      guard limits.isStream(word) else { return }
      l2 += 1
      compressed += 1
      return
    }
    let offset = word & L2Entry.offsetMask
    guard word & L2Entry.reservedMask == 0 else { return }
    if word & L2Entry.zeroFlag != 0 {
      guard limits.version >= 3, offset == 0 ? word == 1 : limits.isDataPlace(offset) else { return }
      zeroEntries += 1
    } else {
      guard limits.isDataPlace(offset) || limits.geometry.hasExternalData && word == L2Entry.copiedFlag else {
        return
      }
    }
    l2 += 1
  }

  @inline(__always)
  private mutating func addExtendedEntry(_ word: UInt64, _ bits: SubclusterBitmap, _ limits: ShapeLimits) {
    if word & L2Entry.compressedFlag != 0 {
      guard bits.raw == 0, limits.isStream(word) else { return }
      l2 += 1
      compressed += 1
      return
    }
    let offset = word & L2Entry.offsetMask
    guard word & (L2Entry.reservedMask | 1) == 0, bits.allocated & bits.zero == 0 else { return }
    if offset == 0 {
      guard word == 0 || limits.geometry.hasExternalData && word == L2Entry.copiedFlag,
        word != 0 || bits.allocated == 0
      else { return }
      zeroEntries += 1
    } else if !limits.isDataPlace(offset) {
      return
    }
    l2 += 1
  }
}

/// What is known of the image that a cluster is part of.
package struct ShapeLimits: Equatable, Sendable {
  /// The sizes of the image.
  package let geometry: Geometry
  /// 2 or 3; version 2 has no zero flag.
  package let version: UInt32
  /// Tables and, without an external data file, data lie below this.
  let end: UInt64
  /// Data lie below this.
  let dataEnd: UInt64

  /// `fileLength` and `dataLength` in bytes; data of an external file whose length is not known may lie anywhere.
  package init(_ geometry: Geometry, version: UInt32 = 3, fileLength: UInt64, dataLength: UInt64? = nil) {
    self.geometry = geometry
    self.version = version
    end = min(fileLength, Geometry.hostOffsetLimit)
    dataEnd = geometry.hasExternalData ? dataLength ?? Geometry.hostOffsetLimit : end
  }

  /// A table may begin there: at a cluster of the file, and not the first.
  @inline(__always)
  package func isPlace(_ offset: UInt64) -> Bool {
    offset & geometry.clusterMask == 0 && offset != 0 && offset < end
  }

  @inline(__always)
  func isDataPlace(_ offset: UInt64) -> Bool {
    offset & geometry.clusterMask == 0 && offset < dataEnd && (offset != 0 || geometry.hasExternalData)
  }

  /// The bytes of one entry of an L2 table can be an entry, empty or not.
  package func canBeL2Entry(_ entry: UnsafeRawBufferPointer) -> Bool {
    let tally = unsafe PointerTally(entry, self)
    return tally.l2 == tally.l2Entries
  }

  /// The word can be the descriptor of a compressed cluster.
  @inline(__always)
  package func isStream(_ word: UInt64) -> Bool {
    guard word & L2Entry.copiedFlag == 0 else { return false }
    let extent = geometry.compressedExtent(of: word)
    return extent.offset.value >= geometry.clusterSize && extent.offset.value < end
      && extent.byteCount <= end - extent.offset.value &+ 512
  }
}
