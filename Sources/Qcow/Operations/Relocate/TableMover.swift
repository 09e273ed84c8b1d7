// Moves tables: L2 tables, refcount blocks, the L1 table and the refcount table, each by claim, copy,
// one switch of what points to it, and only then the old place is given back.

import QcowFormat
import Storage

/// A table of one cluster and where it goes.
struct TableMove {
  var index: Int
  var from: HostCluster
  var to: HostCluster
}

extension ClusterMover {
  private var clusterSize: ByteCount { ByteCount(geometry.clusterSize) }

  private func copyTables(_ moves: [TableMove], _ structure: Structure) throws(ImageError) {
    for move in moves {
      try tables.guardWrite(start(move.to), clusterSize)
      try copier.copy(from: start(move.from), to: start(move.to), clusterSize, structure)
    }
    try flushStorage()
  }

  /// Moves L2 tables; `index` is that of the L1 entry. The places are taken already.
  func moveL2Tables(_ moves: [TableMove]) throws(ImageError) {
    guard !moves.isEmpty else { return }
    try l2.cache.flush()
    try settle()
    try copyTables(moves, .l2Table)
    for move in moves {
      let new = L1Entry(raw: tables.l1[move.index] & ~L1Entry.offsetMask | start(move.to).value)
      try tables.setL1Entry(move.index, new, flushes: false)
    }
    try flushStorage()
    for move in moves { try allocator.free(start(move.from), clusterSize, .never) }
  }

  /// Moves refcount blocks; `index` is that of the refcount table entry. The places are taken already.
  func moveBlocks(_ moves: [TableMove]) throws(ImageError) {
    guard !moves.isEmpty else { return }
    try refcounts.cache.flush()
    try copyTables(moves, .refcountBlock)
    for move in moves { try tables.setRefcountTableEntry(move.index, start(move.to), flushes: false) }
    try flushStorage()
    // The copies in memory are kept under the old places.
    for move in moves { refcounts.cache.drop(start(move.from)) }
    for move in moves { try allocator.free(start(move.from), clusterSize, .never) }
  }

  /// Moves the L1 table to clusters that are taken already.
  func moveL1(to cluster: HostCluster) throws(ImageError) {
    try l2.cache.flush()
    try refcounts.cache.flush()
    try editor.moveL1(to: start(cluster), entries: tables.l1.count)
  }

  /// Moves the refcount table behind everything.
  func moveRefcountTableBeyond() throws(ImageError) {
    let before = tables.refcountTablePlace
    let count = ClusterCount(UInt64(tables.header.refcountTableClusters))
    let first = try claimBeyond(count)
    guard tables.refcountTablePlace == before else {
      // It had to grow meanwhile, and has moved by that.
      return try allocator.free(start(first), geometry.bytes(count), .never)
    }
    try refcounts.cache.flush()
    let old = try tables.installRefcountTable(tables.refcountTable, at: start(first))
    try allocator.free(old.lowerBound, ByteCount(old.upperBound - old.lowerBound), .never)
  }
}
