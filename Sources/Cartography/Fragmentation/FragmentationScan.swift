// The scan behind the figures of fragmentation: where tables lie, the L2 tables in order, once more where the
// order in the file needs it, then the refcounts. It runs in strides between key presses, in bounded memory.

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

  /// Which figures are computed.
  package enum Extent: Sendable {
    case everything
    /// Those of all clusters in the order of the disk; no order in the file, no free space, no regions, no look at
    /// where tables lie, and of what reads cost only requests of 1 MiB.
    case diskOrder
    /// Of these only the runs, and what a check counts.
    case runs
  }
  private let extent: Extent

  private enum Phase { case metadata, tables, order, free, done }

  /// Clusters whose refcounts are looked at one by one at most.
  private static let maximumWork: UInt64 = 1 << 29
  /// Bytes of L1 tables of snapshots that are read at most.
  private static let maximumSnapshotBytes: UInt64 = 1 << 28

  private let image: Image
  private var phase = Phase.metadata
  /// The first walk, and what it found out for the others.
  private var tables: TablesPass?
  private var order: OrderPass?
  private let refcounts: RefcountReader
  private var hostPosition: UInt64 = 0
  private var endsFree = false
  /// By the place of a piece of a refcount block: what it says of its clusters.
  private var freePieces: [UInt64: FreePiece] = [:]
  private static let maximumPieces = 1 << 16
  private var work: UInt64 = 0
  private var snapshot = 0
  private var snapshotEntry: UInt64 = 0
  private var snapshotBytes: UInt64 = 0
  private let snapshotTables: TableReader

  /// A scan that has not begun. The image may not change until it is done.
  package init(_ image: Image, _ extent: Extent = .everything) {
    self.image = image
    self.extent = extent
    result = Fragmentation(image, extent)
    tables = TablesPass(image, result)
    refcounts = RefcountReader(image)
    snapshotTables = TableReader(of: image)
    if extent != .everything {
      phase = .tables
    } else if !result.knowsHostOrder {
      markPartial("the file has more clusters than the order in the file is computed for")
    }
  }

  /// The figures are complete.
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
      case .tables: scanTables(clock, end)
      case .order: scanOrder(clock, end)
      case .free: scanFree()
      case .done: break
      }
      if clock.now >= end { break }
    }
    result.progress = progress
    return phase == .done
  }

  /// How far the scan is, 0 ... 1.
  package var progress: Double {
    switch phase {
    case .metadata: 0
    case .tables: 0.5 * (tables?.walk.progress ?? 0)
    case .order: 0.5 + 0.3 * (order?.walk.progress ?? 0)
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
        tables?.metadata.insert(structure.range.lowerBound, count: UInt64(structure.range.count))
      }
      for index in 0..<image.l1Count { insertTable(image.l1Entry(index).raw) }
    }
    guard snapshot < image.snapshots.count else {
      tables?.sealMetadata()
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
    tables?.metadata.insert(offset >> UInt64(image.geometry.clusterBits), count: 1)
  }

  // MARK: The L2 tables

  private func scanTables(_ clock: ContinuousClock, _ end: ContinuousClock.Instant) {
    guard var pass = tables else {
      phase = .done
      return
    }
    // Moved out, so that nothing is copied or checked per entry.
    tables = nil
    repeat { pass.stride() } while !pass.walk.isDone && clock.now < end
    if pass.walk.isDone { finishTables(&pass) }
    result.standard = pass.standard
    result.compressed = pass.compressed
    result.every = pass.every
    tables = pass
  }

  private func finishTables(_ pass: inout TablesPass) {
    pass.finish()
    result.tally = pass.walk.tally
    if pass.walk.isCutOff { markPartial("the L2 tables are longer than 16 GiB together") }
    let unreadable = pass.walk.unreadable
    if unreadable > 0 { markPartial("\(counted(unreadable, "L2 table")) could not be read") }
    guard extent == .everything else {
      result.isComplete = true
      phase = .done
      return
    }
    if result.knowsHostOrder, !pass.settleOrder() { order = OrderPass(image, pass) }
    phase = order == nil ? .free : .order
  }

  // MARK: The order in the file

  private func scanOrder(_ clock: ContinuousClock, _ end: ContinuousClock.Instant) {
    guard var pass = order else {
      phase = .free
      return
    }
    order = nil
    repeat { pass.stride() } while !pass.walk.isDone && clock.now < end
    guard pass.walk.isDone else {
      order = pass
      return
    }
    pass.finish()
    result.every?.hostRuns = pass.all.order.lengths
    result.standard.hostRuns = pass.standard.order.lengths
    result.compressed.hostRuns = pass.compressed.order.lengths
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
    // What many parts of the file share is counted once, so that the work is that of the blocks that exist.
    if let place = piece.place, range == piece.clusters, isUnused(range) {
      let known = freePieces[place]
      work += known == nil ? UInt64(range.count) : 1
      let counted =
        known ?? FreePiece(UInt64(range.count)) { refcounts.value(range.lowerBound + $0) == 0 }
      if known == nil, freePieces.count < Self.maximumPieces { freePieces[place] = counted }
      result.free.add(counted, at: range.lowerBound, goesOn: endsFree)
      endsFree = counted.suffix > 0
      return
    }
    let last = min(range.upperBound, range.lowerBound + (Self.maximumWork - work))
    work += last - range.lowerBound
    var cluster = range.lowerBound
    while cluster < last {
      let counted = refcounts.firstZero(cluster..<last)
      if counted > cluster { endsFree = false }
      guard counted < last else { break }
      let isFree = isUnused(counted)
      if isFree { result.free.add(counted, 1, goesOn: endsFree) }
      endsFree = isFree
      cluster = counted + 1
    }
  }

  /// No use of the clusters is known; refcounts of a damaged image may call used ones free.
  private func isUnused(_ range: Range<UInt64>) -> Bool {
    result.hasExternalData || tables?.isUnused(range) ?? true
  }
  private func isUnused(_ cluster: UInt64) -> Bool {
    result.hasExternalData || tables?.isUnused(cluster) ?? true
  }
}
