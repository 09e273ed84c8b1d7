// The COPIED flags of the active tables. The count of references has marked the tables in which one
// may be wrong, so that a sound image is not read twice.

import Glibc
import QcowFormat

extension CheckStop {
  static let ioError = CheckStop(EIO)
}

extension ImageCheck {
  func checkCopiedFlags() throws(CheckStop) {
    for (index, raw) in opened.l1.enumerated() {
      let entry = L1Entry(raw: raw)
      guard let table = entry.table?.value else { continue }
      // An L1 entry without a refcount says nothing about its table; the genuine tool passes it.
      guard let refcount = try refcount(of: table) else { continue }
      if (refcount == 1) != entry.isCopied {
        try tell(
          CheckFinding(
            .copiedWrongL1(index: index, entry: raw, refcount: refcount),
            at: header.l1TableOffset + UInt64(index) * 8, .l1Entry(index, snapshot: nil),
            guest: geometry.guestRange(l1Index: index)))
      }
      if suspects[index] && table < fileLength { try checkTable(index, table) }
    }
  }

  private func checkTable(_ l1Index: Int, _ table: UInt64) throws(CheckStop) {
    let size = geometry.l2EntrySize
    let bytes: UnsafeRawBufferPointer
    do throws(CheckStop) {
      unsafe bytes = try reader.bytes(at: table, count: Int(geometry.clusterSize))
    } catch {
      try tell(CheckFinding(.l2Unreadable, at: table, .l2Table(l1Index: l1Index, snapshot: nil)))
      throw error
    }
    for index in 0..<bytes.count / size {
      let raw = unsafe CheckReader.word(bytes, index * size >> 3)
      guard raw & L2Entry.compressedFlag == 0 else { continue }
      let offset = raw & L2Entry.offsetMask
      let isCopied = raw & L2Entry.copiedFlag != 0
      let isZero = raw & L2Entry.zeroFlag != 0 && !geometry.hasExtendedL2
      guard offset != 0 || hasDataFile && isCopied && !isZero else { continue }
      guard let refcount = try hasDataFile ? 1 : self.refcount(of: offset) else { continue }
      guard (refcount == 1) != isCopied else { continue }
      let start = geometry.guestOffset(l1Index: l1Index, l2Index: index).value
      try tell(
        CheckFinding(
          .copiedWrongL2(entry: raw, refcount: refcount), at: table + UInt64(index * size),
          .l2Entry(l1Index: l1Index, l2Index: index, snapshot: nil),
          guest: start..<start &+ geometry.clusterSize)
      )
    }
  }

  /// The refcount of the cluster at a host offset; nil if it cannot be read.
  private func refcount(of offset: UInt64) throws(CheckStop) -> UInt64? {
    do throws(CheckRefcounts.Failure) {
      return try refcounts.refcount(of: geometry.wholeClusters(offset))
    } catch {
      _ = try explain(error)
      return nil
    }
  }
}
