// Counting references: header, active L1 table with its L2 tables and data, snapshots with theirs,
// snapshot table, refcount table, encryption header, bitmaps, refcount blocks, in this order.

import Glibc
import QcowFormat

extension ImageCheck {
  /// Whether a cluster with an owner may have another one.
  enum Sharing {
    case exclusive
    /// Compressed clusters share host clusters with each other.
    case compressed
    /// Snapshots share with the active disk and with each other.
    case snapshot
  }

  func countReferences() throws(CheckStop) {
    let size = geometry.clusterSize
    try reference(0, size, .exclusive, nil) { _ in .header }
    try countTree(header.l1TableOffset, UInt64(header.l1Size), snapshot: nil)
    if hasDataFile && header.snapshotCount > 0 {
      try tell(CheckFinding(.snapshotsWithDataFile(count: snapshots.count), at: 60, .header))
    }
    for (index, snapshot) in snapshots.enumerated() {
      let owner = CheckOwner.snapshotEntry(index)
      if !geometry.isAligned(snapshot.l1TableOffset) {
        try tell(CheckFinding(.snapshotL1Unaligned(snapshot), at: nil, owner))
      } else if snapshot.l1Size > 1 << 22 {
        try tell(CheckFinding(.snapshotL1TooLarge(snapshot), at: nil, owner))
      } else {
        try countTree(snapshot.l1TableOffset, UInt64(snapshot.l1Size), snapshot: index)
      }
    }
    try reference(header.snapshotsOffset, snapshotTableSize, .exclusive, nil) { _ in .snapshotTable }
    try reference(
      header.refcountTableOffset, geometry.byteCount(ofClusters: UInt64(header.refcountTableClusters)),
      .exclusive, nil
    ) { _ in .refcountTable }
    if let encryption = opened.extensions.encryption {
      try reference(encryption.offset, encryption.length, .exclusive, nil) { _ in .encryptionHeader }
    }
    try countBitmaps()
    try countRefcountBlocks()
  }

  /// Counts an L1 table, its L2 tables and what they map.
  private func countTree(_ offset: UInt64, _ count: UInt64, snapshot: Int?) throws(CheckStop) {
    guard count > 0 else { return }
    try reference(offset, count * 8, .exclusive, nil) { _ in .l1Table(snapshot: snapshot) }
    guard let snapshot else {
      for (index, raw) in opened.l1.enumerated() where raw != 0 {
        try countTable(raw, at: offset + UInt64(index) * 8, index, nil)
      }
      return
    }
    let piece: UInt64 = 1 << 13
    for start in stride(from: 0, to: count, by: Int(piece)) {
      let words: [UInt64]
      do throws(CheckStop) {
        let bytes = try unsafe reader.bytes(at: offset + start * 8, count: Int(min(piece, count - start)) * 8)
        words = (0..<bytes.count >> 3).map { unsafe CheckReader.word(bytes, $0) }
      } catch {
        try tell(CheckFinding(.l1Unreadable, at: offset, .l1Table(snapshot: snapshot)))
        throw error
      }
      for (index, raw) in words.enumerated() where raw != 0 {
        let index = Int(start) + index
        try countTable(raw, at: offset + UInt64(index) * 8, index, snapshot)
      }
    }
  }

  /// Counts the L2 table of an L1 entry and what it maps.
  private func countTable(_ raw: UInt64, at place: UInt64, _ index: Int, _ snapshot: Int?) throws(CheckStop) {
    let owner = CheckOwner.l1Entry(index, snapshot: snapshot)
    let guest = guestRange(of: owner)
    if L1Entry(raw: raw).reservedBits != 0 {
      try tell(CheckFinding(.l1ReservedBits(entry: raw), at: place, owner, guest: guest))
    }
    let table = raw & L1Entry.offsetMask
    try reference(table, geometry.clusterSize, snapshot == nil ? .exclusive : .snapshot, guest) { _ in
      .l2Table(l1Index: index, snapshot: snapshot)
    }
    if !geometry.isAligned(table) {
      try tell(CheckFinding(.l2TableUnaligned(offset: table), at: place, owner, guest: guest))
    }
    // Behind the end of the file are zeroes.
    guard table < fileLength else { return }
    try work.take(geometry.clusterSize)
    let bytes: UnsafeRawBufferPointer
    do throws(CheckStop) {
      unsafe bytes = try reader.bytes(at: table, count: Int(geometry.clusterSize))
    } catch {
      let l2 = CheckOwner.l2Table(l1Index: index, snapshot: snapshot)
      try tell(CheckFinding(.l2Unreadable, at: table, l2, guest: guest))
      throw error
    }
    if geometry.hasExtendedL2 {
      try unsafe countEntries(bytes, isExtended: true, table, index, snapshot)
    } else {
      try unsafe countEntries(bytes, isExtended: false, table, index, snapshot)
    }
  }

