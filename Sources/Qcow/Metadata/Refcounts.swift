// Refcounts: looking them up, changing ranges of them, and making the blocks and tables that hold
// them. A change that needed a new block is taken back and tried again, as QEMU does, because the
// block's place depends on the run the caller had found.

import Glibc
package import QcowFormat
import Storage

/// Who frees a cluster, which decides whether its bytes are given back to the host.
enum FreeClass {
  case never, always, request, snapshot, other
}

/// How a change of refcounts ended.
enum RefcountUpdate {
  case done
  /// Something had to be allocated; the change was taken back and the caller searches again.
  case retry
}

extension Image {
  /// How many users a host cluster has; 0 where no refcount block is.
  ///
  /// - Throws: ``ImageError`` for a refcount block that cannot be read.
  package func refcount(of cluster: HostCluster) throws(ImageError) -> UInt64 {
    guard let block = unsafe try refcountBlock(geometry.refcountTableIndex(of: cluster)) else { return 0 }
    return unsafe codec.value(
      in: UnsafeRawBufferPointer(start: block, count: refcountCache.tableSize),
      at: geometry.refcountBlockIndex(of: cluster))
  }

  /// Host offset of a refcount block, checked; nil if there is none.
  func refcountBlockOffset(_ tableIndex: UInt64) throws(ImageError) -> UInt64? {
    try refcountBlockOffset(tableIndex, in: refcountTable)
  }

  /// The same with another refcount table.
  @inline(__always)
  func refcountBlockOffset(_ tableIndex: UInt64, in table: [UInt64]) throws(ImageError) -> UInt64? {
    guard tableIndex < UInt64(table.count) else { return nil }
    let offset = table[Int(tableIndex)] & RefcountTableEntry.offsetMask
    guard offset != 0 else { return nil }
    guard geometry.isAligned(offset) else {
      throw ImageError(
        .corrupt, "Refblock offset \(hex(offset)) unaligned (reftable index: \(hex(tableIndex)))")
    }
    // Not damage by the rules of the genuine tool: a block behind the end of the file reads as zeroes, and
    // writing it back is what fails. Only what no host can address is refused here.
    guard offset <= UInt64(Int64.max) else {
      var error = ImageError(
        .storage, "refcount block \(tableIndex) lies at \(hex(offset)), which no file has")
      error.errno = EIO
      throw error
    }
    return offset
  }

  private func refcountBlock(_ tableIndex: UInt64) throws(ImageError) -> UnsafeMutableRawPointer? {
    guard let offset = try refcountBlockOffset(tableIndex) else { return nil }
    return unsafe try refcountCache.table(at: offset)
  }

  // MARK: Changing a range

  /// Adds one to, or takes one from, the refcount of every cluster that `length` bytes at `offset`
  /// touch.
  func updateRefcounts(
    _ offset: UInt64, _ length: UInt64, increase: Bool, _ freeClass: FreeClass, _ reason: Reason
  ) throws(ImageError) -> RefcountUpdate {
    guard length > 0 else { return .done }
    let first = offset >> UInt64(geometry.clusterBits)
    let last = (offset &+ length &- 1) >> UInt64(geometry.clusterBits)
    // A count may only sink on disk after the reference is gone.
    if !increase { try refcountCache.depend(on: l2Cache) }
    var cluster = first
    do throws(ImageError) {
      while cluster <= last {
        guard try changeRefcount(cluster, increase: increase, offset, freeClass, reason) else {
          cursor = min(cursor, first)
          undoUpdate(first, cluster, increased: increase)
          return .retry
        }
        cluster += 1
      }
    } catch {
      if !collectsDiscards { discardQueue = [] }
      undoUpdate(first, cluster, increased: increase)
      throw error
    }
    if !collectsDiscards { try processDiscards() }
    return .done
  }

  /// Takes back what a change has done before it failed. What cannot be taken back stays as a leak; the
  /// caller hears of the first failure only.
  private func undoUpdate(_ first: UInt64, _ end: UInt64, increased: Bool) {
    for cluster in first..<end {
      let place = cluster << UInt64(geometry.clusterBits)
      guard (try? changeRefcount(cluster, increase: !increased, place, .never, .retry)) == true else {
        return
      }
    }
  }

