// How large the two caches of an image are, and how large a part of an L2 table they hold at once. The parts
// decide where clusters go, because no request is handled across one in one step.

import QcowFormat
import Storage

/// The caches of an image.
struct TableCaches {
  let l2: TableCache
  let refcounts: TableCache

  /// Empty caches that fit the disk. `dataFile` is the external data file, if there is one. Throws
  /// ``ImageError/Code/option`` for a size that cannot be.
  init(_ tables: TableWriter, _ options: Image.Options, dataFile: (any Storage)?) throws(ImageError) {
    let geometry = tables.geometry
    let clusterSize = geometry.clusterSize
    // All L2 tables of the disk, whole ones.
    let wanted = max(1, geometry.l1Entries(for: geometry.virtualSize)).multipliedReportingOverflow(
      by: clusterSize)
    let everything = wanted.overflow ? UInt64.max : wanted.partialValue
    let inOrder: UInt64 = 1 << 16
    let standard: UInt64 = options.readsInOrder ? 4 * inOrder : 32 << 20
    let size = min(options.l2CacheSize ?? standard, max(everything, 2 * clusterSize))
    let part: UInt64 = options.readsInOrder ? inOrder : 4096
    var entry = options.l2CacheEntrySize ?? (size < everything ? min(clusterSize, part) : clusterSize)
    if options.l2CacheEntrySize != nil {
      guard entry >= 512, entry <= clusterSize, entry & (entry - 1) == 0 else {
        throw ImageError(
          .option,
          "L2 cache entry size must be a power of two between 512 and the cluster size (\(clusterSize))")
      }
    }
    entry = min(entry, clusterSize)
    l2 = TableCache(
      tables, structure: .l2Table, tableSize: Int(entry), capacity: Int(clamping: max(2, size / entry)))
    l2.dataFile = dataFile
    refcounts = TableCache(
      tables, structure: .refcountBlock, tableSize: Int(clusterSize),
      capacity: Int(max(4, (1 << 20) / clusterSize)))
  }
}
