// Moves tables: L2 tables, refcount blocks, the L1 table and the refcount table, each by claim, copy,
// one switch of what points to it, and only then the old place is given back.

import QcowFormat
import Storage

/// A table of one cluster and where it goes; host clusters.
struct TableMove {
  var index: Int
  var from: UInt64
  var to: UInt64
}

extension ClusterMover {
  private var clusterSize: UInt64 { image.geometry.clusterSize }
  private var bits: UInt64 { UInt64(image.geometry.clusterBits) }

  private func copyTables(_ moves: [TableMove], _ structure: Structure) throws(ImageError) {
    for move in moves {
      try image.tables.guardWrite(HostOffset(move.to << bits), clusterSize)
      try copier.copy(from: move.from << bits, to: move.to << bits, count: clusterSize, structure)
    }
    try image.flushStorage()
  }

  /// Moves L2 tables; `index` is that of the L1 entry. The places are taken already.
  func moveL2Tables(_ moves: [TableMove]) throws(ImageError) {
    guard !moves.isEmpty else { return }
    try image.l2Cache.flush()
    try settle()
    try copyTables(moves, .l2Table)
    for move in moves {
      let new = L1Entry(raw: image.l1[move.index] & ~L1Entry.offsetMask | move.to << bits)
      try image.tables.setL1Entry(move.index, new, flushes: false)
    }
    try image.flushStorage()
    for move in moves { try image.free(move.from << bits, clusterSize, .never) }
  }

  /// Moves refcount blocks; `index` is that of the refcount table entry. The places are taken already.
  func moveBlocks(_ moves: [TableMove]) throws(ImageError) {
    guard !moves.isEmpty else { return }
    try image.refcountCache.flush()
    try copyTables(moves, .refcountBlock)
    for move in moves {
      try image.tables.setRefcountTableEntry(
        move.index, HostOffset(move.to << bits), flushes: false)
    }
    try image.flushStorage()
    // The copies in memory are kept under the old places.
    for move in moves { image.refcountCache.drop(move.from << bits) }
    for move in moves { try image.free(move.from << bits, clusterSize, .never) }
  }

  /// Moves the L1 table to clusters that are taken already.
  func moveL1(to cluster: UInt64) throws(ImageError) {
    try image.l2Cache.flush()
    try image.refcountCache.flush()
    try image.moveL1(to: cluster << bits, entries: image.l1.count)
  }

  /// Moves the refcount table behind everything.
  func moveRefcountTableBeyond() throws(ImageError) {
    let before = image.header.refcountTableOffset
    let count = UInt64(image.header.refcountTableClusters)
    let first = try claimBeyond(count)
    guard image.header.refcountTableOffset == before else {
      // It had to grow meanwhile, and has moved by that.
      return try image.free(first << bits, count << bits, .never)
    }
    try image.refcountCache.flush()
    let old = try image.tables.installRefcountTable(image.refcountTable, at: HostOffset(first << bits))
    try image.free(old.lowerBound.value, old.upperBound - old.lowerBound, .never)
  }
}