  /// Changes one refcount; false if its block had to be made first.
  private func changeRefcount(
    _ cluster: UInt64, increase: Bool, _ tableAt: UInt64, _ freeClass: FreeClass, _ reason: Reason
  ) throws(ImageError) -> Bool {
    let host = HostCluster(cluster)
    let tableIndex = geometry.refcountTableIndex(of: host)
    guard let blockOffset = try refcountBlockOffset(tableIndex) else {
      try makeRefcountBlock(for: cluster)
      return false
    }
    let memory = unsafe try refcountCache.table(at: blockOffset)
    let block = unsafe UnsafeMutableRawBufferPointer(start: memory, count: refcountCache.tableSize)
    let index = geometry.refcountBlockIndex(of: host)
    let old = unsafe codec.value(in: UnsafeRawBufferPointer(block), at: index)
    // A block that a change was meant for is written back even if the change fails, as the genuine tool has
    // it: a damaged table shows itself there, and not only when more has been built on it.
    refcountCache.markDirty(blockOffset)
    guard increase ? old < geometry.maximumRefcount : old > 0 else {
      throw ImageError(
        .refcountOverflow,
        "refcount \(old) of host cluster \(hex(cluster << UInt64(geometry.clusterBits))) cannot be \(increase ? "raised" : "lowered")"
      )
    }
    let new = increase ? old + 1 : old - 1
    unsafe codec.store(new, in: block, at: index)
    tables.note(
      WriteTag(.refcountBlock, reason, table: blockOffset, index: cluster, before: (old, 0), after: (new, 0)))
    // QEMU goes on behind the last stream even when its cluster was freed and now belongs to others,
    // and destroys them. As long as the cluster is free, going on there is harmless, and done.
    if old == 0 && byteCursor >> UInt64(geometry.clusterBits) == cluster { byteCursor = 0 }
    if new == 0 {
      cursor = min(cursor, cluster)
      // A freed table that was changed in memory must never reach the disk.
      refcountCache.drop(tableAt)
      dropL2Table(tableAt)
      if passesDiscard(freeClass) {
        queueDiscard(cluster << UInt64(geometry.clusterBits), geometry.clusterSize)
      }
    }
    return true
  }

  /// Sets a count in a block in memory and tells it; the caller marks the block for write-back.
  func setCount(
    _ count: UInt64, of cluster: UInt64, in memory: UnsafeMutableRawPointer, at block: UInt64,
    _ reason: Reason
  ) {
    let bytes = unsafe UnsafeMutableRawBufferPointer(start: memory, count: refcountCache.tableSize)
    let index = geometry.refcountBlockIndex(of: HostCluster(cluster))
    let old = unsafe codec.value(in: UnsafeRawBufferPointer(bytes), at: index)
    guard old != count else { return }
    unsafe codec.store(count, in: bytes, at: index)
    tables.note(
      WriteTag(.refcountBlock, reason, table: block, index: cluster, before: (old, 0), after: (count, 0)))
  }

  private func dropL2Table(_ offset: UInt64) {
    var at = offset
    while at < offset &+ geometry.clusterSize {
      l2Cache.drop(at)
      at += UInt64(l2Cache.tableSize)
    }
  }

  /// Takes one reference from each cluster of a range.
  func free(_ offset: UInt64, _ length: UInt64, _ freeClass: FreeClass) throws(ImageError) {
    // Blocks of clusters in use exist, so there is nothing to try again.
    _ = try updateRefcounts(offset, length, increase: false, freeClass, .release)
  }

  /// The same at the end of a request that has dropped its reference: if a count cannot be lowered, the
  /// clusters leak, that is told, and the request goes on. Damage marks the image at once, and what the
  /// request still has to unlink is unlinked nevertheless: an entry that is left in place would point to
  /// clusters that somebody else may be given.
  func release(_ offset: UInt64, _ length: UInt64, _ freeClass: FreeClass) {
    let reason: Int32
    do throws(ImageError) {
      if try updateRefcounts(offset, length, increase: false, freeClass, .release) == .done { return }
      // A block had to be made first; the cluster has no count there that could be lowered.
      reason = EAGAIN
    } catch {
      switch error.code {
      case .refcountOverflow: reason = EINVAL
      case .noSpace: reason = EFBIG
      case .storage: reason = error.errno == 0 ? EIO : error.errno
      default:
        if error.marksImage { signalCorruption(error.description) }
        reason = EIO
      }
    }
    report?("qcow2_free_clusters failed: \(FileStorage.reason(reason))")
  }

  // MARK: A missing refcount block

