// What a check looks at: the file, header and tables as they were opened, and where everything ends. All of
// it stays as it is while the check goes on.

import Glibc
import QcowFormat
import Storage

/// An image as a check sees it.
final class CheckedImage {
  let storage: any Storage
  let opened: OpenedTables
  let geometry: Geometry
  /// The end of the file, rounded up to whole sectors.
  let fileEnd: HostOffset
  /// Clusters of the file, the last one possibly cut by its end.
  let fileClusters: ClusterCount
  let hasDataFile: Bool

  /// Opens the image with the checks that an open makes, but for those that a check makes itself. Throws as
  /// opening it does.
  init(_ storage: any Storage) throws(ImageError) {
    self.storage = storage
    opened = try OpenedTables(storage, writable: false, forCheck: true)
    geometry = opened.header.geometry
    hasDataFile = opened.header.incompatible.contains(.externalDataFile)
    let length = (min(storage.length, UInt64(Int64.max) - 511) + 511) & ~511
    fileEnd = HostOffset(length)
    fileClusters = ClusterCount(geometry.clustersCovering(length))
  }

  var header: Header { opened.header }
  var clusterBytes: ByteCount { ByteCount(geometry.clusterSize) }
  /// The genuine tool can count so many clusters.
  static let countable = ClusterCount(UInt64(Int32.max))
  /// Clusters of the file that can be counted.
  var countableClusters: ClusterCount { min(fileClusters, Self.countable) }

  /// What a region touches that something in the image names.
  enum Region {
    case nothing
    /// It ends a cluster or more behind the file.
    case beyondEnd
    case clusters(first: HostCluster, count: ClusterCount)
  }

  /// Both numbers may be anything; the sums are those of 64-bit integers with a sign. Throws for a region so
  /// far away that nothing can count it.
  func region(at offset: HostOffset, _ size: ByteCount) throws(CheckStop) -> Region {
    let bytes = Int64(bitPattern: size.value)
    guard bytes > 0 else { return .nothing }
    let end = Int64(bitPattern: offset.value) &+ bytes
    guard end &- Int64(fileEnd.value) < Int64(geometry.clusterSize) else { return .beyondEnd }
    let first = geometry.cluster(of: offset)
    let last = geometry.cluster(of: HostOffset(UInt64(bitPattern: end &- 1)))
    guard first <= last else { return .nothing }
    // The region may touch one cluster behind the end; far away there is no memory for it.
    guard last.value <= fileClusters.value else { throw CheckStop(ENOMEM, counts: .checkError) }
    return .clusters(first: first, count: last + 1 - first)
  }
}
