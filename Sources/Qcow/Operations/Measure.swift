// How large a new image will be, without making it: `measure`. Everything is counted as if all tables were needed,
// so that the answer is never too small.

package import QcowFormat
import Storage

/// The size of a file before there is one.
package struct Measure: Equatable, Sendable {
  /// Bytes that the file needs at most for what the source holds now.
  package var required: UInt64
  /// Bytes with every cluster allocated.
  package var fullyAllocated: UInt64
  /// Bytes for the persistent bitmaps of the source; nil where there can be none.
  package var bitmaps: UInt64?

  /// A raw file of a disk of so many bytes.
  package init(raw size: ByteCount) {
    required = (size.value &+ 511) & ~511
    fullyAllocated = required
  }

  /// A new, empty image; only clusters, refcounts, preallocation and encryption of the options matter.
  ///
  /// - Throws: ``ImageError/Code/option`` for options and sizes that cannot be.
  package init(_ options: CreateOptions, size: ByteCount) throws(ImageError) {
    let disk = try NewDisk(options, size: size)
    fullyAllocated = disk.fullyAllocated
    required = fullyAllocated - (options.allocatesAll ? 0 : disk.size)
  }

  /// An image with the content of a disk.
  ///
  /// - Throws: ``ImageError/Code/option`` as above, and what reading the source's tables throws.
  package init(_ options: CreateOptions, source: any GuestLayer) throws(ImageError) {
    let disk = try NewDisk(options, size: ByteCount(source.virtualSize))
    var data = disk.size
    // How much of a layer below both would share nobody knows.
    if !options.allocatesAll, options.backingFile == nil {
      data = try Self.data(of: source, inClustersOf: ByteCount(options.clusterSize))
    }
    fullyAllocated = disk.fullyAllocated
    required = fullyAllocated - disk.size + data
    guard options.version >= 3, let image = source as? Image, image.header.version >= 3 else { return }
    bitmaps = try Self.bitmaps(of: image, inClustersOf: ByteCount(options.clusterSize))
  }

  /// Bytes of the clusters that hold data of a disk.
  ///
  /// - Throws: ``ImageError`` for tables that cannot be read.
  package static func data(
    of source: any GuestLayer, inClustersOf cluster: ByteCount
  ) throws(ImageError) -> UInt64 {
    let clusterSize = cluster.value
    var walk = ChainWalk(source.chain)
    var bytes: UInt64 = 0
    var offset: UInt64 = 0
    while offset < source.virtualSize {
      let extent = try walk.extent(at: offset, limit: source.virtualSize - offset)
      var length = max(1, extent.length)
      if extent.isData, !extent.isZero {
        length = ceil(offset + length, clusterSize) * clusterSize - offset
        bytes += offset % clusterSize + length
      }
      offset += length
    }
    return bytes
  }

  /// Bytes of bits, tables and directory of the bitmaps of an image, every bit counted.
  private static func bitmaps(
    of image: Image, inClustersOf cluster: ByteCount
  ) throws(ImageError) -> UInt64 {
    let clusterSize = cluster.value
    let whole = { (bytes: UInt64) in ceil(bytes, clusterSize) * clusterSize }
    var bytes: UInt64 = 0
    var directory: UInt64 = 0
    for bitmap in try BitmapCopy(image).entries {
      let data = whole(ceil(ceil(image.virtualSize, bitmap.granularity), 64) * 8)
      bytes += data + whole(data / clusterSize * 8)
      directory += UInt64(bitmap.encoded.count)
    }
    return bytes + whole(directory)
  }
}

/// What a disk takes in a file with all clusters of it.
private struct NewDisk {
  /// Bytes of the disk in whole clusters.
  let size: UInt64
  let fullyAllocated: UInt64

  init(_ options: CreateOptions, size wanted: ByteCount) throws(ImageError) {
    try options.checkClusters()
    try options.checkRefcounts()
    let clusterSize = options.clusterSize
    let tooLarge = ImageError(
      .option, "The image size is too large (try using a larger cluster size)")
    let (sum, overflow) = wanted.value.addingReportingOverflow(clusterSize - 1)
    guard !overflow, sum <= UInt64(Int64.max) else { throw tooLarge }
    size = sum / clusterSize * clusterSize
    let entrySize: UInt64 = options.extendedL2 ? 16 : 8
    let whole = { (count: UInt64, unit: UInt64) in ceil(count, unit) * unit }
    let entries = whole(size / clusterSize, clusterSize / entrySize)
    let tables = entries * entrySize / clusterSize
    guard tables * 8 <= 32 << 20 else { throw tooLarge }
    let metadata = clusterSize + entries * entrySize + whole(tables, clusterSize / 8) * 8
    let geometry = options.emptyHeader().geometry
    let blocks = geometry.refcountBlocksNeeded(
      for: HostCluster((metadata + size) / clusterSize), generous: false)
    let refcounts = blocks + ceil(blocks, geometry.tableEntriesPerCluster)
    let luks = whole(options.encryption?.headerSize ?? 0, clusterSize)
    fullyAllocated = metadata + refcounts * clusterSize + size + luks
  }
}

extension CreateOptions {
  /// Every cluster has its place from the start.
  fileprivate var allocatesAll: Bool { preallocation == .falloc || preallocation == .full }
}
