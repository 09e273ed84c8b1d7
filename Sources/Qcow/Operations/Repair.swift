// Repairing an image that was not closed cleanly: refcounts that lag behind are set to what the
// references say, in place where that is possible and in new blocks and a new table where it is not.

import QcowFormat
import Storage

/// What a repair tells while it works, in the order in which users of QEMU see it.
package enum RepairStep {
  /// Found before anything was changed.
  case found(CheckFinding)
  /// A cluster in use has no count, so that all counts are written anew.
  case rebuilding
  /// Set right now.
  case repairing(CheckFinding)
}

extension Image {
  /// Brings refcounts and COPIED flags in line with the references and clears the dirty bit, as every
  /// opening for writing does after a crash with lazy refcounts ("Feature bits": dirty bit).
  ///
  /// Throws, without having written anything, if there is other damage as well, or if an L2 table has
  /// lost its L1 entry.
  static func repairDirty(
    _ storage: any Storage, _ report: ((RepairStep) -> Void)? = nil
  ) throws(ImageError) {
    var problem: String?
    var mustRebuild = false
    let check = try ImageCheck(storage) { finding in
      switch finding.kind {
      case .refcountWrong(_, let refcount, let references):
        if refcount == 0 && references > 0 { mustRebuild = true }
        report?(.found(finding))
      case .copiedWrongL1, .copiedWrongL2: break
      default: if problem == nil { problem = "\(finding.kind)" }
      }
    }
    let result = check.run()
    guard result.failure == nil, problem == nil else {
      throw ImageError(
        .corrupt, "Could not repair dirty image: \(problem ?? "the check did not come to its end")")
    }
    // A crash leaves no table with entries that nothing points to; giving back what it maps would lose it.
    if result.leaks > 0, let data = check.leakedData(limit: 1 << 30), data.hint == .missingTable {
      throw ImageError(.corrupt, "Could not repair dirty image: \(data.description)")
    }
    if mustRebuild {
      report?(.rebuilding)
      var rebuild = RefcountRebuild(check)
      try rebuild.write()
    }
    // What is left is in place: too high where something was given up, too low where it only lagged.
    try correctRefcounts(storage, report)
    try correctCopiedFlags(storage, report)
    let opened = try OpenedTables(storage, writable: false, forCheck: true)
    var header = opened.header
    header.incompatible.remove(.dirty)
    let bytes: [UInt8]
    do throws(FormatError) {
      bytes = try header.encodeCluster(
        extensions: opened.extensions, backingName: opened.backingFileName)
    } catch {
      throw ImageError(error)
    }
    try onDisk { () throws(StorageError) in
      try storage.flush()
      try storage.write(bytes, at: 0, tag: WriteTag(.header, .writeBack))
      try storage.flush()
    }
  }

  fileprivate static func onDisk<T>(_ body: () throws(StorageError) -> T) throws(ImageError) -> T {
    do throws(StorageError) { return try body() } catch { throw ImageError(error) }
  }

  /// Sets every refcount that has a block to the number of references, and gives what became free
  /// back to the host.
  private static func correctRefcounts(
    _ storage: any Storage, _ report: ((RepairStep) -> Void)?
  ) throws(ImageError) {
    let check = try ImageCheck(storage) { _ in }
    let result = check.run()
    guard result.failure == nil else {
      throw ImageError(.corrupt, "Could not repair dirty image: the check did not come to its end")
    }
    guard result.leaks > 0 || result.corruptions > 0 else { return }
    try correctRefcounts(storage, by: check, report: report)
  }

  /// The same by a check that has been made. Clusters behind the end of the file have no references;
  /// with `clearsBehindEnd` their counts are cleared too. The flags that follow from the counts are
  /// left to ``correctCopiedFlags(_:_:)``.
  static func correctRefcounts(
    _ storage: any Storage, by check: ImageCheck, clearsBehindEnd: Bool = false,
    report: ((RepairStep) -> Void)? = nil
  ) throws(ImageError) {
    let geometry = check.geometry
    let codec = RefcountCodec(order: geometry.refcountOrder)
    var freed: [UInt64] = []
    for (index, raw) in check.opened.refcountTable.enumerated() {
      guard let offset = RefcountTableEntry(raw: raw).block?.value else { continue }
      var bytes = try onDisk { () throws(StorageError) in
        try storage.bytes(at: offset, count: Int(geometry.clusterSize))
      }
      let first = UInt64(index) << UInt64(geometry.refcountBlockBits)
      var isChanged = false
      unsafe bytes.withUnsafeMutableBytes { block in
        for i in 0..<Int(geometry.refcountsPerBlock)
        where clearsBehindEnd || first + UInt64(i) < check.countedClusters {
          let cluster = first + UInt64(i)
          let wanted = check.tally.count(of: cluster)
          let old = unsafe codec.value(in: UnsafeRawBufferPointer(block), at: i)
          guard old != wanted else { continue }
          unsafe codec.store(wanted, in: block, at: i)
          isChanged = true
          if wanted == 0 { freed.append(cluster) }
          report?(
            .repairing(
              CheckFinding(
                .refcountWrong(cluster: cluster, refcount: old, references: wanted),
                at: cluster << UInt64(geometry.clusterBits))))
          if storage.isRecording {
            storage.note(
              WriteTag(
                .refcountBlock, wanted < old ? .release : .claim, table: offset, index: cluster,
                before: (old, 0), after: (wanted, 0)))
          }
        }
      }
      guard isChanged else { continue }
      try onDisk { () throws(StorageError) in
        try storage.write(bytes, at: offset, tag: WriteTag(.refcountBlock, .writeBack, table: offset))
      }
    }
    try onDisk { () throws(StorageError) in
      try storage.flush()
      for cluster in freed {
        let offset = cluster << UInt64(geometry.clusterBits)
        try storage.punch(
          at: offset, count: geometry.clusterSize, tag: WriteTag(.data, .discard, table: offset))
      }
    }
  }