  private func countRefcountBlocks() throws(CheckStop) {
    for (index, raw) in opened.refcountTable.enumerated() where raw != 0 {
      let entry = RefcountTableEntry(raw: raw)
      let place = header.refcountTableOffset + UInt64(index) * 8
      let owner = CheckOwner.refcountTableEntry(index)
      guard entry.reservedBits == 0 else {
        try tell(CheckFinding(.refcountBlockReservedBits(index: index), at: place, owner))
        continue
      }
      guard let block = entry.block?.value else { continue }
      guard geometry.isAligned(block) else {
        try tell(CheckFinding(.refcountBlockUnaligned(index: index), at: place, owner))
        continue
      }
      let cluster = geometry.wholeClusters(block)
      guard cluster < countedClusters else {
        try tell(CheckFinding(.refcountBlockOutside(index: index), at: place, owner))
        continue
      }
      try reference(block, geometry.clusterSize, .exclusive, nil) { _ in .refcountBlock(index) }
      let references = tally.count(of: cluster)
      if references != 1 {
        try tell(
          CheckFinding(.refcountBlockShared(index: index, references: references), at: place, owner))
      }
    }
  }

  // MARK: Regions

  /// Counts one reference to every cluster that a region touches.
  ///
  /// `owner` is only asked when there is something to tell, with the number of the cluster in the region.
  func reference(
    _ offset: UInt64, _ size: UInt64, _ sharing: Sharing, _ guest: Range<UInt64>?,
    _ owner: (UInt64) -> CheckOwner
  ) throws(CheckStop) {
    // Both may be anything; the sums are those of 64-bit integers with a sign.
    let bytes = Int64(bitPattern: size)
    guard bytes > 0 else { return }
    let end = Int64(bitPattern: offset) &+ bytes
    if end &- Int64(fileLength) >= Int64(geometry.clusterSize) {
      noteBeyondEnd(offset, size, owner(0), guest)
      try tell(CheckFinding(.beyondEnd(offset: offset, size: size), at: nil, owner(0), guest: guest))
      return
    }
    let first = geometry.wholeClusters(offset)
    let last = geometry.wholeClusters(UInt64(bitPattern: end &- 1))
    guard first <= last else { return }
    // The region may touch one cluster behind the end; far away there is no memory for it.
    guard last <= fileClusters else {
      result.checkErrors += 1
      throw CheckStop(ENOMEM)
    }
    countedClusters = max(countedClusters, last + 1)
    try claim(first, last - first + 1, sharing, guest, owner)
  }

  /// Counts one reference to each of `count` clusters, which may be counted.
  @inline(__always)
  func claim(
    _ first: UInt64, _ count: UInt64, _ sharing: Sharing, _ guest: Range<UInt64>?,
    _ owner: (UInt64) -> CheckOwner
  ) throws(CheckStop) {
    guard sought.isEmpty else { return note(first, count, owner) }
    var wasOwned = false
    var at = first
    let end = first + count
    while true {
      at += try tally.add(at, end - at, wasOwned: &wasOwned)
      guard at < end else { break }
      try tell(
        CheckFinding(
          .tooManyReferences(offset: geometry.byteCount(ofClusters: at)),
          at: geometry.byteCount(ofClusters: at), owner(at - first),
          guest: guest ?? guestRange(of: owner(at - first))))
      at += 1
    }
    // Once there are more than can be named, nothing is to be learned from another one.
    if overlaps.isComplete && (wasOwned && sharing == .exclusive || sharing == .compressed) {
      try judge(first, count, sharing)
    }
  }

  /// Remembers clusters that have got an owner that must not share them.
  private func judge(_ first: UInt64, _ count: UInt64, _ sharing: Sharing) throws(CheckStop) {
    if sharing == .compressed {
      let compressed =
        compressedTally
        ?? HostTally(clusters: min(fileClusters, UInt64(Int32.max)) + 1, maximum: .max, memory: memory)
      compressedTally = compressed
      var ignored = false
      _ = try compressed.add(first, count, wasOwned: &ignored)
      for cluster in first..<first + count where tally.count(of: cluster) > compressed.count(of: cluster) {
        overlaps.add(cluster)
      }
    } else {
      for cluster in first..<first + count where tally.count(of: cluster) > 1 { overlaps.add(cluster) }
    }
  }

  /// Remembers the owner of sought clusters.
  private func note(_ first: UInt64, _ count: UInt64, _ owner: (UInt64) -> CheckOwner) {
    var low = 0
    var high = sought.count
    while low < high {
      let middle = (low + high) / 2
      if sought[middle] < first { low = middle + 1 } else { high = middle }
    }
    while low < sought.count, sought[low] < first + count {
      // A handful says enough.
      if found[sought[low], default: []].count < 8 {
        found[sought[low], default: []].append(owner(sought[low] - first))
      }
      low += 1
    }
  }
}
