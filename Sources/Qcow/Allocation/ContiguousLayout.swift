// The layout with one shift: all tables in front, then every guest cluster in guest order. It says how
// much room the tables of a disk need, so that nothing of them ever lies between the data.

import QcowFormat

/// Where everything of a contiguous image goes, in clusters.
struct ContiguousLayout {
  let refcountTableClusters: UInt64
  let refcountBlocks: UInt64
  let l1Entries: UInt64
  private let l1Clusters: UInt64
  private let geometry: Geometry

  /// The layout for a disk of `size` bytes; throws ``ImageError/Code/option`` if the tables would be larger
  /// than a header may say.
  init(_ geometry: Geometry, size: ByteCount) throws(ImageError) {
    self.geometry = geometry
    let places = geometry.clustersCovering(size.value)
    l1Entries = geometry.l1Entries(for: size.value)
    guard l1Entries * 8 <= 32 << 20 else {
      throw ImageError(.option, "the L1 table would be larger than 32 MiB; use a larger cluster size")
    }
    l1Clusters = max(1, geometry.clustersCovering(l1Entries * 8))
    let blocks = geometry.refcountBlocksNeeded(
      for: HostCluster(1 + l1Clusters + l1Entries + places), generous: false)
    let table = ceil(blocks, geometry.tableEntriesPerCluster)
    guard geometry.byteCount(ofClusters: table) <= 8 << 20 else {
      throw ImageError(
        .option,
        "the refcount table would be larger than 8 MiB; use a larger cluster size or smaller refcounts")
    }
    refcountTableClusters = table
    refcountBlocks = blocks
  }

  /// Host clusters.
  var firstBlock: UInt64 { 1 + refcountTableClusters }
  var firstL2Table: UInt64 { firstBlock + refcountBlocks + l1Clusters }
  /// Clusters in front of the data.
  var tableClusters: UInt64 { firstL2Table + l1Entries }
  var refcountTableOffset: HostOffset { geometry.start(of: HostCluster(1)) }
  var l1Offset: HostOffset { geometry.start(of: HostCluster(firstBlock + refcountBlocks)) }
  /// Host offset minus guest offset of all data, in bytes.
  var shift: UInt64 { geometry.byteCount(ofClusters: tableClusters) }
}