  /// Makes the refcount block that covers `cluster`, growing the table if it must.
  func makeRefcountBlock(for cluster: UInt64) throws(ImageError) {
    let perBlock = geometry.refcountsPerBlock
    let tableIndex = cluster / perBlock
    try l2Cache.flush()
    // What the request has unlinked is on disk now; a marked image gets no new tables.
    guard !isOutOfService else {
      throw ImageError(.outOfService, "the image was marked as corrupt and takes no more requests")
    }
    let newCluster = try searchFree(1)
    let newBlock = newCluster << UInt64(geometry.clusterBits)
    guard newBlock != 0 else {
      throw ImageError(.corrupt, "Preventing invalid allocation of refcount block at offset 0")
    }
    let describesItself = newCluster / perBlock == tableIndex
    if !describesItself {
      if try updateRefcounts(newBlock, geometry.clusterSize, increase: true, .never, .claim) == .retry {
        // The block of the new block had to be made first; the whole allocation starts again.
        return
      }
    }
    do throws(ImageError) {
      try hookRefcountBlock(newCluster, for: cluster, describesItself: describesItself)
    } catch {
      refcountCache.drop(newBlock)
      if !describesItself {
        // Nothing points there yet. A block whose change could not be written stays behind in no cache.
        _ = try? updateRefcounts(newBlock, geometry.clusterSize, increase: false, .never, .retry)
      }
      throw error
    }
  }

  /// Writes a new, empty refcount block in a cluster that has been taken for it, and enters it into the
  /// table.
  private func hookRefcountBlock(
    _ newCluster: UInt64, for cluster: UInt64, describesItself: Bool
  ) throws(ImageError) {
    let perBlock = geometry.refcountsPerBlock
    let tableIndex = cluster / perBlock
    let newBlock = newCluster << UInt64(geometry.clusterBits)
    if !describesItself { try refcountCache.flush() }
    try tables.guardWrite(HostOffset(newBlock), geometry.clusterSize)
    let memory = unsafe try refcountCache.emptyTable(at: newBlock)
    if describesItself { unsafe setCount(1, of: newCluster, in: memory, at: newBlock, .claim) }
    refcountCache.markDirty(newBlock)
    try refcountCache.flush()
    if tableIndex < UInt64(refcountTable.count) {
      try tables.setRefcountTableEntry(Int(tableIndex), HostOffset(newBlock))
      return
    }
    let used = max(cluster + 1, newCluster + 1)
    let blocks = (used + perBlock - 1) / perBlock
    // Behind what the table could count before nothing is used; guests' places are kept free.
    let start = max(blocks * perBlock, pinnedClusters?.upperBound ?? 0)
    _ = try makeRefcountArea(
      start: start << UInt64(geometry.clusterBits), additionalClusters: 0, exact: false,
      preset: (Int(tableIndex), newBlock))
  }

  /// Lays out new refcount blocks and a new, larger table from `start` on, where nothing is used.
  ///
  /// - Returns: the first host offset behind the new table.
  func makeRefcountArea(
    start: UInt64, additionalClusters: UInt64, exact: Bool, preset: (index: Int, block: UInt64)?
  ) throws(ImageError) -> UInt64 {
    let bits = UInt64(geometry.clusterBits)
    let perBlock = geometry.refcountsPerBlock
    let total = geometry.refcountBlocksNeeded(for: start >> bits + additionalClusters, generous: !exact)
    let wanted = exact ? total : total + ceil(total, 2)
    let perCluster = geometry.tableEntriesPerCluster
    let entries = ceil(wanted, perCluster) * perCluster
    guard total <= 8_388_608, entries * 8 <= 8 << 20 else {
      throw ImageError(.noSpace, "the refcount table cannot grow beyond 8 MiB: file too large")
    }
    var table = [UInt64](repeating: 0, count: Int(entries))
    for (i, entry) in refcountTable.enumerated() where i < table.count { table[i] = entry }
    if let preset, table.indices.contains(preset.index) { table[preset.index] = preset.block }

    let firstIndex = Int((start >> bits) / perBlock)
    let lastIndex = Int(total)
    let missing =
      firstIndex < lastIndex ? table[firstIndex..<lastIndex].reduce(0) { $0 + ($1 == 0 ? 1 : 0) } : 0
    let tableOffset = start + UInt64(missing) << bits
    let end = tableOffset + entries * 8
    var next = start
    var blocks: [UInt64] = []
    for index in firstIndex..<max(firstIndex, lastIndex) {
      let memory: UnsafeMutableRawPointer
      if table[index] == 0 {
        try tables.guardWrite(HostOffset(next), geometry.clusterSize)
        unsafe memory = try refcountCache.emptyTable(at: next)
        table[index] = next
        blocks.append(next >> bits)
        next += geometry.clusterSize
      } else {
        unsafe memory = try refcountCache.table(at: table[index] & RefcountTableEntry.offsetMask)
      }
      let offset = table[index] & RefcountTableEntry.offsetMask
      let from = max(start >> bits, UInt64(index) * perBlock)
      let to = min(end >> bits, UInt64(index + 1) * perBlock)
      for cluster in from..<max(from, to) {
        unsafe setCount(1, of: cluster, in: memory, at: offset, .claim)
      }
      refcountCache.markDirty(offset)
    }
    do throws(ImageError) {
      try refcountCache.flush()
      try switchRefcountTable(to: table, at: tableOffset)
    } catch {
      if header.refcountTableOffset != tableOffset {
        try? forgetRefcountArea(start >> bits..<end >> bits, table, Set(blocks))
      }
      throw error
    }
    return end
  }

