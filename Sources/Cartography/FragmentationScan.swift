// The scan behind the figures of fragmentation: where tables lie, the L2 tables in order, once more for the
// order in the file, then the refcounts. It runs in strides between key presses, in bounded memory.

import QcowFormat
package import Qcow
import Storage

/// Computes the ``Fragmentation`` of one image.
///
/// Not safe for use from two threads at once. It reads the storage of the image and never writes; changes
/// that the image holds in memory only are not seen, so flush it first.
package final class FragmentationScan {
  /// What is known so far.
  package private(set) var result: Fragmentation

  private enum Phase { case metadata, tables, order, free, done }

  /// Clusters whose refcounts are looked at one by one at most.
  private static let maximumWork: UInt64 = 1 << 29
  /// Bytes of L1 tables of snapshots that are read at most.
  private static let maximumSnapshotBytes: UInt64 = 1 << 28

  private let image: Image
  private let knowsHostOrder: Bool
  private var phase = Phase.metadata
  private var metadata: ClusterBits
  private var data: ClusterBits
  private var streams: ClusterBits?
  private var walk: EntryWalk
  private var orders: [HostOrder] = []
  private let refcounts: RefcountReader
  private var hostPosition: UInt64 = 0
  private var endsFree = false
  private var work: UInt64 = 0
  private var snapshot = 0
  private var snapshotEntry: UInt64 = 0
  private var snapshotBytes: UInt64 = 0
  private let snapshotTables: TableReader

  package init(_ image: Image) {
    self.image = image
    result = Fragmentation(image)
    knowsHostOrder = result.knowsHostOrder
    // In a data file there are no tables.
    metadata = ClusterBits(clusters: result.hasExternalData ? 0 : result.fileClusters)
    data = ClusterBits(clusters: knowsHostOrder ? result.dataClusters : 0)
    walk = EntryWalk(image)
    refcounts = RefcountReader(image)
    snapshotTables = TableReader(image.storage)
    if result.dataClusters > ClusterBits.maximumClusters {
      markPartial("the file has more clusters than the order in the file is computed for")
    }
  }

  package var isDone: Bool { phase == .done }

  private func markPartial(_ reason: String) {
    if result.partialReason == nil { result.partialReason = reason }
  }

  /// Scans on for about the given time.
  /// - Returns: true when there is nothing left to scan.
  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while phase != .done {
      switch phase {
      case .metadata: scanMetadata()
      case .tables: scanTables()
      case .order: scanOrder()
      case .free: scanFree()
      case .done: break
      }
      if clock.now >= end { break }
    }
    result.progress = progress
    return phase == .done
  }

  private var progress: Double {
    switch phase {
    case .metadata: 0
    case .tables: 0.5 * walk.progress
    case .order: 0.5 + 0.3 * walk.progress
    case .free: 0.8 + 0.2 * Double(hostPosition) / Double(max(1, result.fileClusters))
    case .done: 1
    }
  }

  // MARK: Where tables lie

  private func scanMetadata() {
    if snapshot == 0 && snapshotEntry == 0 {
      let structures = Structures(image)
      if structures.isIncomplete { markPartial("there are more structures than are followed") }
      for structure in structures.found {
        metadata.insert(structure.range.lowerBound, count: UInt64(structure.range.count))
      }
      for index in 0..<image.l1Count { insertTable(image.l1Entry(index).raw) }
    }
    guard snapshot < image.snapshots.count else {
      metadata.seal()
      phase = .tables
      return
    }
    let entry = image.snapshots[snapshot]
    let left = UInt64(entry.l1Size) - min(UInt64(entry.l1Size), snapshotEntry)
    let count = min(left, UInt64(TableReader.pieceSize / 8))
    guard count > 0, image.geometry.isAligned(entry.l1TableOffset), snapshotBytes < Self.maximumSnapshotBytes
    else {
      if snapshotBytes >= Self.maximumSnapshotBytes {
        markPartial("the L1 tables of the snapshots are too long to read them all")
      }
      snapshot += 1
      snapshotEntry = 0
      return
    }
    let place = entry.l1TableOffset &+ snapshotEntry * 8
    if let bytes = unsafe snapshotTables.bytes(at: place, count: Int(count) * 8) {
      for index in 0..<Int(count) {
        insertTable(UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self)))
      }
    }
    snapshotEntry += count
    snapshotBytes += count * 8
  }

  private func insertTable(_ raw: UInt64) {
    let offset = raw & L1Entry.offsetMask
    guard offset != 0, image.geometry.isAligned(offset) else { return }
    metadata.insert(offset >> UInt64(image.geometry.clusterBits), count: 1)
  }

  // MARK: The L2 tables

  private func scanTables() {
    let guestClusters = image.geometry.clusterCount
    walk.stride { row in
      guard row.guest < guestClusters else { return }
      take(row.clipped(to: guestClusters))
    }
    guard walk.isDone else { return }
    result.tally = walk.tally
    if walk.isCutOff { markPartial("the L2 tables are longer than 16 GiB together") }
    if walk.unreadable > 0 {
      markPartial("\(walk.unreadable) L2 table\(walk.unreadable == 1 ? "" : "s") could not be read")
    }
    result.standard.finish()
    result.compressed.finish()
    result.every?.finish()
    guard knowsHostOrder else {
      phase = .free
      return
    }
    data.seal()
    streams?.seal()
    walk = EntryWalk(image)
    orders = ClusterChoice.allCases.map { _ in HostOrder(image.geometry) }
    phase = .order
  }

  private func take(_ row: EntryRow) {
    func isMetadata(_ range: Range<UInt64>) -> Bool {
      metadata.count(in: range) == range.upperBound - range.lowerBound
    }
    let bits = UInt64(image.geometry.clusterBits)
    if row.kind == .compressed {
      // Up to here all clusters were standard ones.
      if result.every == nil { result.every = result.standard }
      result.compressed.add(row, isMetadata: isMetadata)
      if knowsHostOrder {
        if streams == nil { streams = ClusterBits(clusters: result.dataClusters) }
        let first = row.host >> bits
        streams?.insert(first, count: ((row.end &- 1) >> bits) - first + 1)
      }
    } else {
      result.standard.add(row, isMetadata: isMetadata)
      if knowsHostOrder { data.insert(row.host >> bits, count: row.count) }
    }
    result.every?.add(row, isMetadata: isMetadata)
  }

  // MARK: The order in the file

  private func scanOrder() {
    let guestClusters = image.geometry.clusterCount
    let dataClusters = result.dataClusters
    walk.stride { row in
      guard row.guest < guestClusters else { return }
      let row = row.clipped(to: guestClusters)
      for (index, choice) in ClusterChoice.allCases.enumerated() where choice.takes(row.kind) {
        orders[index].add(row) { range in
          guard range.upperBound <= dataClusters, data.count(in: range) == 0 else { return false }
          return choice == .standard || streams.map { $0.count(in: range) == 0 } ?? true
        }
      }
    }
    guard walk.isDone else { return }
    for index in orders.indices { orders[index].finish() }
    result.every?.hostRuns = orders[0].lengths
    result.standard.hostRuns = orders[1].lengths
    result.compressed.hostRuns = orders[2].lengths
    orders = []
    phase = .free
  }

  // MARK: Free space

  private func scanFree() {
    guard hostPosition < result.fileClusters, work < Self.maximumWork else {
      if work >= Self.maximumWork { markPartial("the file has more clusters than are looked at") }
      result.isComplete = true
      phase = .done
      return
    }
    let piece = refcounts.piece(at: hostPosition)
    let end = min(result.fileClusters, piece.clusters.upperBound)
    let range = hostPosition..<max(end, hostPosition + 1)
    hostPosition = range.upperBound
    if piece.isZero && isUnused(range) {
      work += 1
      result.free.add(range.lowerBound, range.upperBound - range.lowerBound, goesOn: endsFree)
      endsFree = true
      return
    }
    let last = min(range.upperBound, range.lowerBound + (Self.maximumWork - work))
    work += last - range.lowerBound
    for cluster in range.lowerBound..<last {
      let isFree = refcounts.value(cluster) == 0 && isUnused(cluster)
      if isFree { result.free.add(cluster, 1, goesOn: endsFree) }
      endsFree = isFree
    }
  }

  /// No use of the clusters is known; refcounts of a damaged image may say the same of used ones.
  private func isUnused(_ range: Range<UInt64>) -> Bool {
    if result.hasExternalData { return true }
    return metadata.count(in: range) == 0 && data.count(in: range) == 0
      && streams.map { $0.count(in: range) == 0 } ?? true
  }

  private func isUnused(_ cluster: UInt64) -> Bool {
    if result.hasExternalData { return true }
    return !metadata.contains(cluster) && !data.contains(cluster) && !(streams?.contains(cluster) ?? false)
  }
}

extension EntryRow {
  /// The part before guest cluster `end`.
  func clipped(to end: UInt64) -> EntryRow {
    guard guest &+ count > end, kind != .compressed else { return self }
    var row = self
    row.count = end - guest
    row.end = host &+ (self.end &- host) / count &* row.count
    return row
  }
}
