// New refcounts for an image in which a cluster in use has no count: blocks for all clusters that have owners,
// and a table that names them, all in places that nothing uses.

import QcowFormat
import Storage

/// New refcount blocks and a new table for an image in which a cluster in use has no count.
struct RefcountRebuild {
  private let storage: any Storage
  private let opened: OpenedTables
  private let geometry: Geometry
  private let references: ReferenceCounter
  /// Clusters of new blocks behind what is counted; the others are counted there.
  private var behind: Set<HostCluster> = []
  /// The first cluster behind everything in use.
  private var end: HostCluster
  /// By index into the new table: the cluster of the block; cluster 0 for none.
  private var blocks: [HostCluster] = []
  private var table = HostCluster(0)..<HostCluster(0)

  /// `check` has come to its end.
  init(_ check: ImageCheck) {
    storage = check.storage
    opened = check.opened
    geometry = check.image.geometry
    references = check.references
    end = references.end
  }

  private func count(of cluster: HostCluster) -> UInt64 {
    if table.contains(cluster) || behind.contains(cluster) { return 1 }
    return references.tally.count(of: cluster)
  }

  private mutating func take(_ cluster: HostCluster) throws(ImageError) {
    end = max(end, cluster + 1)
    guard cluster < references.end else {
      behind.insert(cluster)
      return
    }
    do throws(CheckStop) { try references.add(cluster) } catch {
      throw ImageError(.noSpace, "Could not repair dirty image: \(error.detail ?? "too large")")
    }
  }

  /// Whether anything in a range is in use; long stretches without owners cost nothing.
  private func isUsed(_ range: Range<HostCluster>) -> Bool {
    if range.overlaps(table) || behind.contains(where: range.contains) { return true }
    let tally = references.tally
    var at = range.lowerBound
    while at < range.upperBound {
      if tally.chunk(HostTally.chunkNumber(at)) == nil {
        at = HostTally.endOfChunk(at)
      } else if tally.count(of: at) != 0 {
        return true
      } else {
        at = at + 1
      }
    }
    return false
  }

  /// Places and writes blocks and table. Throws if there is no room for them, and what the host says.
  mutating func write() throws(ImageError) {
    // A block goes to the first free cluster of the range that it counts or behind it, so that a
    // range only grows the ones that come later; the table may need one more.
    var index = 0
    while true {
      while geometry.firstCluster(ofBlock: index) < end {
        try placeBlock(index)
        index += 1
      }
      if tableClusters != wantedTableClusters {
        table = HostCluster(0)..<HostCluster(0)
        table = gap(of: wantedTableClusters)
        end = max(end, table.upperBound)
      }
      // The table may have come to lie in a range without a block.
      var cluster = table.lowerBound
      while cluster < table.upperBound {
        let number = Int(geometry.refcountTableIndex(of: cluster))
        if blocks.indices.contains(number) { try placeBlock(number) }
        cluster = cluster + 1
      }
      if geometry.firstCluster(ofBlock: index) >= end, tableClusters == wantedTableClusters { break }
    }
    try writeStructures()
  }

  private var tableClusters: ClusterCount { table.upperBound - table.lowerBound }
  private var wantedTableClusters: ClusterCount {
    ClusterCount(ceil(UInt64(blocks.count), geometry.tableEntriesPerCluster))
  }

  private mutating func placeBlock(_ index: Int) throws(ImageError) {
    guard index < 1 << 23 else { throw ImageError(.noSpace, "the refcount table cannot grow beyond 8 MiB") }
    while blocks.count <= index { blocks.append(HostCluster(0)) }
    guard blocks[index].value == 0 else { return }
    let start = geometry.firstCluster(ofBlock: index)
    guard isUsed(start..<min(geometry.endOfBlock(start), end)) else { return }
    var cluster = start
    while count(of: cluster) != 0 { cluster = cluster + 1 }
    try take(cluster)
    blocks[index] = cluster
  }

  /// The first free clusters in a row.
  private func gap(of length: ClusterCount) -> Range<HostCluster> {
    var start = HostCluster(0)
    var at = start
    while at - start < length {
      let isFree = count(of: at) == 0
      at = at + 1
      if !isFree { start = at }
    }
    return start..<at
  }

  private func writeStructures() throws(ImageError) {
    let tables = TableWriter(storage, opened)
    var entries: [UInt64] = []
    for (index, block) in blocks.enumerated() {
      let place = geometry.start(of: block)
      entries.append(place.value)
      guard block.value != 0 else { continue }
      let counts = counts(index)
      try tables.writeNew(counts, .refcountBlock, .newTable, at: place)
      guard storage.isRecording else { continue }
      tables.noteCounts(
        at: place, first: geometry.firstCluster(ofBlock: index), countsBefore(index), by: counts)
    }
    let size = Int(tableClusters.value * geometry.tableEntriesPerCluster)
    entries.append(contentsOf: repeatElement(0, count: size - entries.count))
    // Only what is on disk may be named.
    _ = try tables.installRefcountTable(entries, at: geometry.start(of: table.lowerBound))
  }

  /// The bytes of a new block.
  private func counts(_ index: Int) -> [UInt8] {
    let codec = RefcountCodec(order: geometry.refcountOrder)
    var bytes = [UInt8](repeating: 0, count: Int(geometry.clusterSize))
    let first = geometry.firstCluster(ofBlock: index)
    unsafe bytes.withUnsafeMutableBytes { buffer in
      for i in 0..<Int(geometry.refcountsPerBlock) {
        let count = count(of: first + ClusterCount(UInt64(i)))
        if count != 0 { unsafe codec.store(count, in: buffer, at: i) }
      }
    }
    return bytes
  }

  /// The bytes of the old block, zeroes without one.
  private func countsBefore(_ index: Int) -> [UInt8] {
    let size = Int(geometry.clusterSize)
    guard index < opened.refcountTable.count,
      let block = RefcountTableEntry(raw: opened.refcountTable[index]).block,
      geometry.isAligned(block.value), let bytes = try? storage.bytes(at: block.value, count: size)
    else { return [UInt8](repeating: 0, count: size) }
    return bytes
  }
}
