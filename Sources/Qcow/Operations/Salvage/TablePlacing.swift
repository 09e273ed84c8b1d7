// Which L2 table belongs to which entry of an L1 table that is lost: by what the guest's own structures say, by
// older L1 tables, by older tables of the same place, and in the end by the order of the file.

package import QcowFormat
import Storage

/// Why an L2 table stands where it was put.
package enum TableEvidence: UInt8, Sendable, CaseIterable {
  /// The entry of the L1 table leads to it.
  case entry
  /// A structure of the guest that knows its place lies where the table says.
  case structure
  /// Another L1 table has it there, as that of a snapshot.
  case copy
  /// It has clusters in the same entries as a table whose place is known.
  case version
  /// All tables and all places are there, and the order of the file fits them.
  case row
  /// The order of the file alone.
  case order
  /// Nothing: the guest wrote here and there, so that the order of the file tells no place.
  case scattered

  /// The name in lists and JSON.
  package var name: String {
    switch self {
    case .entry: "L1 entry"
    case .structure: "structure of the guest"
    case .copy: "other L1 table"
    case .version: "clusters in common"
    case .row: "order of the file, complete"
    case .order: "order of the file"
    case .scattered: "nothing, the disk was not written in order"
    }
  }

  /// How sure that is.
  package var confidence: String {
    switch self {
    case .entry, .structure: "certain"
    case .copy, .version, .row: "likely"
    case .order: "guessed"
    case .scattered: "not known"
    }
  }
}

/// An L2 table with the L1 entry that it was given.
package struct PlacedTable: Equatable, Sendable {
  /// The number of the L1 entry.
  package var l1Index: Int
  /// Where the table lies.
  package var table: HostOffset
  /// Why there.
  package var evidence: TableEvidence
}

/// Gives L2 tables their places.
struct TablePlacing {
  /// Entries of tables that are compared.
  private static let compared = 8

  let geometry: Geometry
  /// Entries of the L1 table; nil if that is not known.
  let l1Count: Int?
  private(set) var placed: [Int: PlacedTable] = [:]
  /// Clusters of the tables that have a place.
  private var used: Set<HostCluster> = []
  /// Tables that nothing says a place of.
  private(set) var unplaced = 0

  /// No L1 table has more.
  private static let maximumEntries = 4 << 20

  init(_ geometry: Geometry, l1Count: Int?) {
    self.geometry = geometry
    self.l1Count = l1Count
  }

  private var limit: Int { min(l1Count ?? Self.maximumEntries, Self.maximumEntries) }

  /// Gives a table its place; false if either is taken.
  @discardableResult
  mutating func put(_ cluster: HostCluster, at index: Int, _ evidence: TableEvidence) -> Bool {
    guard index >= 0, index < limit, placed[index] == nil, !used.contains(cluster) else { return false }
    used.insert(cluster)
    placed[index] = PlacedTable(
      l1Index: index, table: geometry.start(of: cluster), evidence: evidence)
    return true
  }

  // MARK: What the guest says

  /// Places tables by structures of the guest that their entries lead to. Throws what the host says.
  mutating func placeByHints(_ candidates: TableCandidates, _ storage: any Storage) throws(StorageError) {
    guard !candidates.hints.hints.isEmpty else { return }
    let window = ReadWindow(storage, longest: Int(geometry.clusterSize))
    for table in candidates.tables where !used.contains(table.cluster) {
      var votes: [Int: Int] = [:]
      var absolute: Int?
      let start = geometry.start(of: table.cluster)
      let bytes = unsafe try window.bytes(at: start.value, count: Int(geometry.clusterSize))
      for index in 0..<geometry.l2EntriesPerTable {
        guard let host = unsafe Self.host(bytes, index, geometry),
          let hint = candidates.hints.hints[geometry.cluster(of: host)]
        else { continue }
        for place in candidates.hints.l1Indexes(hint, l2Index: index, geometry) where place < limit {
          votes[place, default: 0] += 1
          if hint.isAbsolute { absolute = place }
        }
      }
      // One place that more structures agree in than in any other; a lone vote must be the only one.
      let best = votes.sorted { ($0.value, $1.key) > ($1.value, $0.key) }
      if let absolute {
        put(table.cluster, at: absolute, .structure)
      } else if let first = best.first, best.count == 1 || first.value > best[1].value {
        put(table.cluster, at: first.key, .structure)
      }
    }
  }

