// All references of an image: header, active L1 table with its L2 tables and data, snapshots with theirs,
// snapshot table, refcount table, encryption header, bitmaps, refcount blocks, in the order of the genuine check.

import Glibc
import QcowFormat
import Storage

/// Goes over all references of an image and hands each to a visitor, a small piece at a time.
struct ReferenceWalk<Visitor: ReferenceVisitor> {
  let image: CheckedImage
  let snapshots: SnapshotTable
  let bitmaps: [BitmapDirectoryEntry]
  let reader: CheckReader
  let visitor: Visitor
  private var stage = Stage.header
  /// Entries of L1 tables and of the refcount table that have been passed.
  private var passed: UInt64 = 0
  /// A piece of the L1 table of a snapshot, as it was read.
  private var kept: (table: HostOffset, start: Int, words: [UInt64])?
  /// A refcount block lay behind the end of the file, which was made longer for it.
  private var isLonger = false

  /// What comes next.
  private enum Stage {
    case header
    /// From an entry of the active L1 table on.
    case active(Int)
    case snapshot(Int)
    /// From an entry of the L1 table of a snapshot on.
    case snapshotTree(Int, Int)
    case tables
    case bitmap(Int)
    /// From an entry of a bitmap's table on, whose entries are all sound, or are to be judged.
    case bitmapTable(Int, Int, isJudged: Bool)
    case blocks(Int)
    case end
  }

  /// Entries without a table that are passed in one piece.
  private static var emptyEntries: Int { 1 << 13 }

  init(
    image: CheckedImage, snapshots: SnapshotTable, bitmaps: [BitmapDirectoryEntry], reader: CheckReader,
    visitor: Visitor
  ) {
    self.image = image
    self.snapshots = snapshots
    self.bitmaps = bitmaps
    self.reader = reader
    self.visitor = visitor
  }

  private var geometry: Geometry { image.geometry }

  /// How far it is, 0 ... 1.
  var progress: Double {
    if case .end = stage { return 1 }
    var all = UInt64(image.opened.l1.count) + UInt64(image.opened.refcountTable.count)
    for snapshot in snapshots.entries { all += UInt64(snapshot.l1Size) }
    return Double(passed) / Double(max(1, all))
  }

  /// Throws if a table cannot be read, and what the visitor throws.
  mutating func run() throws(CheckStop) {
    while try step() {}
  }

  /// Goes over one small piece; false behind the last one. Throws as ``run()``.
  mutating func step() throws(CheckStop) -> Bool {
    let header = image.header
    switch stage {
    case .header:
      try reference(HostOffset(0), image.clusterBytes) { _ in .header }
      if header.l1Size > 0 {
        try reference(HostOffset(header.l1TableOffset), ByteCount(UInt64(header.l1Size) * 8)) { _ in
          .l1Table(snapshot: nil)
        }
      }
      stage = .active(0)
    case .active(let index): try stepActive(index)
    case .snapshot(let index): try beginSnapshot(index)
    case .snapshotTree(let index, let start): try stepSnapshot(index, start)
    case .tables:
      try reference(HostOffset(header.snapshotsOffset), snapshots.size) { _ in .snapshotTable }
      try reference(
        HostOffset(header.refcountTableOffset),
        geometry.bytes(ClusterCount(UInt64(header.refcountTableClusters)))
      ) { _ in .refcountTable }
      if let encryption = image.opened.extensions.encryption {
        try reference(HostOffset(encryption.offset), ByteCount(encryption.length)) { _ in .encryptionHeader }
      }
      stage = .blocks(0)
      if let extent = image.opened.extensions.bitmaps {
        try reference(HostOffset(extent.directoryOffset), ByteCount(extent.directorySize)) { _ in
          .bitmapDirectory
        }
        stage = .bitmap(0)
      }
    case .bitmap(let number):
      guard bitmaps.indices.contains(number) else {
        stage = .blocks(0)
        return true
      }
      let entry = bitmaps[number]
      try reference(entry.tableOffset, ByteCount(UInt64(entry.tableSize) * 8)) { _ in .bitmapTable(number) }
      // The whole table is judged before anything in it counts.
      stage = .bitmapTable(number, 0, isJudged: false)
    case .bitmapTable(let number, let start, let isJudged): try stepBitmap(number, start, isJudged)
    case .blocks(let index): try stepBlocks(index)
    case .end: return false
    }
    return true
  }

  private func reference(
    _ offset: HostOffset, _ size: ByteCount, _ owner: (ClusterCount) -> CheckOwner
  ) throws(CheckStop) {
    try visitor.reference(offset, size, in: image, owner)
  }

  // MARK: Mapping tables

  /// The L2 table of the next entry of the active L1 table, and what it maps.
  private mutating func stepActive(_ first: Int) throws(CheckStop) {
    let l1 = image.opened.l1
    let limit = min(l1.count, first + Self.emptyEntries)
    var index = first
    while index < limit, l1[index] == 0 { index += 1 }
    if index < limit {
      let place = HostOffset(image.header.l1TableOffset) + ByteCount(index * 8)
      try walkTable(L1Entry(raw: l1[index]), at: place, index, nil)
      index += 1
    }
    passed += UInt64(index - first)
    stage = .active(index)
    guard index >= l1.count else { return }
    if image.hasDataFile && image.header.snapshotCount > 0 {
      try visitor.tell(
        CheckFinding(.snapshotsWithDataFile(count: snapshots.entries.count), at: HostOffset(60), .header))
    }
    stage = .snapshot(0)
  }

