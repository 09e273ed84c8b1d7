// The L2 entries of the active disk as an atlas reads them: counted in rows, or one by one with all that is
// known about the places they lead to.

import QcowFormat
import Qcow
import Storage

/// Reads and counts entries of the active L2 tables, against the length of the file at one moment.
final class GuestEntries {
  let decoder: GuestDecoder
  /// Bytes of tables go through here, so that a scan knows how many there were.
  let tables: TableReader
  private let image: Image
  private let unallocated: GuestState
  private let classifier: HostClassifier

  /// - Parameter regionBits: clusters of a region in signatures, as a power of two; nil chooses what suits
  ///   the file.
  init(
    _ image: Image, _ unallocated: GuestState, _ shared: SharedClusters, _ classifier: HostClassifier,
    regionBits: UInt64? = nil
  ) {
    self.image = image
    self.unallocated = unallocated
    self.classifier = classifier
    decoder = GuestDecoder(image, unallocated, shared, regionBits: regionBits)
    tables = TableReader(of: image)
  }

  private var single: EntryDecoder { decoder.decoder }
  private var geometry: Geometry { image.geometry }
  private var perTable: UInt64 { UInt64(image.geometry.l2EntriesPerTable) }
  private var fileClusters: UInt64 { geometry.clustersCovering(image.storage.length) }
  /// Clusters that the L1 table can map, beyond the end of the disk too.
  var end: UInt64 { UInt64(image.l1Count) << UInt64(image.geometry.l2Bits) }

  /// An L1 entry may lead here: a cluster of the file that is no other structure, as far as is known.
  func isTable(_ table: HostOffset?) -> Bool {
    guard let table, geometry.isAligned(table.value), table.value < image.storage.length else {
      return false
    }
    let structure = classifier.structures.range(at: geometry.cluster(of: table).value)
    return structure == nil || structure?.state == .snapshotTables
  }

  /// The entries of a range can be read without waiting for somebody; if not, they are asked for, and with them the
  /// rest of a table that is read in one piece.
  func isReady(_ clusters: Range<UInt64>) -> Bool {
    let size = UInt64(geometry.l2EntrySize)
    let isWhole = perTable * size <= UInt64(TableReader.pieceSize)
    var isReady = true
    eachTable(of: clusters) { part in
      let first = part.lowerBound % perTable
      let entries = isWhole ? 0..<perTable : first..<first + UInt64(part.count)
      if let table = image.l1Entry(Int(part.lowerBound / perTable)).table, isTable(table),
        !image.storage.isReady(
          at: table.value + entries.lowerBound * size, count: UInt64(entries.count) * size)
      {
        isReady = false
      }
    }
    return isReady
  }

  /// The part of a range that each table maps, one after the other.
  private func eachTable(of clusters: Range<UInt64>, _ body: (Range<UInt64>) -> Void) {
    let perTable = perTable
    var at = clusters.lowerBound
    while at < clusters.upperBound {
      let stop = min(clusters.upperBound, (at / perTable + 1) * perTable)
      body(at..<stop)
      at = stop
    }
  }

  // MARK: Counting

  /// Counts the entries of a range of guest clusters that one L2 table maps; what has no entry is
  /// left out.
  func count(
    _ clusters: Range<UInt64>, into counts: inout StateCounts<GuestState>, signature: inout HostSignature,
    references: ReferenceCounts? = nil, times: UInt64 = 1
  ) {
    let geometry = image.geometry
    let perTable = UInt64(geometry.l2EntriesPerTable)
    guard let table = image.l1Entry(Int(clusters.lowerBound / perTable)).table else { return }
    let units = UInt64(geometry.subclustersPerCluster)
    guard isTable(table) else {
      counts[.bad] += UInt64(clusters.count) * units
      return
    }
    let size = UInt64(geometry.l2EntrySize)
    var at = clusters.lowerBound
    while at < clusters.upperBound {
      let count = min(clusters.upperBound - at, UInt64(TableReader.pieceSize) / size)
      if let bytes = unsafe tables.bytes(at: table.value + at % perTable * size, count: Int(count * size)) {
        unsafe decoder.count(
          bytes, into: &counts, signature: &signature, references: references, times: times)
      } else {
        counts[.bad] += count * units
      }
      at += count
    }
  }

  /// The same for a range that any number of tables map.
  func count(
    all clusters: Range<UInt64>, into counts: inout StateCounts<GuestState>, signature: inout HostSignature
  ) {
    eachTable(of: clusters) { count($0, into: &counts, signature: &signature) }
  }

