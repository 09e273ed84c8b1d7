// The layout with one shift: all tables in front, then every guest cluster in guest order. It says how
// much room the tables of a disk need, so that nothing of them ever lies between the data.

import QcowFormat

/// Where everything of a contiguous image goes, in clusters.
struct ContiguousLayout {
  /// Clusters of the guest's disk that have places.
  let places: UInt64
  let refcountTableClusters: UInt64
  let refcountBlocks: UInt64
  let l1Entries: UInt64
  let l1Clusters: UInt64
  private let geometry: Geometry

  /// The layout for a disk of `size` bytes; throws if the tables would be larger than a header may say.
  init(_ geometry: Geometry, size: UInt64) throws(ImageError) {
    self.geometry = geometry
    places = geometry.clustersCovering(size)
    l1Entries = geometry.l1Entries(for: size)
    guard l1Entries * 8 <= 32 << 20 else {
      throw ImageError(.option, "the L1 table would be larger than 32 MiB; use a larger cluster size")
    }
    l1Clusters = max(1, geometry.clustersCovering(l1Entries * 8))
    let blocks = geometry.refcountBlocksNeeded(
      for: 1 + l1Clusters + l1Entries + places, generous: false)
    let table = ceil(blocks, geometry.tableEntriesPerCluster)
    guard table << UInt64(geometry.clusterBits) <= 8 << 20 else {
      throw ImageError(
        .option,
        "the refcount table would be larger than 8 MiB; use a larger cluster size or smaller refcounts")
    }
    refcountTableClusters = table
    refcountBlocks = blocks
  }

  private func offset(_ cluster: UInt64) -> UInt64 { cluster << UInt64(geometry.clusterBits) }

  var refcountTableOffset: UInt64 { offset(1) }
  var firstBlock: UInt64 { 1 + refcountTableClusters }
  var l1Offset: UInt64 { offset(firstBlock + refcountBlocks) }
  var firstL2Table: UInt64 { firstBlock + refcountBlocks + l1Clusters }
  /// Clusters in front of the data.
  var tableClusters: UInt64 { firstL2Table + l1Entries }
  /// Host offset minus guest offset of all data, in bytes.
  var shift: UInt64 { offset(tableClusters) }
}
