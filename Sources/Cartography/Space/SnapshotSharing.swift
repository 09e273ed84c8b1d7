// What the disk and every internal snapshot hold, what of it they share with the disk, and what would come back
// if one of them went: the refcounts decide, as they do for the engine that deletes it. In slices.

package import Qcow
import QcowFormat
import Storage

/// The host clusters that one L1 table leads to: its own, those of its L2 tables, and what they map.
package struct DiskHolding: Equatable, Sendable {
  /// The index of ``Image/snapshots``; nil for the disk as it is now.
  package let snapshot: Int?
  /// Clusters that it leads to.
  package internal(set) var used: UInt64 = 0
  /// Clusters of these that the disk leads to from the same place.
  package internal(set) var withDisk: UInt64 = 0
  /// Clusters of these that nobody else leads to: they come back if it is deleted.
  package internal(set) var alone: UInt64 = 0
  /// Rows of clusters of ``alone``, as many as are kept of all holdings together.
  package internal(set) var rows: [Range<UInt64>] = []
  /// Guest clusters with a host cluster in each part of the disk; the parts are of equal size.
  package internal(set) var parts: [UInt64] = []
}

/// Goes through the L1 tables, that of the disk first.
package final class SnapshotSharing: Work {
  /// Snapshots that are looked at at most.
  package static let maximumSnapshots = 1024
  private static let maximumRows = 1 << 20
  /// Clusters with compressed bytes of several owners, and tables whose counts are kept, at most.
  private static let maximumKept = 1 << 18

  private var holdings: [DiskHolding]
  /// Why some numbers may be too low; nil if none is.
  package private(set) var remark: String?

  private let image: Image
  private let geometry: Geometry
  private let decoder: EntryDecoder
  private let shared: SharedClusters
  private let counts: RefcountReader
  private let tables: TableReader
  /// The tables of the disk, beside those of a snapshot.
  private let diskTables: TableReader
  private let roots: DiskRoots
  private let partCount: UInt64
  private let guestClusters: UInt64
  private var rowsLeft = SnapshotSharing.maximumRows

  /// Where it is: the holding, the L1 entry, and bytes into its table.
  private var number = 0
  private var index: UInt64 = 0
  private var at: UInt64 = 0
  private var isStarted = false

  /// What a table holds that several owners lead to, so that it is read once.
  private struct TableCount {
    var used: UInt64
    var hasStreams: Bool
  }
  private var known: [UInt64: TableCount] = [:]
  /// Clusters with compressed bytes that this holding led to, and how often where their refcount is above 1.
  private var streams: [UInt64: UInt64] = [:]
  private var row: Range<UInt64>?

  /// Starts over the bytes of the image as they are; `parts` is how many parts of the disk are told apart.
  package init(_ image: Image, parts: Int = 64) {
    self.image = image
    geometry = image.geometry
    decoder = EntryDecoder(
      geometry: image.geometry, version: image.header.version, fileLength: image.storage.length,
      unallocated: .none, belowEnd: 0, hasExternalData: image.hasExternalData)
    shared = SharedClusters(image)
    counts = RefcountReader(image)
    tables = TableReader(of: image)
    diskTables = TableReader(of: image)
    roots = DiskRoots(image)
    guestClusters = geometry.clustersCovering(geometry.virtualSize)
    partCount = max(1, min(UInt64(max(1, parts)), guestClusters))
    let snapshots = image.snapshots.indices.prefix(Self.maximumSnapshots)
    holdings = [DiskHolding(snapshot: nil)] + snapshots.map { DiskHolding(snapshot: $0) }
    for place in holdings.indices { holdings[place].parts = Array(repeating: 0, count: Int(partCount)) }
    if image.header.incompatible.contains(.dirty) {
      remark = "the refcounts of this image are not kept up, so that what comes back is not known"
    } else if image.snapshots.count > snapshots.count {
      remark = "only the first \(snapshots.count) snapshots were looked at"
    }
  }

  /// Those that are counted to their end; that of the disk stands first.
  package var counted: ArraySlice<DiskHolding> { holdings.prefix(number) }

  /// Guest clusters of a part of the disk.
  package func clusters(inPart part: Int) -> UInt64 {
    func start(_ part: Int) -> UInt64 { (UInt64(max(0, part)) * guestClusters + partCount - 1) / partCount }
    return start(part + 1) - start(part)
  }

  /// Everything has been looked at.
  package var isDone: Bool { number >= holdings.count }

  package var progress: Double {
    let part = Double(index) / Double(max(1, isDone ? 1 : entries(of: number)))
    return min(1, (Double(number) + part) / Double(holdings.count))
  }

  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while !isDone {
      // Empty entries cost next to nothing.
      for _ in 0..<64 where !isDone { advance() }
      if clock.now >= end { break }
    }
    return isDone
  }

  // MARK: L1 tables

  /// Entries that can be read.
  private func entries(of holding: Int) -> UInt64 { roots.entries(holdings[holding].snapshot) }

  /// The L2 table of an L1 entry; nil if there is none that could be read.
  private func table(_ holding: Int, _ index: UInt64) -> UInt64? {
    roots.table(holdings[holding].snapshot, index)
  }

  private func advance() {
    if !isStarted {
      isStarted = true
      addRoot()
      if let snapshot = holdings[number].snapshot,
        entries(of: number) < UInt64(image.snapshots[snapshot].l1Size)
      {
        tell("the L1 table of a snapshot does not lie in the file as it should, and is not followed")
      }
    }
    guard index < entries(of: number) else { return finish() }
    guard let table = table(number, index) else {
      index += 1
      return
    }
    let ofDisk = number == 0 ? nil : self.table(0, index)
    if at == 0, addTable(table, ofDisk) {
      index += 1
      return
    }
    addPiece(table, ofDisk)
    at += UInt64(TableReader.pieceSize)
    if at >= geometry.clusterSize {
      (index, at) = (index + 1, 0)
    }
  }

  /// The clusters of the L1 table itself.
  private func addRoot() {
    let clusters = roots.clusters(holdings[number].snapshot)
    guard !clusters.isEmpty else { return }
    holdings[number].used += UInt64(clusters.count)
    addAlone(clusters.lowerBound, UInt64(clusters.count))
  }

  /// Counts a table, and all that it maps if that is known; false if it has to be read.
  private func addTable(_ table: UInt64, _ ofDisk: UInt64?) -> Bool {
    let cluster = table >> UInt64(geometry.clusterBits)
    holdings[number].used += 1
    if table == ofDisk { holdings[number].withDisk += 1 }
    guard shared.contains(cluster) else {
      addAlone(cluster, 1)
      return false
    }
    // A part smaller than a table needs its entries.
    guard let count = known[table], !count.hasStreams, isInOnePart else { return false }
    holdings[number].used += count.used
    if table == ofDisk { holdings[number].withDisk += count.used }
    addPart(firstCluster, count.used)
    return true
  }

  // MARK: L2 tables

  /// The guest cluster that the first entry of the table maps.
  private var firstCluster: UInt64 { index &* UInt64(geometry.l2EntriesPerTable) }

  private func part(of cluster: UInt64) -> UInt64? {
    guard cluster < guestClusters else { return nil }
    // At most 2^55 clusters and few parts.
    return cluster * partCount / guestClusters
  }

  private var isInOnePart: Bool {
    part(of: firstCluster) == part(of: firstCluster + UInt64(geometry.l2EntriesPerTable) - 1)
  }

  private func addPart(_ cluster: UInt64, _ count: UInt64) {
    if let part = part(of: cluster) { holdings[number].parts[Int(part)] += count }
  }

  private func addPiece(_ table: UInt64, _ ofDisk: UInt64?) {
    let count = Int(min(UInt64(TableReader.pieceSize), geometry.clusterSize - at))
    guard let bytes = unsafe tables.bytes(at: table + at, count: count) else {
      return tell("some tables cannot be read, and what they map is not counted")
    }
    let disk =
      ofDisk == table
      ? unsafe bytes : unsafe ofDisk.flatMap { unsafe diskTables.bytes(at: $0 + at, count: count) }
    let isOwn = !shared.contains(table >> UInt64(geometry.clusterBits))
    let size = geometry.l2EntrySize
    let first = firstCluster + at / UInt64(size)
    var (used, withDisk, hasStreams) = (UInt64(0), UInt64(0), false)
    for entry in 0..<count / size {
      let word = unsafe bytes.loadUnaligned(fromByteOffset: entry * size, as: UInt64.self)
      if word == 0 { continue }
      let other = unsafe disk?.loadUnaligned(fromByteOffset: entry * size, as: UInt64.self) ?? 0
      switch decoder.reference(of: UInt64(bigEndian: word)) {
      case .none: continue
      case .cluster(let cluster):
        used += 1
        if other != 0, decoder.reference(of: UInt64(bigEndian: other)) == .cluster(cluster) { withDisk += 1 }
        if isOwn, !shared.contains(cluster) { addAlone(cluster, 1) }
      case .compressed(let clusters):
        hasStreams = true
        for cluster in clusters { addStream(cluster, isOfDisk: other == word) }
      }
      addPart(first + UInt64(entry), 1)
    }
    holdings[number].used += used
    holdings[number].withDisk += withDisk
    guard !isOwn, known.count < Self.maximumKept else { return }
    let old = at == 0 ? TableCount(used: 0, hasStreams: false) : known[table]
    if let old {
      known[table] = TableCount(used: old.used + used, hasStreams: old.hasStreams || hasStreams)
    }
  }

  // MARK: Clusters

  private func addStream(_ cluster: UInt64, isOfDisk: Bool) {
    let times = streams[cluster]
    if times == nil {
      guard streams.count < Self.maximumKept else {
        return tell("more clusters with compressed bytes are used than are told apart")
      }
      holdings[number].used += 1
      if isOfDisk { holdings[number].withDisk += 1 }
    }
    streams[cluster] = (times ?? 0) + 1
  }

  private func addAlone(_ cluster: UInt64, _ count: UInt64) {
    holdings[number].alone += count
    if let last = row, last.upperBound == cluster {
      row = last.lowerBound..<cluster + count
      return
    }
    keepRow()
    row = cluster..<cluster &+ count
  }

  private func keepRow() {
    if let row, rowsLeft > 0 {
      holdings[number].rows.append(row)
      rowsLeft -= 1
    }
    row = nil
  }

  /// The end of a holding: clusters with compressed bytes have a count for every stream.
  private func finish() {
    for cluster in streams.keys.sorted()
    where counts.refcount(of: cluster) <= streams[cluster] ?? 0 { addAlone(cluster, 1) }
    keepRow()
    streams = [:]
    number += 1
    (index, at, isStarted) = (0, 0, false)
  }

  private func tell(_ text: String) {
    if remark == nil { remark = text }
  }
}
