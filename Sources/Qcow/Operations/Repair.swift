// Repairing an image that was not closed cleanly: refcounts that lag behind are set to what the
// references say, in place where that is possible and in new blocks and a new table where it is not.

import QcowFormat
import Storage

/// What a repair tells while it works, in the order in which users of QEMU see it.
package enum RepairStep {
  /// Bitmaps are out of date, because a program that does not know them wrote the image.
  case staleBitmaps
  /// Found before anything was changed.
  case found(CheckFinding)
  /// A cluster in use has no count, so that all counts are written anew.
  case rebuilding
  /// The same, but that was not asked for.
  case cannotRebuild
  /// Counts are missing again after they were written anew.
  case stillBroken
  /// Set right now.
  case repairing(CheckFinding)
}

/// A repair of an image that nobody has open.
struct ImageRepair {
  let storage: any Storage
  /// Takes what the repair finds and does.
  let report: ((RepairStep) -> Void)?

  init(_ storage: any Storage, _ report: ((RepairStep) -> Void)? = nil) {
    self.storage = storage
    self.report = report
  }

  /// Brings refcounts and COPIED flags in line with the references and clears the dirty bit, as every
  /// opening for writing does after a crash with lazy refcounts ("Feature bits": dirty bit).
  ///
  /// Throws ``ImageError/Code/corrupt``, without having written anything, if there is other damage as well,
  /// or if an L2 table has lost its L1 entry; and what the host says.
  func clearDirty() throws(ImageError) {
    var problem: CheckFinding?
    var mustRebuild = false
    let check = try ImageCheck(storage) { finding in
      switch finding.kind {
      case .refcountWrong(_, let refcount, let references):
        if refcount == 0 && references > 0 { mustRebuild = true }
        report?(.found(finding))
      case .copiedWrongL1, .copiedWrongL2: break
      default: if problem == nil { problem = finding }
      }
    }
    let result = check.run()
    guard result.failure == nil, problem == nil else {
      throw ImageError(
        .corrupt,
        "Could not repair dirty image: \(problem.map { "\($0.kind)" } ?? "the check did not come to its end")",
        at: problem)
    }
    // A crash leaves no table with entries that nothing points to; giving back what it maps would lose it.
    if result.leaks > 0, let data = check.leakedData(limit: ByteCount(1 << 30)), data.hint == .missingTable {
      throw ImageError(.corrupt, "Could not repair dirty image: \(data.description)", at: .l1Table)
    }
    if mustRebuild {
      report?(.rebuilding)
      var rebuild = RefcountRebuild(check)
      try rebuild.write()
    }
    // What is left is in place: too high where something was given up, too low where it only lagged.
    try correctRefcounts()
    try correctCopiedFlags()
    let tables = TableWriter(storage, try OpenedTables(storage, writable: false, forCheck: true))
    try tables.flush()
    try tables.rewriteHeader { $0.header.incompatible.remove(.dirty) }
    try tables.flush()
  }

  /// Sets every refcount that has a block to the number of references, and gives what became free
  /// back to the host.
  private func correctRefcounts() throws(ImageError) {
    let check = try ImageCheck(storage, judgesFlags: false) { _ in }
    let result = check.run()
    guard result.failure == nil else {
      throw ImageError(
        .corrupt, "Could not repair dirty image: the check did not come to its end", at: .header)
    }
    guard result.leaks > 0 || result.corruptions > 0 else { return }
    try correctRefcounts(by: check)
  }

  /// What ``correctRefcounts(by:clearsBehindEnd:lowersOnly:keeping:)`` has set.
  struct Corrected {
    var raised: UInt64 = 0
    var lowered: UInt64 = 0
    /// Still too low, because they were only to be lowered.
    var tooLow: UInt64 = 0
    /// Still too high, because they were to be kept.
    var kept: UInt64 = 0
  }

