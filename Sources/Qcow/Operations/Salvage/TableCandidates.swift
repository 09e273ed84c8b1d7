// One walk through the file that remembers every cluster which looks like a table, and what the guest's own
// structures say. Holes are not read, and what is remembered is bounded.

import QcowFormat
import Storage

/// Clusters of a file that look like tables.
struct TableCandidates {
  /// L2 tables that are remembered; more make the list incomplete.
  private static let maximumTables = 1 << 19

  /// A cluster that looks like an L2 table, or like an L1 table, which has the same entries.
  struct Table {
    var cluster: HostCluster
    /// Entries with the COPIED flag.
    var copied: UInt32
    /// Entries that are not empty.
    var entries: UInt32
    /// Steps from one place to the next, and those of them that lead back.
    var steps: UInt32
    var back: UInt32
    /// Clusters between which the places lie.
    var span: ClosedRange<UInt64>?
  }

  /// L1 tables, of one or more clusters in a row.
  struct L1 {
    var place: HostOffset
    /// Entries up to the last one in use.
    var entries: Int
    /// Entries that lead to what looks like an L2 table.
    var leading: Int
    var copied: Int
  }

  let geometry: Geometry
  private(set) var tables: [Table] = []
  private(set) var l1: [L1] = []
  /// Where snapshot tables and encryption headers may begin.
  private(set) var snapshotTables: [HostOffset] = []
  private(set) var encryptionHeaders: [HostOffset] = []
  private(set) var blocks: Set<HostCluster> = []
  private(set) var hints = GuestHints()
  /// More clusters look like tables than are remembered.
  private(set) var isIncomplete = false

  init(_ geometry: Geometry) { self.geometry = geometry }

  /// Walks through the file. `tell` hears of the bytes that are behind it and ends the walk by answering false.
  ///
  /// Throws what the host says.
  mutating func scan(
    _ storage: any Storage, _ limits: ShapeLimits, _ tell: (UInt64) -> Bool
  ) throws(StorageError) {
    let size = geometry.clusterSize
    let window = ReadWindow(storage, longest: Int(size))
    var offset: UInt64 = 0
    var told: UInt64 = 0
    while offset < storage.length {
      if let end = window.endOfHole(at: offset), end &- offset >= size {
        offset = max(offset &+ size, geometry.roundDown(min(end, storage.length)))
        continue
      }
      let bytes = unsafe try window.bytes(at: offset, count: Int(size))
      unsafe look(bytes, geometry.cluster(of: HostOffset(offset)), limits)
      offset += size
      if offset - told >= 1 << 24 {
        told = offset
        guard tell(offset) else { break }
      }
    }
    try separateL1(storage, window)
  }

  private mutating func look(_ bytes: UnsafeRawBufferPointer, _ cluster: HostCluster, _ limits: ShapeLimits) {
    let fit = unsafe ShapeFit(bytes, limits)
    guard !fit.isUniform else { return }
    let place = geometry.start(of: cluster)
    switch fit.named {
    case .snapshotTable: if snapshotTables.count < 4096 { snapshotTables.append(place) }
    case .encryptionHeader: if encryptionHeaders.count < 64 { encryptionHeaders.append(place) }
    default: break
    }
    if isTable(fit) {
      guard tables.count < Self.maximumTables else { return isIncomplete = true }
      tables.append(
        Table(
          cluster: cluster, copied: UInt32(clamping: fit.pointers.copied),
          entries: UInt32(clamping: fit.pointers.l2Entries),
          steps: UInt32(clamping: max(0, fit.pointers.places - 1)),
          back: UInt32(clamping: fit.pointers.falling),
          span: fit.pointers.places > 0 ? fit.pointers.lowest...fit.pointers.highest : nil))
    } else {
      if fit.refcounts.isLikely, blocks.count < 1 << 16 { blocks.insert(cluster) }
      unsafe hints.look(bytes, in: cluster)
    }
  }

