// All references of an image: header, active L1 table with its L2 tables and data, snapshots with theirs,
// snapshot table, refcount table, encryption header, bitmaps, refcount blocks, in the order of the genuine check.

import Glibc
import QcowFormat
import Storage

/// Goes over all references of an image and hands each to a visitor.
struct ReferenceWalk<Visitor: ReferenceVisitor> {
  let image: CheckedImage
  let snapshots: SnapshotTable
  let bitmaps: [BitmapDirectoryEntry]
  let reader: CheckReader
  let visitor: Visitor

  private var geometry: Geometry { image.geometry }

  /// Throws if a table cannot be read, and what the visitor throws.
  func run() throws(CheckStop) {
    let header = image.header
    try reference(HostOffset(0), image.clusterBytes) { _ in .header }
    try walkTree(HostOffset(header.l1TableOffset), Int(header.l1Size), snapshot: nil)
    if image.hasDataFile && header.snapshotCount > 0 {
      try visitor.tell(
        CheckFinding(.snapshotsWithDataFile(count: snapshots.entries.count), at: HostOffset(60), .header))
    }
    for (index, snapshot) in snapshots.entries.enumerated() {
      let owner = CheckOwner.snapshotEntry(index)
      if !geometry.isAligned(snapshot.l1TableOffset) {
        try visitor.tell(CheckFinding(.snapshotL1Unaligned(snapshot), owner))
      } else if snapshot.l1Size > 1 << 22 {
        try visitor.tell(CheckFinding(.snapshotL1TooLarge(snapshot), owner))
      } else {
        try walkTree(HostOffset(snapshot.l1TableOffset), Int(snapshot.l1Size), snapshot: index)
      }
    }
    try reference(HostOffset(header.snapshotsOffset), snapshots.size) { _ in .snapshotTable }
    try reference(
      HostOffset(header.refcountTableOffset),
      geometry.bytes(ClusterCount(UInt64(header.refcountTableClusters)))
    ) { _ in .refcountTable }
    if let encryption = image.opened.extensions.encryption {
      try reference(HostOffset(encryption.offset), ByteCount(encryption.length)) { _ in .encryptionHeader }
    }
    try walkBitmaps()
    try walkRefcountBlocks()
  }

  private func reference(
    _ offset: HostOffset, _ size: ByteCount, _ owner: (ClusterCount) -> CheckOwner
  ) throws(CheckStop) {
    try visitor.reference(offset, size, in: image, owner)
  }

  // MARK: Mapping tables

  /// An L1 table, its L2 tables and what they map.
  private func walkTree(_ offset: HostOffset, _ count: Int, snapshot: Int?) throws(CheckStop) {
    guard count > 0 else { return }
    try reference(offset, ByteCount(count * 8)) { _ in .l1Table(snapshot: snapshot) }
    guard let snapshot else {
      for (index, raw) in image.opened.l1.enumerated() where raw != 0 {
        try walkTable(L1Entry(raw: raw), at: offset + ByteCount(index * 8), index, nil)
      }
      return
    }
    let piece = 1 << 13
    for start in stride(from: 0, to: count, by: piece) {
      let words: [UInt64]
      do throws(CheckStop) {
        let bytes = try unsafe reader.bytes(
          at: offset + ByteCount(start * 8), count: min(piece, count - start) * 8)
        words = (0..<bytes.count >> 3).map { unsafe CheckReader.word(bytes, $0) }
      } catch {
        try visitor.tell(CheckFinding(.l1Unreadable, at: offset, .l1Table(snapshot: snapshot)))
        throw error
      }
      for (number, raw) in words.enumerated() where raw != 0 {
        let index = start + number
        try walkTable(L1Entry(raw: raw), at: offset + ByteCount(index * 8), index, snapshot)
      }
    }
  }

