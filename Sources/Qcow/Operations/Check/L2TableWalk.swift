// The entries of one L2 table. Nearly all are plain and lie in rows, guest and host alike, and are
// counted as rows; everything else is examined one by one.

import QcowFormat

/// Goes over the entries of one L2 table and hands what they map to a visitor.
struct L2TableWalk<Visitor: ReferenceVisitor> {
  private let image: CheckedImage
  private let geometry: Geometry
  private let visitor: Visitor
  private let table: HostOffset
  private let l1Index: Int
  private let snapshot: Int?
  /// What the entries of a table of the active disk add up to so far.
  private(set) var facts = TableFacts()
  /// The table has other bytes in the file now.
  private(set) var hasMended = false

  /// `table` is where the table lies, `l1Index` the L1 entry that names it; snapshots by their index.
  init(_ image: CheckedImage, _ visitor: Visitor, _ table: HostOffset, l1Index: Int, snapshot: Int?) {
    self.image = image
    geometry = image.geometry
    self.visitor = visitor
    self.table = table
    self.l1Index = l1Index
    self.snapshot = snapshot
  }

  private var isActive: Bool { snapshot == nil }

  /// Counts what the entries of a table map. Throws what the visitor throws.
  @inline(__always)
  mutating func run(_ bytes: UnsafeRawBufferPointer, isExtended: Bool) throws(CheckStop) {
    let step = isExtended ? 2 : 1
    let words = bytes.count >> 3
    let clusterSize = geometry.clusterSize
    let hasDataFile = image.hasDataFile
    let fileEnd = image.fileEnd.value
    let hostClusters = hasDataFile ? geometry.hostClusterLimit : image.fileClusters.value
    let (isActive, snapshot, l1Index) = (isActive, snapshot, l1Index)
    guard
      let entries = unsafe PlainEntries(
        bytes, isExtended: isExtended, geometry, end: image.fileEnd)
    else { return }
    var index = 0
    while index < words {
      // In a data file nothing is counted.
      if !hasDataFile {
        index = visitor.claimScattered(
          entries, from: index, isActive: isActive, isExtended: isExtended, &facts)
        guard index < words else { break }
      }
      let raw = unsafe CheckReader.word(bytes, index)
      let bitmap = isExtended ? unsafe CheckReader.word(bytes, index + 1) : 0
      if raw == 0 && bitmap == 0 {
        index += step
        continue
      }
      let offset = raw & L2Entry.offsetMask
      guard raw & entries.special == 0, offset != 0, hasDataFile || offset < fileEnd,
        !isExtended || bitmap >> 32 & bitmap == 0
      else {
        try examine(L2Entry(descriptor: raw, bitmap: SubclusterBitmap(raw: bitmap)), index / step)
        index += step
        continue
      }
      // A row ends with the file, or with the offsets, at the latest.
      let first = geometry.cluster(of: HostOffset(offset))
      let limit = min(words, index + Int(min(UInt64(words), hostClusters - first.value)) * step)
      var expected = raw &+ clusterSize
      var end = index + step
      while end &+ step <= limit, entries[end] == expected {
        if isExtended {
          let bitmap = entries[end &+ 1]
          guard bitmap >> 32 & bitmap == 0 else { break }
        }
        expected &+= clusterSize
        end &+= step
      }
      let count = ClusterCount(UInt64((end - index) / step))
      let l2Index = index / step
      if isActive {
        if hasDataFile {
          facts.odd.checkDataFile(
            HostOffset(offset), geometry.guestOffset(l1Index: l1Index, l2Index: l2Index), count)
        }
        facts.tally.addRow(
          at: HostOffset(offset), count: count, end: HostOffset(expected & ~L2Entry.copiedFlag))
      }
      if !hasDataFile {
        try visitor.claim(first, count, isActive ? .exclusive : .snapshot, nil) { number in
          .l2Entry(l1Index: l1Index, l2Index: l2Index + Int(number.value), snapshot: snapshot)
        }
      }
      if isActive && !facts.isSuspect {
        facts.isSuspect = !visitor.isCopiedRight(raw & L2Entry.copiedFlag != 0, first..<first + count)
      }
      index = end
    }
  }