  /// Counts all entries of any table, as often as it is used.
  ///
  /// - Parameter tables: reads the table; another moment of the image may be read than the present one.
  /// - Returns: the regions of the file that the table leads to.
  @discardableResult
  func count(
    table: HostOffset, from tables: TableReader, references: ReferenceCounts? = nil, times: UInt64 = 1
  ) -> HostSignature {
    var signature = HostSignature()
    var ignored = StateCounts<GuestState>()
    var at: UInt64 = 0
    while at < geometry.clusterSize {
      let count = min(UInt64(TableReader.pieceSize), geometry.clusterSize - at)
      if let bytes = unsafe tables.bytes(at: table.value + at, count: Int(count)) {
        unsafe decoder.count(
          bytes, into: &ignored, signature: &signature, references: references, times: times)
      }
      at += count
    }
    return signature
  }

  /// The counts of a range with the places that have no entry.
  func withRest(_ counted: StateCounts<GuestState>, _ clusters: Range<UInt64>) -> StateCounts<GuestState> {
    let size = UInt64(geometry.clusterBits)
    let end = single.belowEnd
    // In the one cluster or leaf where the layer below ends, each place is asked.
    if end > clusters.lowerBound << size, clusters.upperBound > end >> size {
      return countPlaces(clusters)
    }
    var counts = counted
    let all = UInt64(clusters.count) * UInt64(geometry.subclustersPerCluster)
    counts[single.unallocated(at: clusters.lowerBound << size)] += all - min(all, counts.total)
    return counts
  }

  /// Counts a range place by place, with all that is known about where entries lead.
  func countPlaces(_ clusters: Range<UInt64>) -> StateCounts<GuestState> {
    let geometry = image.geometry
    let perTable = UInt64(geometry.l2EntriesPerTable)
    let units = UInt64(geometry.subclustersPerCluster)
    var counts = StateCounts<GuestState>()
    var at = clusters.lowerBound
    while at < clusters.upperBound {
      let stop = min(clusters.upperBound, (at / perTable + 1) * perTable)
      if image.l1Entry(Int(at / perTable)).table == nil {
        // Without a table the layer below says it all, in two parts at most.
        let bits = UInt64(geometry.subclusterBits)
        let start = at << UInt64(geometry.clusterBits)
        let end = stop << UInt64(geometry.clusterBits)
        let below = min(end, max(start, single.belowEnd))
        let covered = (below - start + geometry.subclusterMask) >> bits
        counts[unallocated] += covered
        counts[.none] += (stop - at) * units - covered
      } else {
        for cluster in at..<stop {
          let start = cluster << UInt64(geometry.clusterBits)
          let isWhole = start >= single.belowEnd || start + geometry.clusterSize <= single.belowEnd
          if isWhole, entry(of: cluster) == .empty, isTable(image.l1Entry(Int(cluster / perTable)).table) {
            counts[single.unallocated(at: start)] += units
          } else {
            for state in states(of: cluster) { counts[state] += 1 }
          }
        }
      }
      at = stop
    }
    return counts
  }

  // MARK: One by one

  /// The entry of a guest cluster, from the file.
  func entry(of cluster: UInt64) -> L2Entry {
    let geometry = image.geometry
    let perTable = UInt64(geometry.l2EntriesPerTable)
    guard cluster < end, let table = image.l1Entry(Int(cluster / perTable)).table,
      geometry.isAligned(table.value), table.value < image.storage.length,
      let bytes = unsafe tables.bytes(
        at: table.value + cluster % perTable * UInt64(geometry.l2EntrySize), count: geometry.l2EntrySize)
    else { return .empty }
    let descriptor = UInt64(bigEndian: unsafe bytes.loadUnaligned(as: UInt64.self))
    guard geometry.hasExtendedL2 else { return L2Entry(descriptor: descriptor) }
    let bitmap = UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    return L2Entry(descriptor: descriptor, bitmap: SubclusterBitmap(raw: bitmap))
  }

  /// What every subcluster of a guest cluster is, with all that is known about where its entry leads.
  func states(of cluster: UInt64) -> [GuestState] {
    if cluster < end, let table = image.l1Entry(Int(cluster / perTable)).table, !isTable(table) {
      return Array(repeating: .bad, count: geometry.subclustersPerCluster)
    }
    let entry = entry(of: cluster)
    return single.states(of: entry, at: cluster << UInt64(geometry.clusterBits), target(of: entry))
  }

  /// What is known about the place an entry leads to; more and more of it while the scan runs.
  func target(of entry: L2Entry) -> EntryDecoder.Target {
    let end = fileClusters
    switch single.reference(of: entry.descriptor) {
    case .none: return .unknown
    case .cluster(let cluster):
      return EntryDecoder.Target(
        conflict: classifier.conflict(at: cluster, isTable: false, fileClusters: end),
        refcount: classifier.refcount(of: cluster))
    case .compressed(let clusters):
      // What the length of a stream reaches beyond its last byte may lie behind the end of the file.
      let found = clusters.lazy.filter { $0 == clusters.lowerBound || $0 < end }.compactMap {
        self.classifier.conflict(at: $0, isTable: false, fileClusters: end)
      }.first
      return EntryDecoder.Target(conflict: found, refcount: nil)
    }
  }
}