  /// The place of the bytes of a plain entry; nil for others.
  private static func host(_ bytes: UnsafeRawBufferPointer, _ index: Int, _ geometry: Geometry) -> HostOffset?
  {
    let at = geometry.l2EntryOffset(index)
    guard at + 8 <= bytes.count else { return nil }
    let word = unsafe UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
    guard word & (L2Entry.compressedFlag | L2Entry.zeroFlag) == 0 else { return nil }
    let offset = word & L2Entry.offsetMask
    return offset == 0 ? nil : HostOffset(offset)
  }

  // MARK: Older tables

  /// Places tables that share clusters with an older table of the same place. `older` are those of other L1
  /// tables, which take the places that are left then. Throws what the host says.
  mutating func placeByCopies(
    _ older: [(index: Int, cluster: HostCluster)], _ candidates: TableCandidates, _ storage: any Storage
  ) throws(StorageError) {
    guard !older.isEmpty else { return }
    let window = ReadWindow(storage, longest: Int(geometry.clusterSize))
    var known: [HostOffset: (entry: Int, index: Int)] = [:]
    let olderClusters = Set(older.map(\.cluster))
    for (index, cluster) in older where known.count < 1 << 18 {
      for (entry, host) in try samples(cluster, window) { known[host] = (entry, index) }
    }
    for table in candidates.tables
    where !used.contains(table.cluster) && !olderClusters.contains(table.cluster) {
      var votes: [Int: Int] = [:]
      for (entry, host) in try samples(table.cluster, window, most: 64) {
        if let found = known[host], found.entry == entry { votes[found.index, default: 0] += 1 }
      }
      if let best = votes.max(by: { $0.value < $1.value }) { put(table.cluster, at: best.key, .version) }
    }
    for (index, cluster) in older { put(cluster, at: index, .copy) }
  }

  private func samples(
    _ cluster: HostCluster, _ window: ReadWindow, most: Int = compared
  ) throws(StorageError) -> [(entry: Int, host: HostOffset)] {
    let start = geometry.start(of: cluster)
    let bytes = unsafe try window.bytes(at: start.value, count: Int(geometry.clusterSize))
    var all: [(entry: Int, host: HostOffset)] = []
    for index in 0..<geometry.l2EntriesPerTable {
      if let host = unsafe Self.host(bytes, index, geometry) { all.append((index, host)) }
    }
    let stride = max(1, all.count / most)
    return Swift.stride(from: 0, to: all.count, by: stride).map { all[$0] }
  }

  // MARK: The order of the file

  /// Gives the rest the free places in the order of the file: the genuine tool makes tables in the order in which
  /// the guest first writes, which mostly is that of the disk.
  mutating func placeByOrder(_ candidates: TableCandidates) {
    let rest = candidates.tables.reduce(0) { used.contains($1.cluster) ? $0 : $0 + 1 }
    let free = l1Count.map { $0 - placed.count }
    let isInOrder = candidates.wereMadeInOrder
    let isComplete = free == rest && isInOrder
    let reason: TableEvidence = isComplete ? .row : isInOrder ? .order : .scattered
    var byCluster: [HostCluster: Int] = [:]
    for table in placed.values { byCluster[geometry.cluster(of: table.table)] = table.l1Index }
    var next = 0
    var left: [HostCluster] = []
    for table in candidates.tables {
      if let index = byCluster[table.cluster] {
        next = index + 1
      } else if !used.contains(table.cluster) {
        while next < limit, placed[next] != nil { next += 1 }
        if !put(table.cluster, at: next, reason) { left.append(table.cluster) }
      }
    }
    next = 0
    for cluster in left {
      while next < limit, placed[next] != nil { next += 1 }
      if !put(cluster, at: next, isInOrder ? .order : .scattered) { unplaced += 1 }
    }
  }
}
