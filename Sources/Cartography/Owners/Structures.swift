// Where the structures lie that are no L2 tables and no data: header, tables, snapshots, bitmaps,
// encryption. They come as ranges of host clusters, few even in a large image.

import QcowFormat
import Qcow
import Storage

/// One structure, or a piece of it that lies in one row.
struct StructureRange: Hashable {
  /// Host clusters.
  var range: Range<UInt64>
  var state: HostState
  /// Number of the refcount block, the snapshot or the bitmap.
  var index: Int
  /// Another structure lies there too.
  var overlaps = false
}

/// The structures of an image, in the order of their places.
struct Structures: Equatable {
  /// More ranges than this are not kept.
  static let maximumRanges = 1 << 18
  /// All structures together are followed up to this many clusters.
  static let maximumClusters: UInt64 = 1 << 22

  /// As found, with overlaps; what the reference counts are made of.
  private(set) var found: [StructureRange] = []
  /// Sorted and without overlaps: where two structures overlap, one of them gives the state.
  private(set) var ranges: [StructureRange] = []
  /// Not everything could be kept.
  private(set) var isIncomplete = false
  private var clusters: UInt64 = 0

  init() {}

  /// Collects the structures of `image`.
  init(_ image: Image) {
    let header = image.header
    let geometry = image.geometry
    add(0, geometry.clusterSize, .header, 0, geometry)
    add(header.l1TableOffset, UInt64(header.l1Size) * 8, .l1Table, 0, geometry)
    add(
      header.refcountTableOffset, UInt64(header.refcountTableClusters) << UInt64(geometry.clusterBits),
      .refcountTable,
      0, geometry)
    for index in 0..<image.refcountTableCount {
      guard let block = image.refcountTableEntry(index).block, geometry.isAligned(block.value) else {
        continue
      }
      add(block.value, geometry.clusterSize, .refcountBlock, index, geometry)
    }
    var tableBytes: UInt64 = 0
    for (index, snapshot) in image.snapshots.enumerated() {
      tableBytes += UInt64(max(0, snapshot.entrySize))
      guard geometry.isAligned(snapshot.l1TableOffset) else { continue }
      add(snapshot.l1TableOffset, UInt64(snapshot.l1Size) * 8, .snapshotTables, index, geometry)
    }
    if tableBytes > 0 { add(header.snapshotsOffset, tableBytes, .snapshotTable, 0, geometry) }
    if let crypto = image.extensions.encryption { add(crypto.offset, crypto.length, .crypto, 0, geometry) }
    if image.extensions.bitmaps != nil { addBitmaps(image) }
    flatten()
  }

  private mutating func addBitmaps(_ image: Image) {
    let geometry = image.geometry
    let bitmaps = BitmapPlaces(image)
    if let extent = image.extensions.bitmaps {
      add(extent.directoryOffset, extent.directorySize, .bitmap, 0, geometry)
    }
    for (index, place) in bitmaps.places.enumerated() {
      add(place.entry.tableOffset.value, UInt64(place.entry.tableSize) * 8, .bitmap, index, geometry)
    }
    let isComplete = bitmaps.forEachCluster(in: image) { index, _, cluster in
      add(cluster.value, geometry.clusterSize, .bitmap, index, geometry)
    }
    if !isComplete { isIncomplete = true }
  }

  private mutating func add(
    _ offset: UInt64, _ bytes: UInt64, _ state: HostState, _ index: Int, _ geometry: Geometry
  ) {
    guard bytes > 0, offset < Geometry.hostOffsetLimit else { return }
    let first = offset >> UInt64(geometry.clusterBits)
    let count = geometry.clustersCovering(
      (offset & geometry.clusterMask) &+ min(bytes, Geometry.hostOffsetLimit))
    guard found.count < Self.maximumRanges, count <= Self.maximumClusters - clusters else {
      isIncomplete = true
      return
    }
    clusters += count
    if let last = found.last, last.range.upperBound == first, last.state == state, last.index == index {
      found[found.count - 1].range = last.range.lowerBound..<first + count
    } else {
      found.append(StructureRange(range: first..<first + count, state: state, index: index))
    }
  }

  /// Adds tables that only snapshots use, once the scan knows them.
  mutating func addSnapshotTables(_ clusters: [UInt64]) {
    let sorted = clusters.sorted()
    var extra: [StructureRange] = []
    for cluster in sorted {
      if let last = extra.last, last.range.upperBound == cluster {
        extra[extra.count - 1].range = last.range.lowerBound..<cluster + 1
      } else if extra.last.map({ $0.range.upperBound < cluster }) ?? true {
        extra.append(StructureRange(range: cluster..<cluster + 1, state: .snapshotTables, index: 0))
      }
    }
    tables = extra
    flatten()
  }
  private var tables: [StructureRange] = []

  private mutating func flatten() {
    let all = found + tables
    var edges: [(at: UInt64, delta: Int, item: Int)] = []
    edges.reserveCapacity(all.count * 2)
    for (item, range) in all.enumerated() {
      edges.append((range.range.lowerBound, 1, item))
      edges.append((range.range.upperBound, -1, item))
    }
    edges.sort { $0.at < $1.at }
    ranges = []
    var open = 0
    // With one range open, the sum of the open numbers is its number.
    var sum = 0
    var first = 0
    var start: UInt64 = 0
    for edge in edges {
      if open == 1 { first = sum }
      if open > 0, edge.at > start {
        ranges.append(
          StructureRange(
            range: start..<edge.at, state: all[first].state, index: all[first].index, overlaps: open > 1))
      }
      if open == 0 { first = edge.item }
      open += edge.delta
      sum += edge.delta * edge.item
      start = edge.at
    }
  }

  /// The number of the first range that ends behind `cluster`.
  func position(of cluster: UInt64) -> Int {
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].range.upperBound > cluster { high = middle } else { low = middle + 1 }
    }
    return low
  }

  func range(at cluster: UInt64) -> StructureRange? {
    let at = position(of: cluster)
    return at < ranges.count && ranges[at].range.contains(cluster) ? ranges[at] : nil
  }
}
