// An image whose data clusters lie in random order, written as bytes: no tool needs an hour to make one.

import Glibc

/// Version 3, clusters of 64 KiB, refcounts of 16 bits. Header, L1, L2 tables, refcount table, refcount blocks,
/// then the data, which is never written.
struct ScatteredImage {
  /// L2 tables, all full: 512 MiB of disk each.
  var tables: Int
  private static let cluster = 65536

  private var l1Clusters: Int { (tables * 8 + Self.cluster - 1) / Self.cluster }
  private var firstTable: Int { 1 + l1Clusters }
  private var refcountTable: Int { firstTable + tables }
  private var data: Int { tables * 8192 }
  /// Each block counts 32,768 clusters, its own among them.
  private var blocks: Int { (data + refcountTable + 1) / 32767 + 1 }
  private var tableClusters: Int { (blocks * 8 + Self.cluster - 1) / Self.cluster }
  private var firstBlock: Int { refcountTable + tableClusters }
  private var firstData: Int { firstBlock + blocks }
  private var end: Int { firstData + data }

  func write(_ path: String) throws(BenchError) {
    unsafe unlink(path)
    let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL, 0o644)
    guard descriptor >= 0 else { throw BenchError("cannot write \(path)") }
    defer { close(descriptor) }
    func put(_ words: [UInt64], at cluster: Int) throws(BenchError) {
      let bytes = words.map(\.bigEndian)
      guard
        unsafe pwrite(descriptor, bytes, bytes.count * 8, off_t(cluster * Self.cluster)) == bytes.count * 8
      else { throw BenchError("cannot write \(path)") }
    }
    func pair(_ high: Int, _ low: Int) -> UInt64 { UInt64(high) << 32 | UInt64(low) }
    func place(_ cluster: Int) -> UInt64 { UInt64(cluster * Self.cluster) }
    let copied: UInt64 = 1 << 63
    try put(
      [
        0x5146_49fb_0000_0003, 0, pair(0, 16), place(data), pair(0, tables), place(1), place(refcountTable),
        pair(tableClusters, 0), 0, 0, 0, 0, pair(4, 104), 0, 0,
      ], at: 0)
    try put((0..<tables).map { place(firstTable + $0) | copied }, at: 1)
    var numbers = Numbers(seed: 43)
    let order = numbers.order(data)
    for table in 0..<tables {
      try put(
        order[table * 8192..<(table + 1) * 8192].map { place(firstData + $0) | copied },
        at: firstTable + table)
    }
    try put((0..<blocks).map { place(firstBlock + $0) }, at: refcountTable)
    for block in 0..<blocks {
      // Four counts of 16 bits in a word.
      try put(
        (0..<8192).map { word in
          (0..<4).reduce(0) { counts, index in
            counts << 16 | (block * 32768 + word * 4 + index < end ? 1 : 0)
          }
        }, at: firstBlock + block)
    }
    guard ftruncate(descriptor, off_t(end * Self.cluster)) == 0 else {
      throw BenchError("cannot write \(path)")
    }
  }
}
