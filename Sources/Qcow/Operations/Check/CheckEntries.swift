// The entries of one L2 table. Nearly all are plain and lie in rows, guest and host alike, and are
// counted as rows; everything else is examined one by one.

import QcowFormat

extension ImageCheck {
  /// Where an entry stands, and what the table's entries so far add up to.
  private struct Position {
    var table: UInt64
    var l1Index: Int
    var snapshot: Int?
    var tally = AllocationTally()
    /// A COPIED flag may be wrong.
    var isSuspect = false
  }

  /// Counts what the entries of a table map.
  @inline(__always)
  func countEntries(
    _ bytes: UnsafeRawBufferPointer, isExtended: Bool, _ table: UInt64, _ l1Index: Int, _ snapshot: Int?
  ) throws(CheckStop) {
    var position = Position(table: table, l1Index: l1Index, snapshot: snapshot)
    let step = isExtended ? 2 : 1
    let words = bytes.count >> 3
    let clusterSize = geometry.clusterSize
    // Bits that no plain entry has: flags but COPIED, reserved bits, and offset bits in a cluster.
    let special = ~(L2Entry.copiedFlag | L2Entry.offsetMask & ~geometry.clusterMask)
    let isActive = snapshot == nil
    let seeks = !sought.isEmpty
    var index = 0
    while index < words {
      let raw = unsafe CheckReader.word(bytes, index)
      let bitmap = isExtended ? unsafe CheckReader.word(bytes, index + 1) : 0
      if raw == 0 && bitmap == 0 {
        index += step
        continue
      }
      let offset = raw & L2Entry.offsetMask
      guard raw & special == 0, offset != 0, hasDataFile || offset < fileLength,
        !isExtended || bitmap >> 32 & bitmap == 0
      else {
        try examine(raw, bitmap, index / step, &position)
        index += step
        continue
      }
      // A row ends with the file, or with the offsets, at the latest.
      let first = geometry.wholeClusters(offset)
      let room = (hasDataFile ? geometry.hostClusterLimit : fileClusters) - first
      let limit = index + Int(min(UInt64(words), room)) * step
      var expected = raw &+ clusterSize
      var end = index + step
      while end < words, end < limit, unsafe CheckReader.word(bytes, end) == expected {
        if isExtended {
          let bitmap = unsafe CheckReader.word(bytes, end + 1)
          guard bitmap >> 32 & bitmap == 0 else { break }
        }
        expected &+= clusterSize
        end += step
      }
      let count = UInt64((end - index) / step)
      if isActive {
        if hasDataFile {
          odd.checkDataFile(
            offset, geometry.guestOffset(l1Index: l1Index, l2Index: index / step).value, count)
        }
        position.tally.addRow(at: offset, count: count, end: expected & ~L2Entry.copiedFlag)
      }
      if !hasDataFile {
        let l2Index = index / step
        try claim(first, count, isActive ? .exclusive : .snapshot, nil) { number in
          .l2Entry(l1Index: l1Index, l2Index: l2Index + Int(number), snapshot: snapshot)
        }
      }
      if isActive && !position.isSuspect {
        position.isSuspect = !isCopiedRight(raw & L2Entry.copiedFlag != 0, first..<first + count)
      }
      index = end
    }
    guard isActive, !seeks else { return }
    result.allocatedClusters += position.tally.allocated
    result.fragmentedClusters += position.tally.fragmented
    result.compressedClusters += position.tally.compressed
    if position.isSuspect && suspects.indices.contains(l1Index) { suspects[l1Index] = true }
  }

  /// True if COPIED flags of clusters in a row are certainly right.
  @inline(__always)
  private func isCopiedRight(_ isCopied: Bool, _ clusters: Range<UInt64>) -> Bool {
    if hasDataFile { return isCopied }
    return (isCopied ? refcounts.areAllOne(clusters) : refcounts.isNoneOne(clusters)) ?? false
  }

  /// Tells what is wrong with an entry that is not plain, and counts what it maps.
  private func examine(
    _ raw: UInt64, _ bitmap: UInt64, _ index: Int, _ position: inout Position
  ) throws(CheckStop) {
    let place = position.table &+ UInt64(index * geometry.l2EntrySize)
    let owner = CheckOwner.l2Entry(l1Index: position.l1Index, l2Index: index, snapshot: position.snapshot)
    let start = geometry.guestOffset(l1Index: position.l1Index, l2Index: index).value
    let guest = start..<start &+ geometry.clusterSize
    let isActive = position.snapshot == nil
    func tell(_ kind: CheckFinding.Kind) throws(CheckStop) {
      try self.tell(CheckFinding(kind, at: place, owner, guest: guest))
    }
    if raw & L2Entry.compressedFlag != 0 {
      return try examineCompressed(raw, bitmap, index, &position, guest, tell)
    }
    if raw & L2Entry.reservedMask != 0 { try tell(.l2ReservedBits(entry: raw)) }
    let offset = raw & L2Entry.offsetMask
    let isZero = raw & L2Entry.zeroFlag != 0 && !geometry.hasExtendedL2
    if isActive && raw & L2Entry.zeroFlag != 0 && (header.version < 3 || geometry.hasExtendedL2) {
      odd.flags.add(start)
    }
    // With an external data file, COPIED tells the cluster at offset 0 from an unallocated one.
    let hasCluster = offset != 0 || hasDataFile && !isZero && raw & L2Entry.copiedFlag != 0
    guard hasCluster else {
      if !isZero && bitmap & 0xffff_ffff != 0 { try tell(.bitmapWithoutCluster) }
      return
    }
    if bitmap >> 32 & bitmap & 0xffff_ffff != 0 { try tell(.conflictingBitmap(offset: offset)) }
    if !geometry.isAligned(offset) {
      let holdsData = geometry.hasExtendedL2 ? bitmap & 0xffff_ffff != 0 : !isZero
      try tell(.clusterUnaligned(offset: offset, holdsData: holdsData))
    }
    if isActive {
      if hasDataFile { odd.checkDataFile(offset, start, 1) }
      position.tally.addRow(at: offset, count: 1, end: offset + geometry.clusterSize)
    }
    if !hasDataFile {
      try reference(offset, geometry.clusterSize, isActive ? .exclusive : .snapshot, guest) { _ in owner }
    }
    if isActive && !position.isSuspect {
      let cluster = geometry.wholeClusters(offset)
      position.isSuspect = !isCopiedRight(raw & L2Entry.copiedFlag != 0, cluster..<cluster + 1)
    }
  }

  private func examineCompressed(
    _ raw: UInt64, _ bitmap: UInt64, _ index: Int, _ position: inout Position, _ guest: Range<UInt64>,
    _ tell: (CheckFinding.Kind) throws(CheckStop) -> Void
  ) throws(CheckStop) {
    let entry = raw & ~L2Entry.copiedFlag
    let extent = geometry.compressedExtent(of: entry)
    if raw & L2Entry.copiedFlag != 0 { try tell(.compressedCopied(offset: extent.offset.value)) }
    if hasDataFile { return try tell(.compressedWithDataFile(index: index, entry: entry)) }
    if bitmap != 0 { return try tell(.compressedWithBitmap(index: index, entry: entry)) }
    let snapshot = position.snapshot
    let l1Index = position.l1Index
    try reference(
      extent.offset.value, extent.byteCount, snapshot == nil ? .compressed : .snapshot, guest
    ) { _ in .l2Entry(l1Index: l1Index, l2Index: index, snapshot: snapshot) }
    guard snapshot == nil else { return }
    position.tally.addCompressed()
  }
}