  /// The same by a check that has been made. Clusters behind the end of the file have no references;
  /// with `clearsBehindEnd` their counts are cleared too. With `lowersOnly` counts that are too low stay, and
  /// those of `keeping` stay if they are too high. The flags that follow from the counts are left to
  /// ``correctCopiedFlags()``. Throws what the host says.
  @discardableResult
  func correctRefcounts(
    by check: ImageCheck, clearsBehindEnd: Bool = false, lowersOnly: Bool = false,
    keeping: [Range<HostCluster>] = []
  ) throws(ImageError) -> Corrected {
    let tables = TableWriter(storage, check.opened)
    let geometry = tables.geometry
    let codec = RefcountCodec(order: geometry.refcountOrder)
    var freed: [HostOffset] = []
    var corrected = Corrected()
    for (index, raw) in check.opened.refcountTable.enumerated() {
      guard let offset = RefcountTableEntry(raw: raw).block else { continue }
      let first = geometry.firstCluster(ofBlock: index)
      guard clearsBehindEnd || first < check.references.end else { break }
      let old = try bytes(at: offset, Int(geometry.clusterSize))
      var new = old
      unsafe new.withUnsafeMutableBytes { block in
        for i in 0..<Int(geometry.refcountsPerBlock) {
          let cluster = first + ClusterCount(UInt64(i))
          guard clearsBehindEnd || cluster < check.references.end else { break }
          let wanted = check.references.tally.count(of: cluster)
          let count = unsafe codec.value(in: UnsafeRawBufferPointer(block), at: i)
          guard count != wanted else { continue }
          let place = geometry.start(of: cluster)
          let finding = CheckFinding(
            .refcountWrong(cluster: cluster.value, refcount: count, references: wanted), at: place)
          if count < wanted ? lowersOnly : keeping.holds(cluster) {
            if count < wanted { corrected.tooLow += 1 } else { corrected.kept += 1 }
            report?(.found(finding))
            continue
          }
          if count < wanted { corrected.raised += 1 } else { corrected.lowered += 1 }
          unsafe codec.store(wanted, in: block, at: i)
          if wanted == 0 { freed.append(place) }
          report?(.repairing(finding))
        }
      }
      if new != old { try tables.overwriteBlock(at: offset, first: first, old, by: new) }
    }
    try tables.flush()
    do throws(StorageError) {
      for place in freed {
        try storage.punch(
          at: place.value, count: geometry.clusterSize, tag: WriteTag(.data, .discard, table: place.value))
      }
    } catch { throw ImageError(error) }
    return corrected
  }

  /// Makes every COPIED flag of the active tables say whether the refcount is 1. The refcounts must be
  /// right. Throws ``ImageError/Code/corrupt`` if the image cannot be checked, and what the host says.
  func correctCopiedFlags() throws(ImageError) {
    let judged = try judgeFlags { _ in true }
    guard judged.failure == nil else {
      throw ImageError(
        .corrupt, "Could not repair the COPIED flags: the check did not come to its end", at: .header)
    }
  }

  /// Compares the COPIED flags of the active tables with the refcounts, and sets those right for which `mends`
  /// says so; the others are told. Throws what the host says.
  ///
  /// - Returns: how many were set, how many are left, and what ended the comparison.
  func judgeFlags(
    mends: @escaping (CheckFinding) -> Bool
  ) throws(ImageError) -> (set: UInt64, left: UInt64, failure: CheckStop?) {
    let image = try CheckedImage(storage)
    let tables = TableWriter(storage, image.opened)
    let work = CheckWork(limit: CheckWork.limit(allocatedBytes: ByteCount(storage.allocatedBytes)))
    let reader = CheckReader(storage, work, largest: Int(image.geometry.clusterSize))
    let refcounts = CheckRefcounts(
      image, CheckReader(storage, work, largest: 1 << 18), clusters: image.countableClusters,
      CheckMemory(limit: 0))
    var set: UInt64 = 0
    var problem: ImageError?
    let log = CheckLog(
      work, waitsForOwners: false,
      mender: { finding in
        guard problem == nil, mends(finding) else { return false }
        do throws(ImageError) {
          try setFlag(finding, tables)
        } catch {
          problem = error
          return false
        }
        report?(.repairing(finding))
        set += 1
        return true
      }, report: { report?(.found($0)) })
    var failure: CheckStop?
    do throws(CheckStop) {
      var check = CopiedFlagCheck(
        image: image, reader: reader, refcounts: refcounts, log: log,
        suspects: Array(repeating: true, count: image.opened.l1.count))
      try check.run()
    } catch { failure = error }
    if let problem { throw problem }
    return (set, log.corruptions, failure)
  }

  private func setFlag(_ finding: CheckFinding, _ tables: TableWriter) throws(ImageError) {
    let geometry = tables.geometry
    guard let place = finding.place else { return }
    switch (finding.kind, finding.owners.first) {
    case (.copiedWrongL1(let index, let entry, _), _):
      try tables.setCopied(l1: index, L1Entry(raw: entry ^ L2Entry.copiedFlag))
    case (.copiedWrongL2(let entry, _), .l2Entry(let l1Index, let l2Index, _)):
      let bitmap = geometry.hasExtendedL2 ? BigEndian.u64(try bytes(at: place + 8, 8), 0) : 0
      try tables.setCopied(
        l2: HostOffset(place.value &- UInt64(l2Index * geometry.l2EntrySize)), l2Index,
        of: geometry.cluster(of: geometry.guestOffset(l1Index: l1Index, l2Index: l2Index)),
        from: L2Entry(descriptor: entry, bitmap: SubclusterBitmap(raw: bitmap)),
        to: L2Entry(descriptor: entry ^ L2Entry.copiedFlag, bitmap: SubclusterBitmap(raw: bitmap)))
    default: return
    }
  }

  private func bytes(at offset: HostOffset, _ count: Int) throws(ImageError) -> [UInt8] {
    do throws(StorageError) { return try storage.bytes(at: offset.value, count: count) } catch {
      throw ImageError(error)
    }
  }
}