  private mutating func beginSnapshot(_ index: Int) throws(CheckStop) {
    guard snapshots.entries.indices.contains(index) else { return stage = .tables }
    let snapshot = snapshots.entries[index]
    let owner = CheckOwner.snapshotEntry(index)
    stage = .snapshot(index + 1)
    if !geometry.isAligned(snapshot.l1TableOffset) {
      try visitor.tell(CheckFinding(.snapshotL1Unaligned(snapshot), owner))
    } else if snapshot.l1Size > 1 << 22 {
      try visitor.tell(CheckFinding(.snapshotL1TooLarge(snapshot), owner))
    } else if snapshot.l1Size > 0 {
      let size = ByteCount(UInt64(snapshot.l1Size) * 8)
      try reference(HostOffset(snapshot.l1TableOffset), size) { _ in .l1Table(snapshot: index) }
      stage = .snapshotTree(index, 0)
    }
  }

  /// The L2 table of the next entry of the L1 table of a snapshot, and what it maps.
  private mutating func stepSnapshot(_ snapshot: Int, _ first: Int) throws(CheckStop) {
    let table = HostOffset(snapshots.entries[snapshot].l1TableOffset)
    let count = Int(snapshots.entries[snapshot].l1Size)
    guard first < count else { return stage = .snapshot(snapshot + 1) }
    // As far as the piece goes that lies in the reader's buffer.
    let start = first & ~(Self.emptyEntries - 1)
    let limit = min(count, start + Self.emptyEntries)
    let words: [UInt64]
    if let kept, kept.table == table, kept.start == start {
      words = kept.words
    } else {
      do throws(CheckStop) {
        let bytes = try unsafe reader.bytes(at: table + ByteCount(start * 8), count: (limit - start) * 8)
        words = (0..<bytes.count >> 3).map { unsafe CheckReader.word(bytes, $0) }
      } catch {
        try visitor.tell(CheckFinding(.l1Unreadable, at: table, .l1Table(snapshot: snapshot)))
        throw error
      }
      kept = (table, start, words)
    }
    var index = first
    while index < limit, words[index - start] == 0 { index += 1 }
    if index < limit {
      try walkTable(
        L1Entry(raw: words[index - start]), at: table + ByteCount(index * 8), index, snapshot)
      index += 1
    }
    passed += UInt64(index - first)
    if index >= limit { kept = nil }
    stage = .snapshotTree(snapshot, index)
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

  /// The next entries of a bitmap's table. The directory must be sound for the image to open at all, as with QEMU.
  private mutating func stepBitmap(_ number: Int, _ start: Int, _ isJudged: Bool) throws(CheckStop) {
    let (entry, size) = (bitmaps[number], image.clusterBytes)
    let isSound = try BitmapReading.walkPiece(entry, from: start, geometry, reader) {
      (index: Int, place: BitmapTableEntry) throws(CheckStop) in
      guard isJudged, let cluster = place.cluster else { return }
      try reference(cluster, size) { _ in .bitmapData(number, entry: index) }
    }
    guard isSound else { throw CheckStop(EINVAL, counts: .corruption) }
    let next = start + BitmapReading.piece
    if next < Int(entry.tableSize) {
      stage = .bitmapTable(number, next, isJudged: isJudged)
    } else {
      stage = isJudged ? .bitmap(number + 1) : .bitmapTable(number, 0, isJudged: true)
    }
  }

  /// The next entries of the refcount table, up to one with a block.
  private mutating func stepBlocks(_ first: Int) throws(CheckStop) {
    let table = image.opened.refcountTable
    let limit = min(table.count, first + Self.emptyEntries)
    var index = first
    while index < limit, table[index] == 0 { index += 1 }
    if index < limit {
      try visitBlock(index, RefcountTableEntry(raw: table[index]))
      index += 1
    }
    passed += UInt64(index - first)
    stage = index < table.count ? .blocks(index) : .end
  }

  private mutating func visitBlock(_ index: Int, _ entry: RefcountTableEntry) throws(CheckStop) {
    let place = HostOffset(image.header.refcountTableOffset) + ByteCount(index * 8)
    let owner = CheckOwner.refcountTableEntry(index)
    guard entry.reservedBits == 0 else {
      return try visitor.tell(CheckFinding(.refcountBlockReservedBits(index: index), at: place, owner))
    }
    guard let block = entry.block else { return }
    guard geometry.isAligned(block.value) else {
      return try visitor.tell(CheckFinding(.refcountBlockUnaligned(index: index), at: place, owner))
    }
    let cluster = geometry.cluster(of: block)
    guard cluster < visitor.end else {
      let finding = CheckFinding(.refcountBlockOutside(index: index), at: place, owner)
      guard visitor.mend(finding) else { return try visitor.tell(finding) }
      isLonger = true
      return try visitor.claim(cluster, 1, .exclusive, nil) { _ in .refcountBlock(index) }
    }
    if isLonger {
      try visitor.claim(cluster, 1, .exclusive, nil) { _ in .refcountBlock(index) }
    } else {
      try reference(block, image.clusterBytes) { _ in .refcountBlock(index) }
    }
    try visitor.visitBlock(index, cluster, at: place)
  }
}