  /// The L2 table of an L1 entry and what it maps.
  private func walkTable(
    _ entry: L1Entry, at place: HostOffset, _ index: Int, _ snapshot: Int?
  ) throws(CheckStop) {
    let owner = CheckOwner.l1Entry(index, snapshot: snapshot)
    let guest = owner.guestRange(geometry)
    if entry.reservedBits != 0 {
      try visitor.tell(CheckFinding(.l1ReservedBits(entry: entry.raw), at: place, owner, guest: guest))
    }
    // An entry with flags alone names the first cluster.
    let table = entry.table ?? HostOffset(0)
    try visitor.reference(
      table, image.clusterBytes, snapshot == nil ? .exclusive : .snapshot, in: image, guest: guest
    ) { _ in .l2Table(l1Index: index, snapshot: snapshot) }
    if !geometry.isAligned(table.value) {
      try visitor.tell(CheckFinding(.l2TableUnaligned(offset: table.value), at: place, owner, guest: guest))
    }
    // Behind the end of the file are zeroes.
    guard table < image.fileEnd else { return }
    try reader.work.take(image.clusterBytes)
    let bytes: UnsafeRawBufferPointer
    do throws(CheckStop) {
      unsafe bytes = try reader.bytes(at: table, count: Int(geometry.clusterSize))
    } catch {
      let l2 = CheckOwner.l2Table(l1Index: index, snapshot: snapshot)
      try visitor.tell(CheckFinding(.l2Unreadable, at: table, l2, guest: guest))
      throw error
    }
    var walk = L2TableWalk(image, visitor, table, l1Index: index, snapshot: snapshot)
    if geometry.hasExtendedL2 {
      try unsafe walk.run(bytes, isExtended: true)
    } else {
      try unsafe walk.run(bytes, isExtended: false)
    }
    if walk.hasMended { reader.forget() }
    if snapshot == nil { visitor.finishTable(l1Index: index, walk.facts) }
  }

  // MARK: Bitmaps and refcount blocks

  /// Directory, tables and data. The directory must be sound for the image to open at all, as with QEMU.
  private func walkBitmaps() throws(CheckStop) {
    guard let extent = image.opened.extensions.bitmaps else { return }
    try reference(HostOffset(extent.directoryOffset), ByteCount(extent.directorySize)) { _ in .bitmapDirectory
    }
    for (number, entry) in bitmaps.enumerated() {
      try reference(entry.tableOffset, ByteCount(UInt64(entry.tableSize) * 8)) { _ in
        .bitmapTable(number)
      }
      // The whole table is judged before anything in it counts.
      guard try BitmapReading.walkTable(entry, geometry, reader, { _, _ in }) else {
        throw CheckStop(EINVAL, counts: .corruption)
      }
      let size = image.clusterBytes
      _ = try BitmapReading.walkTable(entry, geometry, reader) {
        (index: Int, place: BitmapTableEntry) throws(CheckStop) in
        guard let cluster = place.cluster else { return }
        try reference(cluster, size) { _ in .bitmapData(number, entry: index) }
      }
    }
  }

  private func walkRefcountBlocks() throws(CheckStop) {
    let table = HostOffset(image.header.refcountTableOffset)
    var isLonger = false
    for (index, raw) in image.opened.refcountTable.enumerated() where raw != 0 {
      let entry = RefcountTableEntry(raw: raw)
      let place = table + ByteCount(index * 8)
      let owner = CheckOwner.refcountTableEntry(index)
      guard entry.reservedBits == 0 else {
        try visitor.tell(CheckFinding(.refcountBlockReservedBits(index: index), at: place, owner))
        continue
      }
      guard let block = entry.block else { continue }
      guard geometry.isAligned(block.value) else {
        try visitor.tell(CheckFinding(.refcountBlockUnaligned(index: index), at: place, owner))
        continue
      }
      let cluster = geometry.cluster(of: block)
      guard cluster < visitor.end else {
        let finding = CheckFinding(.refcountBlockOutside(index: index), at: place, owner)
        guard visitor.mend(finding) else {
          try visitor.tell(finding)
          continue
        }
        isLonger = true
        try visitor.claim(cluster, 1, .exclusive, nil) { _ in .refcountBlock(index) }
        continue
      }
      if isLonger {
        try visitor.claim(cluster, 1, .exclusive, nil) { _ in .refcountBlock(index) }
      } else {
        try reference(block, image.clusterBytes) { _ in .refcountBlock(index) }
      }
      try visitor.visitBlock(index, cluster, at: place)
    }
  }
}
