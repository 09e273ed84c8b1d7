// Clusters that a sound header says are something else than L2 tables. Refcount blocks of wide refcounts, tables of
// bitmaps and their bits can read like L2 tables, and would take the places of true ones.

import QcowFormat
import Storage

/// The structures of an image whose header can be read, L1 and L2 tables left out.
struct KnownStructures {
  /// Entries of tables of bitmaps that are followed in all.
  private static let maximumEntries = 1 << 17

  private let header: Header
  private let limits: ShapeLimits
  private let storage: any Storage
  private(set) var clusters: Set<HostCluster> = []
  private var geometry: Geometry { limits.geometry }

  /// Follows what the header names. Throws what the host says.
  init(_ header: Header, _ limits: ShapeLimits, _ storage: any Storage) throws(StorageError) {
    self.header = header
    self.limits = limits
    self.storage = storage
    try addRefcounts()
    if header.snapshotCount > 0 { add(HostOffset(header.snapshotsOffset), 1) }
    try addBitmaps()
  }

  func contains(_ cluster: HostCluster) -> Bool { clusters.contains(cluster) }

  /// Adds the clusters that `bytes` from a place on lie in.
  private mutating func add(_ place: HostOffset, _ bytes: Int) {
    guard limits.isPlace(place.value), bytes > 0, UInt64(bytes) <= storage.length - place.value else {
      return
    }
    let first = geometry.cluster(of: place).value
    for cluster in first..<first + geometry.clustersCovering(UInt64(bytes)) {
      clusters.insert(HostCluster(cluster))
    }
  }

  /// What `bytes` of entries at a place lead to; nil for a table with an entry that leads nowhere, which is not to
  /// be trusted in anything. `hasOnes` if an entry may be 1 and lead to nothing.
  private func places(
    _ table: HostOffset, _ bytes: Int, hasOnes: Bool
  ) throws(StorageError) -> [HostOffset]? {
    guard limits.isPlace(table.value), UInt64(bytes) <= storage.length - table.value else { return nil }
    let table = try storage.bytes(at: table.value, count: bytes)
    var result: [HostOffset] = []
    for at in stride(from: 0, to: table.count - 7, by: 8) {
      let word = BigEndian.u64(table, at)
      guard word != 0, !hasOnes || word != 1 else { continue }
      guard limits.isPlace(word) else { return nil }
      result.append(HostOffset(word))
    }
    return result
  }

  private mutating func addRefcounts() throws(StorageError) {
    let size = Int(min(geometry.byteCount(ofClusters: UInt64(header.refcountTableClusters)), 8 << 20))
    let table = HostOffset(header.refcountTableOffset)
    guard let blocks = try places(table, size, hasOnes: false), !blocks.isEmpty else { return }
    add(table, size)
    for block in blocks { add(block, Int(geometry.clusterSize)) }
  }

  private mutating func addBitmaps() throws(StorageError) {
    let start = UInt64(header.headerLength)
    guard start < geometry.clusterSize, geometry.clusterSize <= storage.length else { return }
    let area = try storage.bytes(at: start, count: Int(geometry.clusterSize - start))
    guard let bitmaps = (try? HeaderExtensions(parsing: area, header: header))?.bitmaps,
      limits.isPlace(bitmaps.directoryOffset),
      bitmaps.directorySize <= min(1 << 22, storage.length - bitmaps.directoryOffset)
    else { return }
    let directory = try storage.bytes(at: bitmaps.directoryOffset, count: Int(bitmaps.directorySize))
    var (at, left) = (0, Self.maximumEntries)
    for _ in 0..<min(bitmaps.count, 65535) {
      guard let entry = BitmapDirectoryEntry(parsing: directory, at: at) else { return }
      add(HostOffset(bitmaps.directoryOffset), Int(bitmaps.directorySize))
      let entries = Int(entry.tableSize)
      guard entries <= left else { return }
      left -= entries
      if let bits = try places(entry.tableOffset, entries * 8, hasOnes: true) {
        add(entry.tableOffset, entries * 8)
        for place in bits { add(place, Int(geometry.clusterSize)) }
      }
      at += max(BitmapDirectoryEntry.fixedSize, entry.entrySize)
    }
  }
}
