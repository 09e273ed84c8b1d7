// The COPIED flags of the active tables. The count of references has marked the tables in which one
// may be wrong, so that a sound image is not read twice.

import QcowFormat

/// Compares the COPIED flags of the active tables with the refcounts.
struct CopiedFlagCheck {
  let image: CheckedImage
  let reader: CheckReader
  let refcounts: CheckRefcounts
  let log: CheckLog

  private var geometry: Geometry { image.geometry }

  /// `suspects` says by index into the L1 table whose L2 tables may have a wrong flag. Throws if a table cannot
  /// be read.
  func run(suspects: [Bool]) throws(CheckStop) {
    for (index, raw) in image.opened.l1.enumerated() {
      let entry = L1Entry(raw: raw)
      guard let table = entry.table else { continue }
      // An L1 entry without a refcount says nothing about its table; the genuine tool passes it.
      guard let refcount = try refcount(at: table) else { continue }
      if (refcount == 1) != entry.isCopied {
        try tell(
          CheckFinding(
            .copiedWrongL1(index: index, entry: raw, refcount: refcount),
            at: HostOffset(image.header.l1TableOffset) + ByteCount(index * 8), .l1Entry(index, snapshot: nil),
            guest: geometry.guestRange(l1Index: index)))
      }
      if suspects[index] && table < image.fileEnd { try checkTable(index, table) }
    }
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
