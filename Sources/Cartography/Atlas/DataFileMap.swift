// The other file of an image with an external data file: which of its clusters the disk uses. That file has
// no tables and no refcounts; what no entry points to in it is simply not used.

package import Qcow
package import QcowFormat
package import Storage

/// The map of an external data file, filled in small steps like the atlas.
package final class DataFileMap {
  /// The external data file.
  package let file: any Storage
  private let image: Image
  private let tables: TableReader

  /// What a finished scan found.
  private struct Found {
    var references = ReferenceCounts()
    var host = Pyramid<HostState>(clusterBits: 0, leafBits: 0)
    /// Clusters of the map.
    var clusters: UInt64 = 0
  }

  /// Shown until the next scan is complete.
  private var found: Found?
  private var next = Found()
  private var l1Index = 0
  private var entry = 0
  private var leaf = 0
  private var stretch = 0..<UInt64(0)
  private var stretchIsHole = false

  /// Everything has been counted.
  package private(set) var isDone = false
  /// Changes whenever any answer may have changed.
  package private(set) var revision = 1
  /// Why some clusters may be in use that look free; nil if all tables were read.
  package private(set) var partialReason: String?

  /// nil for images whose data lies in themselves, and if the data file is not open.
  package init?(_ image: Image) {
    guard image.hasExternalData, let file = image.dataStorage else { return nil }
    self.image = image
    self.file = file
    tables = TableReader(of: image)
  }

  /// How much of the tables was read, 0 ... 1.
  var tableProgress: Double { Double(l1Index) / Double(max(1, image.l1Count)) }

  private var geometry: Geometry { image.geometry }
  /// Clusters of the file, the last one possibly cut by its end.
  package var fileClusters: UInt64 { geometry.clustersCovering(file.length) }
  /// Clusters of the map: those of the file, and those behind its end that entries point to.
  package var clusters: UInt64 { max(fileClusters, found?.clusters ?? 0) }
  /// Clusters by what they are.
  package func count(_ state: HostState) -> UInt64 { found?.host.root[state] ?? 0 }

  /// The tables changed; the old picture stays until the new one is complete.
  package func restart() {
    revision += 1
    next = Found()
    (l1Index, entry, leaf) = (0, 0, 0)
    isDone = false
    partialReason = nil
    stretch = 0..<0
    tables.invalidate()
  }

  /// Scans on for about the given time; true when nothing is left.
  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    guard !isDone else { return true }
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    repeat {
      if l1Index < image.l1Count {
        readEntries()
      } else if next.clusters == 0 {
        if next.references.isIncomplete { partialReason = "the data file has more clusters than are counted" }
        next.clusters = max(fileClusters, next.references.end)
        let shape = Pyramid<HostState>.shape(for: next.clusters)
        next.host = Pyramid(clusterBits: shape.clusterBits, leafBits: shape.leafBits)
        if next.clusters == 0 { finish() }
      } else {
        countLeaf()
      }
    } while !isDone && clock.now < end
    return isDone
  }

  private func readEntries() {
    guard let table = image.l1Entry(l1Index).table, geometry.isAligned(table.value),
      table.value < image.storage.length
    else {
      var steps = 0
      repeat {
        l1Index += 1
        steps += 1
      } while steps < 4096 && l1Index < image.l1Count && image.l1Entry(l1Index).table == nil
      return
    }
    let size = geometry.l2EntrySize
    let count = min(geometry.l2EntriesPerTable - entry, TableReader.pieceSize / size)
    if let bytes = unsafe tables.bytes(at: table.value + UInt64(entry * size), count: count * size) {
      for index in 0..<count {
        if let cluster = unsafe Self.cluster(bytes, index, geometry),
          cluster < GuestDecoder.mapLimit(fileClusters: fileClusters)
        {
          next.references.add(cluster, .data)
        }
      }
    }
    entry += count
    if entry >= geometry.l2EntriesPerTable {
      entry = 0
      l1Index += 1
    }
  }

  /// The cluster of the data file that an entry uses.
  private static func cluster(_ bytes: UnsafeRawBufferPointer, _ index: Int, _ geometry: Geometry) -> UInt64?
  {
    let at = index * geometry.l2EntrySize
    let descriptor = UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
    guard descriptor != 0 else { return nil }
    let entry = L2Entry(descriptor: descriptor)
    guard !entry.isCompressed, geometry.hasHost(entry), geometry.isAligned(entry.offsetBits) else {
      return nil
    }
    return entry.offsetBits >> UInt64(geometry.clusterBits)
  }

  private func countLeaf() {
    let bits = UInt64(next.host.clusterBits)
    let start = UInt64(leaf) << bits
    guard start < next.clusters else { return finish() }
    next.host.setLeaf(leaf, counts(start..<min(next.clusters, start + 1 << bits), next))
    leaf += 1
    if leaf >= next.host.leafCount { finish() }
  }

  private func finish() {
    found = next
    isDone = true
    revision += 1
  }

  private func counts(_ range: Range<UInt64>, _ found: Found) -> StateCounts<HostState> {
    var counts = StateCounts<HostState>()
    for cluster in range { counts[state(of: cluster, found)] += 1 }
    return counts
  }

  private func state(of cluster: UInt64, _ found: Found) -> HostState {
    let users = found.references.count(of: cluster)
    guard cluster < fileClusters else { return users > 0 ? .hole : .pastEnd }
    if users == 0 { return .free }
    if users > 1 { return .wrong }
    return isHole(cluster) ? .hole : .data
  }

  private func isHole(_ cluster: UInt64) -> Bool {
    if !stretch.contains(cluster) {
      let bits = UInt64(geometry.clusterBits)
      let extent = file.extent(at: cluster << bits)
      let end = extent.isHole ? extent.end >> bits : geometry.clustersCovering(extent.end)
      stretchIsHole = extent.isHole && (end > cluster || extent.end >= file.length)
      stretch = cluster..<max(min(end, fileClusters), cluster + 1)
    }
    return stretchIsHole
  }

  // MARK: Asking

  /// What a cluster is; nil before the first scan is complete.
  package func state(of cluster: UInt64) -> HostState? { found.map { state(of: cluster, $0) } }

  /// Cells of 2^`log2` clusters, `log2` at least 0.
  package func cells(first: UInt64, cellClustersLog2 log2: Int, count: Int) -> [MapCell<HostState>] {
    (0..<UInt64(max(0, count))).map { index in
      let number = first &+ index
      let start = number << UInt64(log2)
      guard let found else { return .blank(.free, isKnown: false, isInside: true) }
      guard start < found.clusters else { return .blank(.pastEnd, isKnown: true, isInside: false) }
      let host = found.host
      let sums: StateCounts<HostState>
      if log2 >= host.clusterBits {
        let level = min(log2 - host.clusterBits, host.leafBits)
        sums = host.node(level: level, log2 - host.clusterBits > host.leafBits ? 0 : number)
      } else {
        sums = counts(start..<min(found.clusters, start + 1 << UInt64(log2)), found)
      }
      return MapCell<HostState>(sums, empty: .pastEnd, refcounts: (0, 0), isKnown: true)
    }
  }

  /// The whole file in `columns` cells or fewer, each of as many leaves of the map as its neighbours, but for one.
  package func strip(columns: Int) -> [HostStripCell] {
    guard let found else { return HostStripCell.unknown(clusters, columns: columns) }
    return HostStripCell.cells(found.clusters, leafBits: UInt64(found.host.clusterBits), columns: columns) {
      MapCell(found.host.sum(leaves: $1), empty: .pastEnd, refcounts: (0, 0), isKnown: true)
    }
  }

  /// Entries that one call looks through at most.
  private static let budget = 1 << 20

  /// The guest clusters that use a cluster.
  package func owners(of cluster: HostCluster) -> OwnerList {
    var list = OwnerList()
    list.facts = state(of: cluster.value).map { HostFacts(state: $0) }
    list.isComplete = found != nil
    let wanted = found?.references.count(of: cluster.value) ?? 0
    list.ownerCount = wanted
    // QEMU puts every cluster at its guest offset: that entry first, the others only if one is missing.
    let guess = GuestOffset(cluster.value << UInt64(geometry.clusterBits))
    if guess.value < geometry.virtualSize { look(for: cluster, at: guess, &list) }
    var budget = Self.budget
    var index = 0
    while UInt64(list.owners.count) < wanted, list.owners.count < 256, index < image.l1Count, budget > 0 {
      if let table = image.l1Entry(index).table { search(cluster, index, table, &list, &budget) }
      budget -= 1
      index += 1
    }
    if UInt64(list.owners.count) < wanted { list.isComplete = false }
    if wanted == 0 && list.isComplete {
      list.owners = [cluster.value < fileClusters ? .free : .pastEnd]
    }
    return list
  }

  private func look(for cluster: HostCluster, at guest: GuestOffset, _ list: inout OwnerList) {
    guard let entry = try? image.l2Entry(at: guest), !entry.isCompressed, geometry.hasHost(entry),
      entry.offsetBits >> UInt64(geometry.clusterBits) == cluster.value,
      let table = image.l1Entry(geometry.l1Index(of: guest)).table
    else { return }
    list.owners.append(
      .data(
        l1Index: geometry.l1Index(of: guest), l2Index: geometry.l2Index(of: guest), table: table, guest: guest
      ))
  }

  private func search(
    _ cluster: HostCluster, _ l1Index: Int, _ table: HostOffset, _ list: inout OwnerList, _ budget: inout Int
  ) {
    let size = geometry.l2EntrySize
    var at = 0
    while at < geometry.l2EntriesPerTable, budget > 0 {
      let count = min(geometry.l2EntriesPerTable - at, TableReader.pieceSize / size)
      budget -= count
      guard let bytes = unsafe tables.bytes(at: table.value + UInt64(at * size), count: count * size) else {
        return
      }
      for index in 0..<count where unsafe Self.cluster(bytes, index, geometry) == cluster.value {
        let guest = geometry.guestOffset(l1Index: l1Index, l2Index: at + index)
        let owner = Owner.data(l1Index: l1Index, l2Index: at + index, table: table, guest: guest)
        if !list.owners.contains(owner) { list.owners.append(owner) }
      }
      at += count
    }
  }
}

extension DataFileMap: FreeRunSource {
  var isComplete: Bool { isDone && partialReason == nil }
  var freeLeafBits: UInt64 { UInt64(found?.host.clusterBits ?? 0) }

  func freeRun(ofLeaf leaf: UInt64) -> FreeRun? {
    guard let counts = found?.host.leaf(Int(leaf)) else { return nil }
    let start = leaf << freeLeafBits
    let length = min(1 << freeLeafBits, fileClusters - min(start, fileClusters))
    if counts[.free] == 0 { return FreeRun(length: length) }
    return counts[.free] == length
      ? FreeRun(length: length, prefix: length, suffix: length, best: length, bestStart: start) : nil
  }

  func forEachFreeRow(in clusters: Range<UInt64>, _ body: (_ first: UInt64, _ count: UInt64) -> Void) {
    for cluster in clusters where state(of: cluster) == .free { body(cluster, 1) }
  }
}