  /// Takes back the counts of an area that no table counts on yet; `blocks` are the clusters of new blocks.
  private func forgetRefcountArea(
    _ area: Range<UInt64>, _ table: [UInt64], _ blocks: Set<UInt64>
  ) throws(ImageError) {
    for cluster in blocks { refcountCache.drop(cluster << UInt64(geometry.clusterBits)) }
    for cluster in area {
      let index = geometry.refcountTableIndex(of: HostCluster(cluster))
      guard index < UInt64(table.count) else { break }
      let offset = table[Int(index)] & RefcountTableEntry.offsetMask
      guard offset != 0, !blocks.contains(offset >> UInt64(geometry.clusterBits)) else { continue }
      let memory = unsafe try refcountCache.table(at: offset)
      unsafe setCount(0, of: cluster, in: memory, at: offset, .retry)
      refcountCache.markDirty(offset)
    }
  }

  private func switchRefcountTable(to table: [UInt64], at offset: UInt64) throws(ImageError) {
    let old = try tables.installRefcountTable(table, at: HostOffset(offset))
    release(old.lowerBound.value, old.upperBound - old.lowerBound, .other)
  }

  // MARK: Giving bytes back to the host

  func passesDiscard(_ freeClass: FreeClass) -> Bool {
    switch freeClass {
    case .never: return false
    case .always: return true
    case .request: return options.discard == .unmap && options.passDiscardRequest
    case .snapshot: return options.passDiscardSnapshot
    case .other: return options.passDiscardOther
    }
  }

  /// Whether frees by guest requests reach the host.
  var passesRequestDiscards: Bool { passesDiscard(.request) }

  /// Joins the range to the last queued one if they touch.
  func queueDiscard(_ offset: UInt64, _ length: UInt64) {
    let range = offset..<(offset + length)
    if let last = discardQueue.last, range.lowerBound <= last.upperBound, last.lowerBound <= range.upperBound
    {
      discardQueue[discardQueue.count - 1] =
        min(last.lowerBound, range.lowerBound)..<max(last.upperBound, range.upperBound)
    } else {
      discardQueue.append(range)
    }
  }

  /// Gives guest data's place back to the host, at once or, beside tables, together with others.
  func punchData(_ offset: UInt64, _ length: UInt64) throws(ImageError) {
    guard hasExternalData else { return queueDiscard(offset, length) }
    let target = try openData()
    try io { () throws(StorageError) in
      try target.punch(at: offset, count: length, tag: WriteTag(.data, .discard, table: offset))
    }
  }

  func processDiscards() throws(ImageError) {
    let queue = discardQueue
    discardQueue = []
    for range in queue {
      try io { () throws(StorageError) in
        try storage.punch(
          at: range.lowerBound, count: range.upperBound - range.lowerBound,
          tag: WriteTag(.data, .discard, table: range.lowerBound))
      }
    }
  }

  /// Runs an operation that frees clusters and gives them back together at its end.
  func collectingDiscards(_ body: () throws(ImageError) -> Void) throws(ImageError) {
    collectsDiscards = true
    do throws(ImageError) {
      try body()
    } catch {
      collectsDiscards = false
      discardQueue = []
      throw error
    }
    collectsDiscards = false
    try processDiscards()
  }
}

extension Geometry {
  /// Blocks that refcounts of `clusters` and of themselves need, from a fixed point.
  func refcountBlocksNeeded(for clusters: UInt64, generous: Bool) -> UInt64 {
    var clusters = clusters
    var generous = generous
    var blocks: UInt64 = 0
    var table: UInt64 = 0
    var total: UInt64 = 0
    // The counts only grow, by ever smaller steps; a few rounds reach the fixed point.
    while true {
      let last = total
      blocks = ceil(clusters + table + blocks, refcountsPerBlock)
      table = ceil(blocks, tableEntriesPerCluster)
      total = clusters + blocks + table
      if total == last {
        guard generous else { return blocks }
        clusters += ceil(table, 2)
        total = 0
        generous = false
      }
    }
  }
}

/// Division rounding up; `divisor` is not 0.
func ceil(_ value: UInt64, _ divisor: UInt64) -> UInt64 { value / divisor + (value % divisor == 0 ? 0 : 1) }
