// An operation that moved whole tables: a snapshot taken, applied or deleted, a disk cut or made longer. Their
// entries are not told one by one, so the tables are read as they were before it and as they are now.

import QcowFormat
import Qcow
import Storage

/// Brings the owners in a survey from the tables of one moment to those of the next.
struct TableShift {
  /// More entries than this are not read at once; a new scan does it in steps.
  private static let maximumEntries: UInt64 = 1 << 21

  private let survey: Survey
  private let before: TableUses
  private let after: TableUses
  private let oldReader: TableReader
  /// Tables whose uses or entries changed.
  private let tables: [HostOffset]
  /// Host clusters, in pieces of a leaf, whose owners changed.
  private(set) var host: Set<UInt64> = []

  /// Of the clusters in question, those that an entry of the active disk leads to that is counted again.
  private(set) var named: Set<UInt64> = []
  /// L1 entries whose part of the disk must be counted again.
  private(set) var l1: Set<UInt64> = []

  /// Reads which tables there were and which there are; nil if that takes a scan. `touched` are tables of which
  /// entries changed.
  init?(
    _ survey: Survey, to now: SurveySources, _ operation: StorageOperation, undone: Bool,
    touched: Set<HostOffset>
  ) {
    let geometry = now.geometry
    let old = survey.sources.geometry
    guard let storage = survey.image.storage as? any PagedStorage, survey.classifier.machineState.isEmpty,
      !survey.classifier.isStale,
      geometry.clusterBits == old.clusterBits, geometry.hasExtendedL2 == old.hasExtendedL2,
      geometry.refcountOrder == old.refcountOrder
    else { return nil }
    oldReader = TableReader(storage.moment(before: operation, undone: undone))
    guard let before = TableUses(survey.sources, oldReader),
      let after = TableUses(now, TableReader(storage))
    else { return nil }
    self.survey = survey
    self.before = before
    self.after = after
    let known = Set(before.uses.keys).union(after.uses.keys)
    tables = known.filter { touched.contains($0) || before.uses[$0] != after.uses[$0] }
    guard UInt64(tables.count) * UInt64(geometry.l2EntriesPerTable) <= Self.maximumEntries else { return nil }
    let changed = Set(tables)
    for index in 0..<max(before.l1.count, after.l1.count) {
      let was = before.l1.indices.contains(index) ? before.l1[index] : nil
      let now = after.l1.indices.contains(index) ? after.l1[index] : nil
      if was != now || now.map(changed.contains) == true { l1.insert(UInt64(index)) }
    }
  }

  /// Takes away what the tables owned before. The survey has not followed the image yet.
  ///
  /// - Returns: false if a table lies where another structure is.
  mutating func removeOwners() -> Bool {
    visit(before, from: oldReader, noting: []) { $0.remove($1, $2, times: $3) }
  }

  /// Counts what the tables own now, behind ``removeOwners()`` and once the survey has followed the image.
  mutating func addOwners(noting shared: Set<UInt64>) -> Bool {
    visit(after, from: survey.entries.tables, noting: shared) { $0.add($1, $2, times: $3) }
  }

  private mutating func visit(
    _ moment: TableUses, from reader: TableReader, noting shared: Set<UInt64>,
    _ change: (ReferenceCounts, UInt64, ReferenceKind, UInt64) -> Void
  ) -> Bool {
    let geometry = survey.sources.geometry
    let decoder = survey.entries.decoder.decoder
    let limit = GuestDecoder.mapLimit(fileClusters: decoder.fileClusters)
    let leafBits = survey.host.leafBits
    var lastLeaf = UInt64.max
    for table in tables {
      guard let use = moment.uses[table] else { continue }
      let own = geometry.cluster(of: table).value
      let structure = survey.classifier.structures.range(at: own)
      guard structure == nil || structure?.state == .snapshotTables else { return false }
      func visit(_ cluster: UInt64, _ kind: ReferenceKind) {
        guard cluster < limit else { return }
        change(survey.references, cluster, kind, use.all)
        if let others = survey.snapshotReferences, use.snapshots > 0 {
          change(others, cluster, kind, use.snapshots)
        }
        if use.active > 0, !shared.isEmpty, shared.contains(cluster) { named.insert(cluster) }
        if cluster >> leafBits != lastLeaf {
          lastLeaf = cluster >> leafBits
          host.insert(lastLeaf)
        }
      }
      visit(own, .table)
      Self.forEachReference(of: table, reader, decoder, visit)
    }
    return true
  }

  private static func forEachReference(
    of table: HostOffset, _ reader: TableReader, _ decoder: EntryDecoder,
    _ body: (UInt64, ReferenceKind) -> Void
  ) {
    let size = decoder.geometry.l2EntrySize
    let end = decoder.geometry.clusterSize
    var at: UInt64 = 0
    while at < end {
      let count = Int(min(UInt64(TableReader.pieceSize), end - at))
      if let bytes = unsafe reader.bytes(at: table.value + at, count: count) {
        for place in stride(from: 0, to: count, by: size) {
          let word = unsafe bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self)
          if word == 0 { continue }
          switch decoder.reference(of: UInt64(bigEndian: word)) {
          case .none: break
          case .cluster(let cluster): body(cluster, .data)
          case .compressed(let clusters): for cluster in clusters { body(cluster, .compressed) }
          }
        }
      }
      at += UInt64(count)
    }
  }

  /// The tables that only snapshots use now.
  var snapshotTables: [SnapshotTable] {
    let changed = Set(tables)
    let known = Dictionary(
      survey.snapshotTables.map { ($0.offset, $0.signature) }, uniquingKeysWith: { first, _ in first })
    return after.uses.filter { $0.value.active == 0 }.map { table, use in
      let old = changed.contains(table) ? nil : known[table]
      return SnapshotTable(
        offset: table, times: use.snapshots, isMachineState: false,
        signature: old ?? survey.entries.count(table: table, from: survey.entries.tables))
    }.sorted { $0.offset < $1.offset }
  }
}
