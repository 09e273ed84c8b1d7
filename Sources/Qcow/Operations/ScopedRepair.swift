// The repair that `check -r` makes, in the order of the genuine tool: entries that can be emptied on the way,
// then counts, in place or anew, then COPIED flags, then the snapshot table, then the marks in the header. What
// nothing points to may be the last copy of somebody's data; unless it may go, it keeps its count.

import Glibc
import QcowFormat
package import Storage

/// What a repair may set right.
package enum RepairScope: String, Sendable, CaseIterable {
  /// Clusters without an owner, and COPIED flags if nothing else is wrong.
  case leaks
  /// Refcounts, COPIED flags, entries without data that are misaligned, the snapshot table.
  case all
}

/// One repair of an image that nobody has open for writing.
package final class ScopedRepair {
  private let storage: any Storage
  private let scope: RepairScope
  private let keepsData: Bool
  private let namesOwners: Bool
  private let open: (SnapshotTable?) throws(ImageError) -> Image
  private let report: (RepairStep) -> Void
  /// Clusters without an owner that keep their count, as rows in rising order.
  private var rows: [Range<HostCluster>] = []
  /// What these clusters hold; nil if there are none.
  package private(set) var kept: LeakedData?
  /// A count is missing where something is in use, or the blocks themselves are damaged.
  private var needsRebuild = false
  /// Entries and blocks set right while the references were counted.
  private var mended: UInt64 = 0
  /// Snapshots that are too many; without them the table can stay where it is.
  private var cutSnapshots: UInt64 = 0
  /// Damage of the snapshot table that writing it anew sets right.
  private var tableDamage: UInt64 = 0
  /// COPIED flags that were told and left.
  private var flagsLeft: UInt64 = 0
  private var problem: ImageError?
  /// The references can be counted to their end, so that nothing is mended on a way that leads nowhere.
  private var canFinish = true
  /// A cluster had an owner too many at some time.
  private var hasShared = false
  /// The header counts more snapshots than there can be, and what stands in their place are no entries: what is
  /// wrong is the header, and its count says nothing of where the table ends.
  private var hasNonsense = false
  /// The table that was looked at last, and whether it is one.
  private var judged: (table: HostOffset, isTable: Bool)?

  /// Clusters without an owner that hold data keep their count with `keepsData`. With `namesOwners` findings come
  /// with the owners of their cluster. `open` opens the image for what only an open one can do, with a snapshot
  /// table to take for that of the file if there is one; `report` takes what is found and done.
  package init(
    _ storage: any Storage, _ scope: RepairScope, keepsData: Bool, namesOwners: Bool = false,
    open: @escaping (SnapshotTable?) throws(ImageError) -> Image, report: @escaping (RepairStep) -> Void
  ) {
    self.storage = storage
    self.scope = scope
    self.keepsData = keepsData
    self.namesOwners = namesOwners
    self.open = open
    self.report = report
  }

  private var counts: ImageRepair { ImageRepair(storage, report) }

  /// Makes the repair.
  ///
  /// - Returns: what is left afterwards and what was set right, counted as the genuine tool counts.
  /// - Throws: ``ImageError`` for what is no image, and what the host says; the image then is as after a crash.
  package func run() throws(ImageError) -> CheckResult {
    let opened = try OpenedTables(storage, writable: false, forCheck: true)
    // What is data without a data file may be the tables' own clusters; the genuine tool does not open it either.
    guard !opened.header.incompatible.contains(.externalDataFile) || opened.extensions.dataFileName != nil
    else { throw ImageError(.option, "'data-file' is required for this image") }
    let tables = TableWriter(storage, opened, checks: .cached)
    let shared = try sharedClusters()
    let check = try ImageCheck(
      storage, namesOwners: namesOwners, judgesFlags: false,
      mender: { [unowned self] in mend($0, tables, shared) }, report: { [unowned self] in take($0) })
    var result = check.run()
    if let problem { throw problem }
    result.corruptionsFixed = mended
    guard result.failure == nil else {
      result.corruptions += tableDamage + cutSnapshots
      return result
    }
    try cutSnapshotTable(check.snapshots, &result)
    if keepsData && result.leaks > 0 { keepData(check) }
    var areRight = true
    if needsRebuild {
      guard scope == .all else {
        report(.cannotRebuild)
        result.failure = CheckStop.ioError
        return result
      }
      try rebuild(check, &result)
    } else if result.leaks > 0 || result.corruptions > 0 {
      let corrected = try counts.correctRefcounts(by: check, lowersOnly: scope == .leaks, keeping: rows)
      result.corruptions -= min(result.corruptions, corrected.raised)
      result.corruptionsFixed += corrected.raised
      result.leaks = corrected.kept
      result.leaksFixed += corrected.lowered
      areRight = corrected.tooLow == 0
    }
    try correctFlags(&result, areRight, shared)
    guard result.failure == nil else { return result }
    try clearMarks(result, areRight)
    try writeSnapshotTable(check.snapshots, &result)
    try correctFlagsAgain(&result, areRight)
    return result
  }

  /// Brings to the file what opening the image for writing changes: bitmaps are stored anew, bits that nobody
  /// knows go. After the last check.
  ///
  /// - Throws: As opening and closing the image.
  package func finish() throws(ImageError) {
    let opened = try OpenedTables(storage, writable: false, forCheck: true)
    let unknown = opened.header.autoclear.subtracting([.known, .pinned])
    guard opened.header.incompatible.isDisjoint(with: [.dirty, .corrupt]),
      opened.extensions.bitmaps != nil || opened.extensions.hasStaleBitmaps || !unknown.isEmpty
    else { return }
    try open(nil).close()
    // Where bitmaps lay before may have been somebody else's too.
    guard hasShared, scope == .all else { return }
    _ = try counts.judgeFlags(mends: mayMendFlags(try sharedClusters()))
  }

  // MARK: On the way

  /// Clusters with an owner too many: what lies there may be a table or data, and nothing in it is changed.
  /// Empty if data may go.
  private func sharedClusters() throws(ImageError) -> OverlapNotes {
    guard keepsData else { return OverlapNotes() }
    var (isTooMany, isWrong) = (false, false)
    let look = try ImageCheck(
      storage, judgesFlags: false,
      mender: {
        guard let damage = Self.snapshotDamage($0.kind) else { return false }
        isTooMany = isTooMany || damage.cut > 0
        isWrong = isWrong || damage.wrong > 0
        return true
      }, report: { _ in })
    canFinish = look.run().failure == nil
    let overlaps = look.references.overlaps
    hasShared = hasShared || !overlaps.clusters.isEmpty || !overlaps.isComplete
    hasNonsense = isTooMany && isWrong
    return overlaps
  }

  /// Flags whose place is nobody else's are set right.
  private func mayMendFlags(_ shared: OverlapNotes) throws(ImageError) -> (CheckFinding) -> Bool {
    let geometry = try OpenedTables(storage, writable: false, forCheck: true).header.geometry
    return { finding in
      guard case .copiedWrongL2 = finding.kind, let place = finding.place else { return true }
      return !shared.mayHold(geometry.cluster(of: place))
    }
  }

  private func take(_ finding: CheckFinding) {
    switch finding.kind {
    case .refcountBlockReservedBits, .refcountBlockUnaligned, .refcountBlockShared: needsRebuild = true
    case .refcountWrong(_, let refcount, _) where refcount == 0: needsRebuild = true
    default: break
    }
    report(.found(finding))
  }

  private func mend(_ finding: CheckFinding, _ tables: TableWriter, _ shared: OverlapNotes) -> Bool {
    guard scope == .all, problem == nil else { return false }
    if let damage = Self.snapshotDamage(finding.kind) {
      if damage.cut > 0, hasNonsense { return false }
      cutSnapshots += damage.cut
      tableDamage += damage.wrong
      report(.repairing(finding))
      return true
    }
    guard canFinish else { return false }
    do throws(ImageError) {
      switch (finding.kind, finding.owners.first) {
      case (.refcountBlockOutside(let index), _): guard try lengthen(index, tables) else { return false }
      case (.clusterUnaligned, .l2Entry(let l1Index, let l2Index, let snapshot)):
        guard let place = finding.place else { return false }
        let table = HostOffset(place.value &- UInt64(l2Index * tables.geometry.l2EntrySize))
        guard !shared.mayHold(tables.geometry.cluster(of: table)), isTable(table, tables) else {
          return false
        }
        try empty(l2Index, of: table, l1Index, snapshot, tables)
      default: return false
      }
    } catch {
      // Something else lies there; it stays as it is and is told.
      if error.code != .overlap { problem = error }
      return false
    }
    report(.repairing(finding))
    mended += 1
    return true
  }

  /// Damage of the snapshot table: entries that are too many, or something in one; nil if it is something else.
  private static func snapshotDamage(_ kind: CheckFinding.Kind) -> (cut: UInt64, wrong: UInt64)? {
    switch kind {
    case .snapshotIncomplete, .snapshotExtraDataTooLarge: (0, 1)
    case .snapshotTableTooLarge(let count): (UInt64(count) - UInt64(SnapshotEntry.maximumCount), 0)
    case .snapshotTableTooLong(let left): (UInt64(left), 0)
    default: nil
    }
  }

  /// Makes the file long enough for a refcount block behind its end, which then counts nothing.
  private func lengthen(_ index: Int, _ tables: TableWriter) throws(ImageError) -> Bool {
    // The block is replaced anyway; a longer file is only what the genuine tool makes of it.
    guard !keepsData, let block = RefcountTableEntry(raw: tables.refcountTable[index]).block,
      tables.geometry.cluster(of: block).value < CheckedImage.countable.value
    else {
      needsRebuild = true
      return false
    }
    let end = block + tables.geometry.clusterSize
    guard end.value > storage.length else { return true }
    do throws(StorageError) {
      try storage.truncate(to: end.value, tag: WriteTag(.file, .repair, after: (end.value, 0)))
    } catch { throw ImageError(error) }
    return true
  }

  /// Other entries of an L2 table mean something too. A damaged table above may name data as one, which snapshots
  /// may share with the disk. Always true if data may go.
  private func isTable(_ table: HostOffset, _ tables: TableWriter) -> Bool {
    guard keepsData else { return true }
    if let judged, judged.table == table { return judged.isTable }
    let geometry = tables.geometry
    let size = Int(geometry.clusterSize)
    guard let bytes = try? storage.bytes(at: table.value, count: size) else { return false }
    var (used, sensible) = (0, 0)
    for index in 0..<geometry.l2EntriesPerTable {
      let entry = L2Entry(descriptor: BigEndian.u64(bytes, geometry.l2EntryOffset(index)))
      guard entry.descriptor != 0 else { continue }
      used += 1
      let isCompressed = entry.isCompressed
      let host =
        isCompressed ? geometry.compressedExtent(of: entry.descriptor).offset.value : entry.offsetBits
      if host < storage.length, isCompressed || entry.descriptor & L2Entry.reservedMask == 0 {
        sensible += 1
      }
    }
    // The one that is to be mended may be the only one.
    let isTable = used == 1 || sensible * 2 >= used
    judged = (table, isTable)
    return isTable
  }

  /// Lets an entry that holds no data read as zeroes without a cluster.
  private func empty(
    _ index: Int, of table: HostOffset, _ l1Index: Int, _ snapshot: Int?, _ tables: TableWriter
  ) throws(ImageError) {
    let geometry = tables.geometry
    let bytes: [UInt8]
    do throws(StorageError) {
      bytes = try storage.bytes(
        at: (table + ByteCount(index * geometry.l2EntrySize)).value, count: geometry.l2EntrySize)
    } catch { throw ImageError(error) }
    let bitmap = geometry.hasExtendedL2 ? BigEndian.u64(bytes, 8) : 0
    try tables.setEntry(
      l2: table, index, of: geometry.cluster(of: geometry.guestOffset(l1Index: l1Index, l2Index: index)),
      from: L2Entry(descriptor: BigEndian.u64(bytes, 0), bitmap: SubclusterBitmap(raw: bitmap)),
      to: L2Entry(
        descriptor: geometry.hasExtendedL2 ? 0 : L2Entry.zeroFlag,
        bitmap: SubclusterBitmap(raw: (bitmap | bitmap << 32) & 0xffff_ffff_0000_0000)),
      .repair, in: snapshot == nil ? .l2Table : .inactiveL2Table)
    try tables.flush()
  }

  // MARK: Counts

  private func keepData(_ check: ImageCheck) {
    var survey = check.leakSurvey()
    let data = survey.run()
    rows = survey.kept ?? [HostCluster(0)..<check.references.end]
    kept = rows.isEmpty ? nil : data
  }

  /// Writes all counts anew. What was leaked is not counted any more, and the old table and blocks are given back.
  private func rebuild(_ check: ImageCheck, _ result: inout CheckResult) throws(ImageError) {
    report(.rebuilding)
    var keptClusters: UInt64 = 0
    for row in rows {
      var cluster = row.lowerBound
      while cluster < row.upperBound {
        // Kept is what was counted once too often.
        if check.countsTooMuch(cluster) {
          do throws(CheckStop) { try check.references.add(cluster) } catch {
            throw ImageError(.noSpace, "the counts cannot be written anew: \(error.detail ?? "too large")")
          }
          keptClusters += 1
        }
        cluster = cluster + 1
      }
    }
    var new = RefcountRebuild(check)
    try new.write()
    // What was kept is leaked still, and the old structures are leaked now.
    var isBroken = false
    let again = try ImageCheck(storage, judgesFlags: false, snapshots: check.snapshots) {
      [unowned self] finding in
      guard case .refcountWrong(_, let refcount, _) = finding.kind else { return report(.found(finding)) }
      if refcount == 0 { isBroken = true }
    }
    let second = again.run()
    result.checkErrors = second.checkErrors
    result.imageEndOffset = second.imageEndOffset
    if let failure = second.failure {
      result.failure = failure
      return
    }
    let corrected = try counts.correctRefcounts(by: again, lowersOnly: true, keeping: rows)
    if isBroken { report(.stillBroken) }
    // Counts that are wrong still were told just now.
    let left = second.corruptions - min(second.corruptions, corrected.tooLow)
    result.corruptionsFixed += result.corruptions - min(result.corruptions, left)
    result.leaksFixed += result.leaks - min(result.leaks, keptClusters)
    result.corruptions = left
    result.leaks = keptClusters
  }

  // MARK: Behind the counts

  private func correctFlags(
    _ result: inout CheckResult, _ areRight: Bool, _ shared: OverlapNotes
  ) throws(ImageError) {
    let mayMend =
      scope == .all
      || result.checkErrors == 0 && result.corruptions == 0 && (result.leaks == 0 || kept != nil)
    let mends = try mayMendFlags(shared)
    let judged = try counts.judgeFlags { mayMend && mends($0) }
    result.corruptionsFixed += judged.set
    result.corruptions += judged.left
    flagsLeft = judged.left
    result.failure = judged.failure
  }

  /// Sets flags right that were right before: what the old snapshot table or old counts shared with a table or with
  /// data has one owner less once they have moved.
  private func correctFlagsAgain(_ result: inout CheckResult, _ areRight: Bool) throws(ImageError) {
    guard areRight, keepsData, tableDamage > 0 || needsRebuild else { return }
    result.corruptions -= min(result.corruptions, flagsLeft)
    try correctFlags(&result, areRight, try sharedClusters())
  }

  /// Takes the marks off an image that has no errors; one that was not closed cleanly needs no more than counts.
  private func clearMarks(_ result: CheckResult, _ areRight: Bool) throws(ImageError) {
    let tables = TableWriter(storage, try OpenedTables(storage, writable: false, forCheck: true))
    var marks: IncompatibleFeatures = []
    if areRight && result.checkErrors == 0 { marks.insert(.dirty) }
    if result.checkErrors == 0 && result.corruptions == 0 { marks.formUnion([.dirty, .corrupt]) }
    guard !tables.header.incompatible.isDisjoint(with: marks) else { return }
    try tables.flush()
    try tables.rewriteHeader(.repair) { $0.header.incompatible.subtract(marks) }
    try tables.flush()
  }

  /// Lets the header count no more snapshots than can be read.
  private func cutSnapshotTable(_ table: SnapshotTable, _ result: inout CheckResult) throws(ImageError) {
    guard cutSnapshots > 0 else { return }
    let tables = TableWriter(
      storage, try OpenedTables(storage, writable: false, forCheck: true, snapshots: table))
    _ = try tables.installSnapshots(table.entries, at: HostOffset(tables.header.snapshotsOffset))
    try tables.flush()
    result.corruptionsFixed += cutSnapshots
  }

  /// Writes the snapshot table anew, with the fields that entries lack and without what is too much.
  private func writeSnapshotTable(_ table: SnapshotTable, _ result: inout CheckResult) throws(ImageError) {
    guard tableDamage > 0 else { return }
    guard let image = try? open(table), image.isWritable else {
      result.corruptions += tableDamage
      return
    }
    do throws(ImageError) {
      try image.rewriteSnapshotTable()
      try image.flush()
    } catch {
      // What the old table is said to be lies on other structures; it stays, and the next check tells of it.
      guard error.code == .overlap else { throw error }
      result.corruptions += tableDamage
      return
    }
    result.corruptionsFixed += tableDamage
  }
}

extension OverlapNotes {
  /// The cluster has an owner too many, or that is not known.
  func mayHold(_ cluster: HostCluster) -> Bool { clusters.contains(cluster) || !isComplete }
}
