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
    standard = result.standard
    compressed = result.compressed
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

  /// Rows that are taken together.
  private static let batch = 256

  mutating func stride() {
    var walk = walk
    unsafe withUnsafeTemporaryAllocation(of: EntryRow.self, capacity: Self.batch) { rows in
      var count = 0
      walk.stride { row in
        guard row.guest < guestClusters else { return }
        unsafe rows.initializeElement(at: count, to: row.clipped(to: guestClusters))
        count &+= 1
        guard count == Self.batch else { return }
        unsafe take(UnsafeBufferPointer(rows))
        count = 0
      }
      unsafe take(UnsafeBufferPointer(rebasing: rows[..<count]))
    }
    self.walk = walk
  }

  /// Takes rows in the order of the disk, those of one kind in a row together.
  private mutating func take(_ rows: UnsafeBufferPointer<EntryRow>) {
    var start = 0
    while start < rows.count {
      let isCompressed = unsafe rows[start].kind == .compressed
      var end = start &+ 1
      while end < rows.count, unsafe (rows[end].kind == .compressed) == isCompressed { end &+= 1 }
      unsafe take(UnsafeBufferPointer(rebasing: rows[start..<end]), isCompressed: isCompressed)
      start = end
    }
  }

  private mutating func take(_ rows: UnsafeBufferPointer<EntryRow>, isCompressed: Bool) {
    if isCompressed {
      // Up to here all clusters were standard ones.
      if every == nil { every = standard }
      unsafe compressed.add(rows, metadata, metadataCount, data, streams)
      if streams == nil { streams = ClusterBits(clusters: dataClusters) }
      unsafe streams?.insert(rows, clusterBits: clusterBits)
    } else {
      unsafe standard.add(rows, metadata, metadataCount, data, nil)
      unsafe data.insert(rows, clusterBits: clusterBits)
    }
    unsafe every?.add(rows, metadata, metadataCount, data, streams)
  }

  /// Ends the last runs, and makes the sets ready for questions.
  mutating func finish() {
    standard.finish()
    compressed.finish()
    every?.finish()
    data.seal()
    streams?.seal()
  }

  /// Takes the order in the file from this walk; false if it takes a second one.
  mutating func settleOrder() -> Bool {
    guard standard.knowsOrder, compressed.knowsOrder, every?.knowsOrder ?? true else { return false }
    standard.settleOrder(data, nil)
    compressed.settleOrder(data, streams)
    every?.settleOrder(data, streams)
    return true
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

/// The second walk: the order in the file, where the first one left too many gaps open.
struct OrderPass {
  private(set) var walk: EntryWalk
  /// By ``ClusterChoice``.
  private(set) var all: Rows
  private(set) var standard: Rows
  private(set) var compressed: Rows
  private let data: ClusterBits
  private let streams: ClusterBits?
  private let guestClusters: UInt64

  init(_ image: Image, _ tables: TablesPass) {
    walk = EntryWalk(image)
    all = Rows(clusterBits: image.geometry.clusterBits)
    (standard, compressed) = (all, all)
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
    all.order.finish(data, streams)
    standard.order.finish(data, nil)
    compressed.order.finish(data, streams)
  }

  /// The order of one choice, with the row that was added last.
  struct Rows {
    var order = HostOrder()
    private var last: EntryRow?
    private let clusterBits: Int

    init(clusterBits: Int) { self.clusterBits = clusterBits }

    @inline(__always)
    fileprivate mutating func add(
      _ row: EntryRow, _ data: borrowing ClusterBits, _ streams: borrowing ClusterBits?
    ) {
      let goesOn: Bool
      if let last, row.guest == last.guest &+ last.count {
        goesOn = RunFigures.follows(last, row, clusterBits: clusterBits)
      } else {
        goesOn = false
      }
      if !goesOn {
        let joint = HostOrder.Joint(0, last, row, clusterBits: UInt64(clusterBits))
        unsafe withUnsafePointer(to: joint) {
          unsafe order.add(UnsafeBufferPointer(start: $0, count: 1), data, streams)
        }
      }
      order.goOn(row.count)
      last = row
    }
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
