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
    if result.leaks > 0, let data = check.leakedData(limit: 1 << 30), data.hint == .missingTable {
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
    let check = try ImageCheck(storage) { _ in }
    let result = check.run()
    guard result.failure == nil else {
      throw ImageError(
        .corrupt, "Could not repair dirty image: the check did not come to its end", at: .header)
    }
    guard result.leaks > 0 || result.corruptions > 0 else { return }
    try correctRefcounts(by: check)
  }

  /// The same by a check that has been made. Clusters behind the end of the file have no references;
  /// with `clearsBehindEnd` their counts are cleared too. The flags that follow from the counts are
  /// left to ``correctCopiedFlags()``. Throws what the host says.
  func correctRefcounts(by check: ImageCheck, clearsBehindEnd: Bool = false) throws(ImageError) {
    let tables = TableWriter(storage, check.opened)
    let geometry = check.geometry
    let codec = RefcountCodec(order: geometry.refcountOrder)
    var freed: [HostOffset] = []
    for (index, raw) in check.opened.refcountTable.enumerated() {
      guard let offset = RefcountTableEntry(raw: raw).block else { continue }
      let old = try bytes(at: offset, Int(geometry.clusterSize))
      var new = old
      let first = geometry.firstCluster(ofBlock: index)
      unsafe new.withUnsafeMutableBytes { block in
        for i in 0..<Int(geometry.refcountsPerBlock) {
          let cluster = first + ClusterCount(UInt64(i))
          guard clearsBehindEnd || cluster.value < check.countedClusters else { break }
          let wanted = check.tally.count(of: cluster.value)
          let count = unsafe codec.value(in: UnsafeRawBufferPointer(block), at: i)
          guard count != wanted else { continue }
          unsafe codec.store(wanted, in: block, at: i)
          let place = geometry.start(of: cluster)
          if wanted == 0 { freed.append(place) }
          report?(
            .repairing(
              CheckFinding(
                .refcountWrong(cluster: cluster.value, refcount: count, references: wanted), at: place.value)
            ))
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
  }

  /// Makes every COPIED flag of the active tables say whether the refcount is 1. The refcounts must be
  /// right. Throws ``ImageError/Code/corrupt`` if the image cannot be checked, and what the host says.
  func correctCopiedFlags() throws(ImageError) {
    var wrong: [(finding: CheckFinding, entry: UInt64)] = []
    let check = try ImageCheck(storage) { finding in
      switch finding.kind {
      case .copiedWrongL1(_, let entry, _), .copiedWrongL2(let entry, _): wrong.append((finding, entry))
      default: break
      }
    }
    guard check.run().failure == nil else {
      throw ImageError(
        .corrupt, "Could not repair the COPIED flags: the check did not come to its end", at: .header)
    }
    let tables = TableWriter(storage, check.opened)
    let geometry = check.geometry
    for (finding, entry) in wrong {
      guard let place = finding.place else { continue }
      report?(.repairing(finding))
      let new = entry ^ L2Entry.copiedFlag
      guard case .l2Entry(let l1Index, let l2Index, _)? = finding.owners.first else {
        let index = (place - tables.l1Place) / 8
        if index < UInt64(tables.l1.count) { try tables.setCopied(l1: Int(index), L1Entry(raw: new)) }
        continue
      }
      let bitmap =
        geometry.hasExtendedL2 ? BigEndian.u64(try bytes(at: place + 8, 8), 0) : 0
      try tables.setCopied(
        l2: HostOffset(place.value &- UInt64(l2Index * geometry.l2EntrySize)), l2Index,
        of: geometry.cluster(of: geometry.guestOffset(l1Index: l1Index, l2Index: l2Index)),
        from: L2Entry(descriptor: entry, bitmap: SubclusterBitmap(raw: bitmap)),
        to: L2Entry(descriptor: new, bitmap: SubclusterBitmap(raw: bitmap)))
    }
  }

  private func bytes(at offset: HostOffset, _ count: Int) throws(ImageError) -> [UInt8] {
    do throws(StorageError) { return try storage.bytes(at: offset.value, count: count) } catch {
      throw ImageError(error)
    }
  }
}

/// New refcount blocks and a new table for an image in which a cluster in use has no count.
private struct RefcountRebuild {
  private let check: ImageCheck
  private let geometry: Geometry
  /// Clusters of new blocks behind what the tally counts; the others are counted there.
  private var behind: Set<UInt64> = []
  /// The first cluster behind everything in use.
  private var end: UInt64
  /// By index into the new table: the cluster of the block; 0 for none.
  private var blocks: [UInt64] = []
  private var table: Range<UInt64> = 0..<0

  init(_ check: ImageCheck) {
    self.check = check
    geometry = check.geometry
    end = check.countedClusters
  }

  private func count(of cluster: UInt64) -> UInt64 {
    if table.contains(cluster) || behind.contains(cluster) { return 1 }
    return check.tally.count(of: cluster)
  }

  private mutating func take(_ cluster: UInt64) throws(ImageError) {
    end = max(end, cluster + 1)
    guard cluster < check.countedClusters else {
      behind.insert(cluster)
      return
    }
    var wasOwned = false
    do throws(CheckStop) { _ = try check.tally.add(cluster, 1, wasOwned: &wasOwned) } catch {
      throw ImageError(.noSpace, "Could not repair dirty image: \(error.detail ?? "too large")")
    }
  }

  /// Whether anything in a range is in use; long stretches without owners cost nothing.
  private func isUsed(_ range: Range<UInt64>) -> Bool {
    if range.overlaps(table) || behind.contains(where: range.contains) { return true }
    var at = range.lowerBound
    while at < range.upperBound {
      if check.tally.chunk(HostTally.chunkNumber(at)) == nil {
        at = HostTally.endOfChunk(at)
      } else if check.tally.count(of: at) != 0 {
        return true
      } else {
        at += 1
      }
    }
    return false
  }

  mutating func write() throws(ImageError) {
    let perBlock = geometry.refcountsPerBlock
    // A block goes to the first free cluster of the range that it counts or behind it, so that a
    // range only grows the ones that come later; the table may need one more.
    var index: UInt64 = 0
    while true {
      while index * perBlock < end {
        try placeBlock(Int(index), perBlock)
        index += 1
      }
      let entries = ceil(UInt64(blocks.count), geometry.tableEntriesPerCluster)
      if UInt64(table.count) != entries {
        table = 0..<0
        table = gap(of: entries)
        end = max(end, table.upperBound)
      }
      // The table may have come to lie in a range without a block.
      for cluster in table where blocks.indices.contains(Int(cluster / perBlock)) {
        try placeBlock(Int(cluster / perBlock), perBlock)
      }
      if index * perBlock >= end,
        UInt64(table.count) == ceil(UInt64(blocks.count), geometry.tableEntriesPerCluster)
      {
        break
      }
    }
    try writeStructures(perBlock)
  }

  private mutating func placeBlock(_ index: Int, _ perBlock: UInt64) throws(ImageError) {
    guard index < 1 << 23 else { throw ImageError(.noSpace, "the refcount table cannot grow beyond 8 MiB") }
    while blocks.count <= index { blocks.append(0) }
    guard blocks[index] == 0 else { return }
    let start = UInt64(index) * perBlock
    guard isUsed(start..<min(start + perBlock, end)) else { return }
    var cluster = start
    while count(of: cluster) != 0 { cluster += 1 }
    try take(cluster)
    blocks[index] = cluster
  }

  /// The first free clusters in a row.
  private func gap(of length: UInt64) -> Range<UInt64> {
    var start: UInt64 = 0
    var at: UInt64 = 0
    while at - start < length {
      if count(of: at) != 0 { start = at + 1 }
      at += 1
    }
    return start..<at
  }

  private func writeStructures(_ perBlock: UInt64) throws(ImageError) {
    let tables = TableWriter(check.storage, check.opened)
    var entries: [UInt64] = []
    for (index, block) in blocks.enumerated() {
      let place = geometry.start(of: HostCluster(block))
      entries.append(place.value)
      guard block != 0 else { continue }
      let counts = counts(index, perBlock)
      try tables.writeNew(counts, .refcountBlock, .newTable, at: place)
      guard check.storage.isRecording else { continue }
      tables.noteCounts(
        at: place, first: geometry.firstCluster(ofBlock: index), countsBefore(index), by: counts)
    }
    let perCluster = Int(geometry.tableEntriesPerCluster)
    entries.append(contentsOf: repeatElement(0, count: table.count * perCluster - entries.count))
    // Only what is on disk may be named.
    _ = try tables.installRefcountTable(entries, at: geometry.start(of: HostCluster(table.lowerBound)))
  }

  /// The bytes of a new block.
  private func counts(_ index: Int, _ perBlock: UInt64) -> [UInt8] {
    let codec = RefcountCodec(order: geometry.refcountOrder)
    var bytes = [UInt8](repeating: 0, count: Int(geometry.clusterSize))
    let first = geometry.firstCluster(ofBlock: index).value
    unsafe bytes.withUnsafeMutableBytes { buffer in
      for i in 0..<Int(perBlock) {
        let count = count(of: first + UInt64(i))
        if count != 0 { unsafe codec.store(count, in: buffer, at: i) }
      }
    }
    return bytes
  }

  /// The bytes of the old block, zeroes without one.
  private func countsBefore(_ index: Int) -> [UInt8] {
    let size = Int(geometry.clusterSize)
    guard index < check.opened.refcountTable.count,
      let block = RefcountTableEntry(raw: check.opened.refcountTable[index]).block,
      geometry.isAligned(block.value), let bytes = try? check.storage.bytes(at: block.value, count: size)
    else { return [UInt8](repeating: 0, count: size) }
    return bytes
  }
}
