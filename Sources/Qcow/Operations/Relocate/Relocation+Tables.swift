// Tables go in front of the data. What is not to stay there, or lies where data should, moves behind
// everything first; blocks that only count what waits there are dropped in the end.

import QcowFormat
import Storage

extension Relocation {
  /// A table of one cluster: the index of the entry that names it, and where it lies.
  private typealias Table = (index: Int, cluster: HostCluster)

  private var l1Range: Range<HostCluster> {
    let first = image.geometry.cluster(of: image.tables.l1Place)
    return first..<first
      + ClusterCount(image.geometry.clustersCovering(UInt64(image.tables.l1.count) * 8))
  }

  var refcountTableRange: Range<HostCluster> {
    let first = image.geometry.cluster(of: image.tables.refcountTablePlace)
    return first..<first + ClusterCount(UInt64(image.header.refcountTableClusters))
  }

  /// Tables and where they lie now.
  private func l2Tables() throws(ImageError) -> [Table] {
    var result: [Table] = []
    for index in image.tables.l1.indices {
      if let table = try image.l2.table(l1Index: index) {
        result.append((index, image.geometry.cluster(of: table)))
      }
    }
    return result
  }

  private func blocks() throws(ImageError) -> [Table] {
    var result: [Table] = []
    for index in image.tables.refcountTable.indices {
      if let block = try image.refcounts.place(ofBlock: index) {
        result.append((index, image.geometry.cluster(of: block)))
      }
    }
    return result
  }

  /// Moves tables behind everything.
  private func moveBeyond(_ tables: [Table], areBlocks: Bool) throws(ImageError) {
    guard !tables.isEmpty else { return }
    let first = try mover.claimBeyond(ClusterCount(tables.count))
    var moves: [TableMove] = []
    for (number, table) in tables.enumerated() {
      moves.append(TableMove(index: table.index, from: table.cluster, to: first + ClusterCount(number)))
    }
    if areBlocks { try mover.moveBlocks(moves) } else { try mover.moveL2Tables(moves) }
  }

  // MARK: Out of the way

  func moveTablesOut() throws(ImageError) -> Bool {
    if scope == .dataOnly { return try moveTablesOutOfSlots() }
    let passing = try blocks().filter { !places.needsBlock($0.index) && $0.cluster < places.end }
    try moveBeyond(passing, areBlocks: true)
    let table = refcountTableRange
    if table != places.refcountTable && table.lowerBound < places.end { try mover.moveRefcountTableBeyond() }
    let l1 = l1Range
    if !l1.isEmpty, l1 != places.l1Table, l1.lowerBound < places.metadataEnd {
      try mover.moveL1(to: try mover.claimBeyond(l1.clusters))
    }
    return false
  }

  private func inSlots(_ tables: [Table]) throws(ImageError) -> [Table] {
    var result: [Table] = []
    for table in tables where try isSlot(table.cluster) { result.append(table) }
    return result
  }

  /// Only the places of mapped clusters are cleared.
  private func moveTablesOutOfSlots() throws(ImageError) -> Bool {
    try moveBeyond(inSlots(try l2Tables()), areBlocks: false)
    try moveBeyond(inSlots(try blocks()), areBlocks: true)
    for cluster in refcountTableRange where try isSlot(cluster) {
      try mover.moveRefcountTableBeyond()
      break
    }
    let l1 = l1Range
    for cluster in l1 where try isSlot(cluster) {
      try mover.moveL1(to: try mover.claimBeyond(l1.clusters))
      break
    }
    return false
  }

  // MARK: Into place

  /// L2 tables and the refcount blocks that stay go in front, then the L1 table.
  func placeTables() throws(ImageError) -> Bool {
    func isOut(_ cluster: HostCluster) -> Bool {
      cluster >= places.metadataEnd || places.refcountTable.contains(cluster)
        || places.l1Table.contains(cluster)
    }
    let tables = try l2Tables().filter { isOut($0.cluster) }
    let counters = try blocks().filter { places.needsBlock($0.index) && isOut($0.cluster) }
    var free: [HostCluster] = []
    for cluster in HostCluster(1)..<max(HostCluster(1), places.metadataEnd)
    where !isOut(cluster) && free.count < tables.count + counters.count {
      if try mover.refcount(cluster) == 0 { free.append(cluster) }
    }
    guard free.count == tables.count + counters.count else {
      throw ImageError(
        .corrupt, "there is not the room for tables in front that there should be; stopped",
        at: .refcountBlock, index: places.metadataEnd.value, mover.start(places.metadataEnd))
    }
    for run in ClusterMover.runs(free) { try mover.claim(run.lowerBound, run.clusters) }
    try mover.moveL2Tables(
      zip(tables, free).map { TableMove(index: $0.index, from: $0.cluster, to: $1) })
    try mover.moveBlocks(
      zip(counters, free.dropFirst(tables.count)).map { TableMove(index: $0.index, from: $0.cluster, to: $1) }
    )
    count(clusters: tables.count + counters.count)
    let l1 = l1Range
    if !l1.isEmpty, l1 != places.l1Table {
      try mover.claim(places.l1Table.lowerBound, l1.clusters)
      try mover.moveL1(to: places.l1Table.lowerBound)
      count(clusters: l1.count)
    }
    return false
  }

  // MARK: The refcount table

  /// The refcount table goes to its place, without the blocks that are not needed any more.
  func placeRefcountTable() throws(ImageError) -> Bool {
    try image.refcounts.cache.flush()
    var isDone = refcountTableRange == places.refcountTable
    for block in try blocks() where !places.needsBlock(block.index) { isDone = false }
    guard !isDone else { return false }
    if refcountTableRange.overlaps(places.refcountTable) { try mover.moveRefcountTableBeyond() }
    let passing = try blocks().filter { !places.needsBlock($0.index) }
    try checkUnused(passing)
    var table = [UInt64](repeating: 0, count: places.blocks.count)
    for index in table.indices
    where places.needsBlock(index) && index < image.tables.refcountTable.count {
      table[index] = image.tables.refcountTable[index]
    }
    try mover.claim(places.refcountTable.lowerBound, places.refcountTable.clusters)
    try image.refcounts.cache.flush()
    let old = try image.tables.installRefcountTable(
      table, at: mover.start(places.refcountTable.lowerBound))
    // From here on the dropped blocks and whatever only they counted are gone; the rest is given back.
    for block in passing { image.refcounts.cache.drop(mover.start(block.cluster)) }
    let geometry = image.geometry
    let behind =
      Array(geometry.cluster(of: old.lowerBound)..<geometry.cluster(of: old.upperBound))
      + passing.map(\.cluster)
    for cluster in behind where try mover.refcount(cluster) > 0 {
      try mover.allocator.free(mover.start(cluster), geometry.bytes(1), .never)
    }
    try image.refcounts.cache.flush()
    count(clusters: places.refcountTable.count)
    return false
  }

  /// Blocks that are to be dropped must count nothing but each other and the refcount table.
  private func checkUnused(_ blocks: [Table]) throws(ImageError) {
    let known = Set(blocks.map(\.cluster) + Array(refcountTableRange))
    for block in blocks {
      let first = image.geometry.firstCluster(ofBlock: block.index)
      for cluster in first..<first + ClusterCount(image.geometry.refcountsPerBlock) {
        guard try mover.refcount(cluster) > 0, !known.contains(cluster) else { continue }
        throw ImageError(
          .corrupt, "host cluster \(hex(mover.start(cluster).value)) should be free and is not; stopped",
          at: .refcountBlock, index: cluster.value, mover.start(cluster))
      }
    }
  }
}