  /// Makes every COPIED flag of the active tables say whether the refcount is 1. The refcounts must be
  /// right.
  static func correctCopiedFlags(
    _ storage: any Storage, _ report: ((RepairStep) -> Void)? = nil
  ) throws(ImageError) {
    var wrong: [(finding: CheckFinding, entry: UInt64)] = []
    let check = try ImageCheck(storage) { finding in
      switch finding.kind {
      case .copiedWrongL1(_, let entry, _), .copiedWrongL2(let entry, _): wrong.append((finding, entry))
      default: break
      }
    }
    guard check.run().failure == nil else {
      throw ImageError(.corrupt, "Could not repair the COPIED flags: the check did not come to its end")
    }
    for (finding, entry) in wrong {
      guard let place = finding.place?.value else { continue }
      report?(.repairing(finding))
      var bytes: [UInt8] = []
      BigEndian.append(entry ^ L2Entry.copiedFlag, width: 8, to: &bytes)
      try onDisk { () throws(StorageError) in
        let tag = try copiedFlagTag(finding, entry, check, storage)
        if storage.isRecording { storage.note(tag) }
        try storage.write(bytes, at: place, tag: WriteTag(tag.target, .writeBack, table: tag.table))
      }
    }
  }

  /// Which entry has its COPIED flag changed.
  private static func copiedFlagTag(
    _ finding: CheckFinding, _ entry: UInt64, _ check: ImageCheck, _ storage: any Storage
  ) throws(StorageError) -> WriteTag {
    let geometry = check.geometry
    let place = finding.place?.value ?? 0
    let new = entry ^ L2Entry.copiedFlag
    let reason: Reason = new & L2Entry.copiedFlag == 0 ? .claim : .release
    guard case .l2Entry(let l1Index, let l2Index, _)? = finding.owners.first else {
      let table = check.header.l1TableOffset
      return WriteTag(
        .l1Table, reason, table: table, index: (place &- table) >> 3, before: (entry, 0), after: (new, 0))
    }
    let bitmap =
      geometry.hasExtendedL2 ? BigEndian.u64(try storage.bytes(at: place + 8, count: 8), 0) : 0
    let guest = geometry.guestOffset(l1Index: l1Index, l2Index: l2Index).value >> UInt64(geometry.clusterBits)
    return WriteTag(
      .l2Table, reason, table: place &- UInt64(l2Index * geometry.l2EntrySize), index: guest,
      before: (entry, bitmap), after: (new, bitmap))
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
      if check.tally.chunk(Int(clamping: at >> HostTally.chunkBits)) == nil {
        at = (at >> HostTally.chunkBits + 1) << HostTally.chunkBits
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
    let bits = UInt64(geometry.clusterBits)
    let size = Int(geometry.clusterSize)
    let codec = RefcountCodec(order: geometry.refcountOrder)
    let storage = check.storage
    var entries: [UInt8] = []
    entries.reserveCapacity(table.count * size)
    for (index, block) in blocks.enumerated() {
      BigEndian.append(block << bits, width: 8, to: &entries)
      guard block != 0 else { continue }
      var bytes = [UInt8](repeating: 0, count: size)
      let first = UInt64(index) * perBlock
      unsafe bytes.withUnsafeMutableBytes { buffer in
        for i in 0..<Int(perBlock) {
          let count = count(of: first + UInt64(i))
          if count != 0 { unsafe codec.store(count, in: buffer, at: i) }
        }
      }
      try Image.onDisk { () throws(StorageError) in
        try storage.write(
          bytes, at: block << bits, tag: WriteTag(.refcountBlock, .newTable, table: block << bits))
      }
    }
    entries.append(contentsOf: repeatElement(0, count: table.count * size - entries.count))
    var fields: [UInt8] = []
    BigEndian.append(table.lowerBound << bits, width: 8, to: &fields)
    BigEndian.append(UInt64(table.count), width: 4, to: &fields)
    let offset = table.lowerBound << bits
    try Image.onDisk { () throws(StorageError) in
      try storage.write(entries, at: offset, tag: WriteTag(.refcountTable, .newTable, table: offset))
      // Only what is on disk may be named.
      try storage.flush()
      try storage.write(fields, at: 48, tag: WriteTag(.header, .newTable, index: 48))
      try storage.flush()
    }
  }
}