  /// The bytes may be an L2 table or an L1 table with entries in it.
  private func isTable(_ fit: ShapeFit) -> Bool {
    let pointers = fit.pointers
    guard !pointers.isHopeless else { return false }
    if fit.score(.l1Table) >= ShapeFit.enough, fit.hasDistinctPlaces {
      return pointers.copied > 0 || pointers.places > 1
    }
    guard fit.score(.l2Table) >= ShapeFit.enough else { return false }
    if pointers.places == 0 { return pointers.compressed > 0 || pointers.zeroEntries > 1 }
    return fit.hasDistinctPlaces && (pointers.copied + pointers.compressed > 0 || pointers.l2Entries > 2)
  }

  /// The guest wrote its disk from the start to the end, as far as can be seen: places rise within the tables, and
  /// what one table leads to lies before what the next one does. Of tables with hardly an entry nothing is seen.
  var wereMadeInOrder: Bool {
    var (steps, back, pairs, apart) = (0, 0, 0, 0)
    var last: ClosedRange<UInt64>?
    for table in tables {
      steps += Int(table.steps)
      back += Int(table.back)
      guard let span = table.span else { continue }
      if let last {
        pairs += 1
        if last.upperBound < span.lowerBound { apart += 1 }
      }
      last = span
    }
    return steps >= tables.count && back * 20 <= steps && apart * 4 >= pairs * 3
  }

  /// Whether a cluster looks like a table.
  func contains(_ cluster: HostCluster) -> Bool { index(of: cluster) != nil }

  /// Forgets tables that are nobody's. Throws what `isFree` throws.
  mutating func drop(_ isFree: (HostCluster) throws(StorageError) -> Bool) throws(StorageError) {
    var kept: [Table] = []
    for table in tables where try !isFree(table.cluster) { kept.append(table) }
    tables = kept
  }

  /// Forgets L1 tables that begin in clusters of something else.
  mutating func dropL1(_ isKnown: (HostCluster) -> Bool) {
    l1.removeAll { isKnown(geometry.cluster(of: $0.place)) }
  }

  func index(of cluster: HostCluster) -> Int? {
    var low = 0
    var high = tables.count
    while low < high {
      let middle = (low + high) / 2
      if tables[middle].cluster < cluster { low = middle + 1 } else { high = middle }
    }
    return low < tables.count && tables[low].cluster == cluster ? low : nil
  }

  /// Tables whose entries lead to tables are L1 tables; those that lead to refcount blocks are refcount tables.
  private mutating func separateL1(_ storage: any Storage, _ window: ReadWindow) throws(StorageError) {
    var kept: [Table] = []
    var found: [L1] = []
    for table in tables {
      let start = geometry.start(of: table.cluster)
      let bytes = unsafe try window.bytes(at: start.value, count: Int(geometry.clusterSize))
      var (used, leading, copied, last, toBlocks) = (0, 0, 0, 0, 0)
      for index in 0..<bytes.count / 8 {
        let word = unsafe UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
        guard word != 0 else { continue }
        used += 1
        last = index
        let target = geometry.cluster(of: HostOffset(word & L1Entry.offsetMask))
        if word & L1Entry.reservedMask == 0, contains(target) {
          leading += 1
          if word & L1Entry.copiedFlag != 0 { copied += 1 }
        } else if blocks.contains(target) {
          toBlocks += 1
        }
      }
      if leading * 2 > used {
        if let before = found.last, before.place.value + UInt64(before.entries * 8) <= start.value,
          geometry.roundUp(before.place.value + UInt64(before.entries * 8)) == start.value,
          start.value - before.place.value < 32 << 20
        {
          let first = Int(start.value - before.place.value) / 8
          found[found.count - 1].entries = first + last + 1
          found[found.count - 1].leading += leading
          found[found.count - 1].copied += copied
        } else {
          found.append(L1(place: start, entries: last + 1, leading: leading, copied: copied))
        }
      } else if toBlocks * 2 <= used {
        kept.append(table)
      }
    }
    tables = kept
    l1 = found.sorted { ($0.copied, $0.leading) > ($1.copied, $1.leading) }
  }
}
