// The two walks over the L2 tables behind the figures of fragmentation, as values that a scan moves about
// whole: what every entry goes through must not pay for checked access to an object.

import QcowFormat
import Qcow

/// The first walk: figures in the order of the disk, and which host clusters hold what.
struct TablesPass {
  var walk: EntryWalk
  /// Without compressed clusters, these alone, and all of them as soon as there are both.
  var standard: RunFigures
  var compressed: RunFigures
  var every: RunFigures?
  /// Host clusters of tables and other structures.
  var metadata: ClusterBits
  /// Clusters of ``metadata``.
  var metadataCount: UInt64 = 0
  /// Host clusters with data; empty if their order is not looked at.
  var data: ClusterBits
  /// Host clusters with compressed streams.
  var streams: ClusterBits?
  private let clusterBits: UInt64
  private let guestClusters: UInt64
  private let dataClusters: UInt64

  init(_ image: Image, _ result: Fragmentation) {
    walk = EntryWalk(image)
    standard = RunFigures(image.geometry)
    compressed = RunFigures(image.geometry)
    // In a data file there are no tables.
    metadata = ClusterBits(clusters: result.hasExternalData ? 0 : result.fileClusters)
    dataClusters = result.knowsHostOrder ? result.dataClusters : 0
    data = ClusterBits(clusters: dataClusters)
    clusterBits = UInt64(image.geometry.clusterBits)
    guestClusters = image.geometry.clusterCount
  }

  /// All places of tables are known.
  mutating func sealMetadata() {
    metadata.seal()
    metadataCount = metadata.count(in: 0..<metadata.clusters)
  }

  mutating func stride() {
    var walk = walk
    walk.stride { row in
      if row.guest < guestClusters { take(row.clipped(to: guestClusters)) }
    }
    self.walk = walk
  }

  @inline(__always)
  private mutating func take(_ row: EntryRow) {
    let first = row.host >> clusterBits
    if row.kind == .compressed {
      // Up to here all clusters were standard ones.
      if every == nil { every = standard }
      compressed.add(row, metadata, metadataCount)
      if streams == nil { streams = ClusterBits(clusters: dataClusters) }
      streams?.insert(first, count: ((row.end &- 1) >> clusterBits) - first + 1)
    } else {
      standard.add(row, metadata, metadataCount)
      data.insert(first, count: row.count)
    }
    every?.add(row, metadata, metadataCount)
  }

  /// Ends the last runs, and makes the sets ready for the second walk.
  mutating func finish() {
    standard.finish()
    compressed.finish()
    every?.finish()
    data.seal()
    streams?.seal()
  }

  /// Nothing is known to lie in the clusters.
  func isUnused(_ range: Range<UInt64>) -> Bool {
    metadata.count(in: range) == 0 && data.count(in: range) == 0
      && streams.map { $0.count(in: range) == 0 } ?? true
  }

  func isUnused(_ cluster: UInt64) -> Bool {
    !metadata.contains(cluster) && !data.contains(cluster) && !(streams?.contains(cluster) ?? false)
  }
}

/// The second walk: the order in the file.
struct OrderPass {
  private(set) var walk: EntryWalk
  /// By ``ClusterChoice``.
  private(set) var all: HostOrder
  private(set) var standard: HostOrder
  private(set) var compressed: HostOrder
  private let data: ClusterBits
  private let streams: ClusterBits?
  private let guestClusters: UInt64

  init(_ image: Image, _ tables: TablesPass) {
    walk = EntryWalk(image)
    all = HostOrder(image.geometry)
    standard = HostOrder(image.geometry)
    compressed = HostOrder(image.geometry)
    data = tables.data
    streams = tables.streams
    guestClusters = image.geometry.clusterCount
  }

  mutating func stride() {
    var walk = walk
    walk.stride { row in
      if row.guest < guestClusters { take(row.clipped(to: guestClusters)) }
    }
    self.walk = walk
  }

  @inline(__always)
  private mutating func take(_ row: EntryRow) {
    if row.kind == .compressed { compressed.add(row, data, streams) } else { standard.add(row, data, nil) }
    // Without compressed clusters both are the same.
    if let streams { all.add(row, data, streams) }
  }

  mutating func finish() {
    all.finish()
    standard.finish()
    compressed.finish()
  }
}

extension EntryRow {
  /// The part before guest cluster `end`.
  @inline(__always)
  func clipped(to end: UInt64) -> EntryRow {
    guard guest &+ count > end, kind != .compressed else { return self }
    var row = self
    row.count = end - guest
    row.end = host &+ (self.end &- host) / count &* row.count
    return row
  }
}
