// New refcount blocks, and a larger refcount table when the blocks have no room in the old one: made in free
// clusters, counted by others or by themselves, and entered only when they are on the disk.

import QcowFormat
import Storage

/// One extension of what an allocator can count.
struct RefcountGrowth {
  private let allocator: Allocator
  private let l2: L2Tables
  private let rules: MappingRules
  private let tables: TableWriter
  private let refcounts: RefcountBlocks
  private let geometry: Geometry

  init(_ allocator: Allocator, _ l2: L2Tables, _ rules: MappingRules) {
    self.allocator = allocator
    self.l2 = l2
    self.rules = rules
    tables = allocator.tables
    refcounts = allocator.refcounts
    geometry = allocator.tables.geometry
  }

  /// Makes the block that covers `cluster`; see ``Allocator/makeBlock(for:)``.
  func makeBlock(for cluster: HostCluster) throws(ImageError) {
    let newCluster = try allocator.searchFree(1)
    let newBlock = geometry.start(of: newCluster)
    guard newBlock.value != 0 else {
      throw ImageError(
        .corrupt, "Preventing invalid allocation of refcount block at offset 0", at: .header, newBlock)
    }
    let size = ByteCount(geometry.clusterSize)
    let describesItself =
      geometry.refcountTableIndex(of: newCluster) == geometry.refcountTableIndex(of: cluster)
    if !describesItself {
      if try allocator.update(newBlock, size, increase: true, .never, .claim) == .retry {
        // The block of the new block had to be made first; the whole allocation starts again.
        return
      }
    }
    do throws(ImageError) {
      try hook(newCluster, for: cluster, describesItself: describesItself)
    } catch {
      refcounts.cache.drop(newBlock)
      if !describesItself {
        // Nothing points there yet. A block whose change could not be written stays behind in no cache.
        _ = try? allocator.update(newBlock, size, increase: false, .never, .retry)
      }
      throw error
    }
  }

  /// Writes a new, empty refcount block in a cluster that has been taken for it, and enters it into the
  /// table.
  private func hook(
    _ newCluster: HostCluster, for cluster: HostCluster, describesItself: Bool
  ) throws(ImageError) {
    let tableIndex = geometry.refcountTableIndex(of: cluster)
    let newBlock = geometry.start(of: newCluster)
    if !describesItself { try refcounts.cache.flush() }
    try tables.guardWrite(newBlock, ByteCount(geometry.clusterSize))
    let block = try refcounts.emptyBlock(at: newBlock)
    if describesItself { refcounts.set(1, of: newCluster, in: block, .claim) }
    tables.reach(.refblockAllocWrite)
    refcounts.cache.markDirty(newBlock)
    try refcounts.cache.flush()
    if tableIndex < tables.refcountTable.count {
      return try tables.setRefcountTableEntry(tableIndex, newBlock)
    }
    let perBlock = geometry.refcountsPerBlock
    let used = max(cluster, newCluster).value + 1
    let blocks = (used + perBlock - 1) / perBlock
    // Behind what the table could count before nothing is used; guests' places are kept free.
    let start = max(blocks * perBlock, rules.pinnedClusters?.upperBound.value ?? 0)
    _ = try makeArea(
      from: HostCluster(start), additional: 0, exact: false, preset: (tableIndex, newBlock))
  }

  /// Lays out new refcount blocks and a new, larger table from `start` on, where nothing is used, with room for
  /// so many clusters behind them. Throws as ``Allocator/makeBlock(for:)``.
  ///
  /// - Returns: the first host cluster behind the new table.
  func makeArea(
    from start: HostCluster, additional: ClusterCount, exact: Bool,
    preset: (index: Int, block: HostOffset)? = nil
  ) throws(ImageError) -> HostCluster {
    tables.reach(.reftableGrow)
    let perBlock = geometry.refcountsPerBlock
    let total = geometry.refcountBlocksNeeded(for: start + additional, generous: !exact)
    let wanted = exact ? total : total + ceil(total, 2)
    let perCluster = geometry.tableEntriesPerCluster
    let tableClusters = ceil(wanted, perCluster)
    let entries = tableClusters * perCluster
    guard total <= 8_388_608, entries * 8 <= 8 << 20 else {
      throw ImageError(.noSpace, "the refcount table cannot grow beyond 8 MiB: file too large")
    }
    var table = [UInt64](repeating: 0, count: Int(entries))
    for (i, entry) in tables.refcountTable.enumerated() where i < table.count { table[i] = entry }
    if let preset, table.indices.contains(preset.index) { table[preset.index] = preset.block.value }

    let firstIndex = geometry.refcountTableIndex(of: start)
    let lastIndex = Int(total)
    let missing =
      firstIndex < lastIndex ? table[firstIndex..<lastIndex].reduce(0) { $0 + ($1 == 0 ? 1 : 0) } : 0
    let tableCluster = start + ClusterCount(UInt64(missing))
    let end = tableCluster + ClusterCount(tableClusters)
    var next = start
    var blocks: Set<HostCluster> = []
    for index in firstIndex..<max(firstIndex, lastIndex) {
      let block: RefcountBlock
      if table[index] == 0 {
        let place = geometry.start(of: next)
        try tables.guardWrite(place, ByteCount(geometry.clusterSize))
        block = try refcounts.emptyBlock(at: place)
        table[index] = place.value
        blocks.insert(next)
        next.value += 1
      } else {
        block = try refcounts.block(at: HostOffset(table[index] & RefcountTableEntry.offsetMask))
      }
      let from = max(start.value, UInt64(index) * perBlock)
      let to = min(end.value, UInt64(index + 1) * perBlock)
      for cluster in from..<max(from, to) { refcounts.set(1, of: HostCluster(cluster), in: block, .claim) }
      refcounts.cache.markDirty(block.place)
    }
    let place = geometry.start(of: tableCluster)
    do throws(ImageError) {
      tables.reach(.refblockAllocWriteBlocks)
      try refcounts.cache.flush()
      let old = try tables.installRefcountTable(table, at: place)
      allocator.release(old.lowerBound, ByteCount(old.upperBound - old.lowerBound), .other)
    } catch {
      if tables.refcountTablePlace != place { try? forgetArea(start..<end, table, blocks) }
      throw error
    }
    return end
  }

  /// Takes back the counts of an area that no table counts on yet; `blocks` are the clusters of new blocks.
  private func forgetArea(
    _ area: Range<HostCluster>, _ table: [UInt64], _ blocks: Set<HostCluster>
  ) throws(ImageError) {
    for cluster in blocks { refcounts.cache.drop(geometry.start(of: cluster)) }
    var cluster = area.lowerBound
    while cluster < area.upperBound {
      defer { cluster.value += 1 }
      let index = geometry.refcountTableIndex(of: cluster)
      guard index < table.count else { break }
      let place = HostOffset(table[index] & RefcountTableEntry.offsetMask)
      guard place.value != 0, !blocks.contains(geometry.cluster(of: place)) else { continue }
      refcounts.set(0, of: cluster, in: try refcounts.block(at: place), .retry)
    }
  }
}

extension Geometry {
  /// Blocks that refcounts of the clusters in front of `end` and of themselves need, from a fixed point.
  func refcountBlocksNeeded(for end: HostCluster, generous: Bool) -> UInt64 {
    var clusters = end.value
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