  // MARK: Entries that are not plain

  private func owner(_ index: Int) -> CheckOwner {
    .l2Entry(l1Index: l1Index, l2Index: index, snapshot: snapshot)
  }

  private func finding(_ kind: CheckFinding.Kind, _ index: Int) -> CheckFinding {
    CheckFinding(
      kind, at: table + ByteCount(index * geometry.l2EntrySize), owner(index),
      guest: geometry.guestRange(l1Index: l1Index, l2Index: index))
  }

  private func tell(_ kind: CheckFinding.Kind, _ index: Int) throws(CheckStop) {
    try visitor.tell(finding(kind, index))
  }

  /// Tells what is wrong with an entry that is not plain, and counts what it maps.
  private mutating func examine(_ entry: L2Entry, _ index: Int) throws(CheckStop) {
    if entry.isCompressed { return try examineCompressed(entry, index) }
    let raw = entry.descriptor
    if raw & L2Entry.reservedMask != 0 { try tell(.l2ReservedBits(entry: raw), index) }
    let host = HostOffset(entry.offsetBits)
    let start = geometry.guestOffset(l1Index: l1Index, l2Index: index)
    let isZero = raw & L2Entry.zeroFlag != 0 && !geometry.hasExtendedL2
    if isActive && raw & L2Entry.zeroFlag != 0 && (image.header.version < 3 || geometry.hasExtendedL2) {
      facts.odd.flags.add(start)
    }
    // With an external data file, COPIED tells the cluster at offset 0 from an unallocated one.
    let hasCluster = host.value != 0 || image.hasDataFile && !isZero && entry.isCopied
    let allocated = entry.bitmap.allocated
    guard hasCluster else {
      if !isZero && allocated != 0 { try tell(.bitmapWithoutCluster, index) }
      return
    }
    if entry.bitmap.zero & allocated != 0 { try tell(.conflictingBitmap(offset: host.value), index) }
    if !geometry.isAligned(host.value) {
      let holdsData = geometry.hasExtendedL2 ? allocated != 0 : !isZero
      let kind = CheckFinding.Kind.clusterUnaligned(offset: host.value, holdsData: holdsData)
      // The entry only reads as zeroes and can do without its cluster.
      if !holdsData && visitor.mend(finding(kind, index)) {
        hasMended = true
        return
      }
      try tell(kind, index)
    }
    if isActive {
      if image.hasDataFile { facts.odd.checkDataFile(host, start, 1) }
      facts.tally.addRow(at: host, count: 1, end: host + geometry.clusterSize)
    }
    if !image.hasDataFile {
      let owner = owner(index)
      try visitor.reference(
        host, image.clusterBytes, isActive ? .exclusive : .snapshot, in: image,
        guest: start..<start + geometry.clusterSize
      ) { _ in owner }
    }
    if isActive && !facts.isSuspect {
      let cluster = geometry.cluster(of: host)
      facts.isSuspect = !visitor.isCopiedRight(entry.isCopied, cluster..<cluster + 1)
    }
  }

  private mutating func examineCompressed(_ entry: L2Entry, _ index: Int) throws(CheckStop) {
    let raw = entry.descriptor & ~L2Entry.copiedFlag
    let extent = geometry.compressedExtent(of: raw)
    if entry.isCopied { try tell(.compressedCopied(offset: extent.offset.value), index) }
    if image.hasDataFile { return try tell(.compressedWithDataFile(index: index, entry: raw), index) }
    if entry.bitmap.raw != 0 { return try tell(.compressedWithBitmap(index: index, entry: raw), index) }
    let owner = owner(index)
    try visitor.reference(
      extent.offset, ByteCount(extent.byteCount), isActive ? .compressed : .snapshot, in: image,
      guest: geometry.guestRange(l1Index: l1Index, l2Index: index)
    ) { _ in owner }
    if isActive { facts.tally.addCompressed() }
  }
}
