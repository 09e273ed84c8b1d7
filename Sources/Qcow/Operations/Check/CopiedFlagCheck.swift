// The COPIED flags of the active tables. The count of references has marked the tables in which one
// may be wrong, so that a sound image is not read twice.

import QcowFormat

/// Compares the COPIED flags of the active tables with the refcounts.
struct CopiedFlagCheck {
  let image: CheckedImage
  let reader: CheckReader
  let refcounts: CheckRefcounts
  let log: CheckLog
  /// By index into the L1 table: the L2 table may have a wrong flag.
  let suspects: [Bool]

  private var geometry: Geometry { image.geometry }

  /// The next entry of the active L1 table.
  private var next = 0

  init(
    image: CheckedImage, reader: CheckReader, refcounts: CheckRefcounts, log: CheckLog, suspects: [Bool]
  ) {
    self.image = image
    self.reader = reader
    self.refcounts = refcounts
    self.log = log
    self.suspects = suspects
  }

  /// How far it is, 0 ... 1.
  var progress: Double { Double(next) / Double(max(1, image.opened.l1.count)) }

  /// Throws if a table cannot be read.
  mutating func run() throws(CheckStop) {
    while try step() {}
  }

  /// Looks at the next table; false if there is none. Throws as ``run()``.
  mutating func step() throws(CheckStop) -> Bool {
    let l1 = image.opened.l1
    let limit = min(l1.count, next + 1 << 13)
    while next < limit, L1Entry(raw: l1[next]).table == nil { next += 1 }
    guard next < l1.count else { return false }
    guard next < limit else { return true }
    let (index, entry) = (next, L1Entry(raw: l1[next]))
    next += 1
    // An L1 entry without a refcount says nothing about its table; the genuine tool passes it.
    guard let table = entry.table, let refcount = try refcount(at: table) else { return true }
    if (refcount == 1) != entry.isCopied {
      try tell(
        CheckFinding(
          .copiedWrongL1(index: index, entry: entry.raw, refcount: refcount),
          at: HostOffset(image.header.l1TableOffset) + ByteCount(index * 8), .l1Entry(index, snapshot: nil),
          guest: geometry.guestRange(l1Index: index)))
    }
    if suspects[index] && table < image.fileEnd { try checkTable(index, table) }
    return true
  }

  /// Tells of a flag unless a repair sets it right. Another entry may name the same table.
  private func tell(_ finding: CheckFinding) throws(CheckStop) {
    guard log.mend(finding) else { return try log.tell(finding) }
    reader.forget()
  }

  private func checkTable(_ l1Index: Int, _ table: HostOffset) throws(CheckStop) {
    let size = geometry.l2EntrySize
    let bytes: UnsafeRawBufferPointer
    do throws(CheckStop) {
      unsafe bytes = try reader.bytes(at: table, count: Int(geometry.clusterSize))
    } catch {
      try log.tell(CheckFinding(.l2Unreadable, at: table, .l2Table(l1Index: l1Index, snapshot: nil)))
      throw error
    }
    for index in 0..<bytes.count / size {
      let entry = L2Entry(descriptor: unsafe CheckReader.word(bytes, index * size >> 3))
      guard !entry.isCompressed, geometry.hasHost(entry) else { continue }
      guard let refcount = try image.hasDataFile ? 1 : refcount(at: HostOffset(entry.offsetBits)) else {
        continue
      }
      guard (refcount == 1) != entry.isCopied else { continue }
      try tell(
        CheckFinding(
          .copiedWrongL2(entry: entry.descriptor, refcount: refcount), at: table + ByteCount(index * size),
          .l2Entry(l1Index: l1Index, l2Index: index, snapshot: nil),
          guest: geometry.guestRange(l1Index: l1Index, l2Index: index)))
    }
  }

  /// The refcount of the cluster at a host offset; nil if it cannot be read.
  private func refcount(at offset: HostOffset) throws(CheckStop) -> UInt64? {
    do throws(CheckRefcounts.Failure) {
      return try refcounts.refcount(of: geometry.cluster(of: offset))
    } catch {
      _ = try log.explain(error, image.header)
      return nil
    }
  }
}
