// The way back: who owns a host cluster. Signatures of the atlas say which tables can point there,
// so that only these are read, and the counter of references says when all have been found.

import Qcow
package import QcowFormat
import Storage

/// Finds owners of host clusters.
package final class Owners {
  /// Entries that one call looks at.
  private static let budgetPerCall = 1 << 22
  /// What an L1 entry costs of it, with or without a table behind it: an image may have millions that
  /// lead nowhere, and asking for each is dearer than passing an entry of a table.
  private static let costOfTable = 8
  /// Owners that are told of one cluster.
  private let maximumOwners: Int
  /// Snapshots that are asked for one cluster.
  private let maximumSnapshots: Int

  /// What the scan knows.
  package let atlas: Atlas
  private var survey: Survey { atlas.survey }
  private let tables: TableReader
  private var memo: [UInt64: Search] = [:]
  private var revision = -1
  /// The leaf where the last owner was found: neighbours tend to be near.
  private var lastLeaf = 0
  /// The bitmaps of the file, read when one is met.
  private var readBitmaps: BitmapPlaces?
  private var readBits: [HostCluster: BitmapPart]?

  /// - Parameters:
  ///   - maximumOwners: owners of one cluster that are named at most.
  ///   - maximumSnapshots: snapshots that are asked at most.
  package init(_ atlas: Atlas, maximumOwners: Int = 256, maximumSnapshots: Int = 256) {
    self.atlas = atlas
    self.maximumOwners = maximumOwners
    self.maximumSnapshots = maximumSnapshots
    tables = TableReader(of: atlas.image)
  }

  /// Forgets what was read before the image changed.
  private func followAtlas() {
    guard revision != atlas.revision else { return }
    revision = atlas.revision
    memo = [:]
    tables.invalidate()
    readBitmaps = nil
    readBits = nil
  }

  /// The bitmaps that the file has now.
  package var bitmaps: BitmapPlaces {
    followAtlas()
    if let readBitmaps { return readBitmaps }
    let read = BitmapPlaces(atlas.image)
    readBitmaps = read
    return read
  }

  /// What a cluster of the bitmaps holds; nil if none of them leads there.
  package func bitmapPart(of cluster: HostCluster) -> BitmapPart? {
    followAtlas()
    let bits = readBits ?? bitmaps.bits(in: atlas.image)
    readBits = bits
    return bitmaps.part(at: cluster, bits: bits)
  }

  /// A search that can go on in a later call.
  private struct Search {
    var list = OwnerList()
    /// Owners that must be there, if the atlas knows.
    var wanted: UInt64
    var kind: ReferenceKind
    /// L1 entries looked at so far.
    var l1Entries = 0
    /// Leaves and tables searched so far, in the order of the search.
    var leaves = 0
    var startLeaf = 0
    /// The next cluster behind the end of the disk.
    var beyond: UInt64 = 0
    var snapshotTables = 0
    var stage = Stage.active
  }

  private enum Stage { case tables, active, beyond, snapshots, snapshotTables, done }

  /// The owners of a cluster, with a bounded amount of reading per call.
  package func owners(of cluster: HostCluster) -> OwnerList {
    guard cluster.value <= UInt64(Int64.max) >> UInt64(atlas.image.geometry.clusterBits) else {
      return OwnerList(owners: [.pastEnd], facts: HostFacts(state: .pastEnd))
    }
    followAtlas()
    if memo.count > 512 {
      memo = [:]
      tables.invalidate()
    }
    var search = memo[cluster.value] ?? begin(cluster.value)
    var budget = Self.budgetPerCall
    while search.stage != .done, budget > 0 { advance(&search, cluster.value, &budget) }
    memo[cluster.value] = search
    var list = search.list
    list.isComplete = search.stage == .done
    list.ownerCount = max(UInt64(list.owners.count), search.wanted)
    remark(&list, search, cluster.value)
    return list
  }

  /// The owners of a cluster, searched to the end: linear in the tables for those of a cluster with many.
  package func completeList(of cluster: HostCluster) -> OwnerList {
    var list = owners(of: cluster)
    // Each call looks at a bounded number of entries; a file has a bounded number of them.
    var calls = 0
    while !list.isComplete, calls < 1 << 16 {
      list = owners(of: cluster)
      calls += 1
    }
    return list
  }

  private func remark(_ list: inout OwnerList, _ search: Search, _ cluster: UInt64) {
    let count = UInt64(list.owners.count)
    let refcount = list.refcount ?? 0
    if cluster >= atlas.fileClusters && count == 0 {
      list.owners.append(.pastEnd)
    } else if list.isComplete && refcount > max(count, search.wanted) {
      list.owners.append(.leaked(refcount: refcount, owners: max(count, search.wanted)))
    } else if count == 0 && refcount == 0 && list.isComplete {
      list.owners.append(.free)
    }
  }

  private func begin(_ cluster: UInt64) -> Search {
    let references = survey.references
    let byte =
      unsafe references.chunk(cluster >> ReferenceCounts.chunkBits).map { unsafe $0[Int(cluster & 0xffff)] }
      ?? 0
    var search = Search(wanted: references.count(of: cluster), kind: ReferenceCounts.kind(byte))
    search.list.refcount = try? atlas.image.refcount(of: HostCluster(cluster))
    search.list.facts = atlas.hostFacts(of: cluster)
    search.startLeaf = lastLeaf
    search.beyond = survey.guest.clusters
    addStructures(&search, cluster)
    if search.kind == .table || search.kind == .mixed { search.stage = .tables }
    return search
  }

  /// Nobody else can be found.
  private func isFinished(_ search: Search) -> Bool {
    if search.list.owners.count >= maximumOwners { return true }
    return atlas.isDone && !survey.references.isIncomplete
      && UInt64(search.list.owners.count) >= search.wanted
  }

  private func addStructures(_ search: inout Search, _ cluster: UInt64) {
    let structures = survey.classifier.structures
    guard structures.range(at: cluster) != nil else { return }
    for structure in structures.found where structure.range.contains(cluster) {
      switch structure.state {
      case .header: search.list.owners.append(.header)
      case .l1Table: search.list.owners.append(.l1Table)
      case .refcountTable: search.list.owners.append(.refcountTable)
      case .refcountBlock: search.list.owners.append(.refcountBlock(index: structure.index))
      case .snapshotTable: search.list.owners.append(.snapshotTable)
      case .snapshotTables: search.list.owners.append(.snapshotL1(snapshot: structure.index))
      case .bitmap:
        let part = bitmapPart(of: HostCluster(cluster))
        search.list.owners.append(.bitmap(part, name: bitmaps.name(structure.index)))
      case .crypto: search.list.owners.append(.crypto)
      default: break
      }
    }
  }

  /// Looks at the next few L1 entries.
  private func addTables(_ search: inout Search, _ cluster: UInt64, _ budget: inout Int) {
    let image = atlas.image
    let offset = cluster << UInt64(image.geometry.clusterBits)
    // An entry with offset 0 has no table.
    let end = offset == 0 ? search.l1Entries : min(image.l1Count, search.l1Entries + 8192)
    guard search.l1Entries < end else {
      let isTableOnly = search.kind == .table && atlas.isDone && !atlas.isPartial
      search.stage = isTableOnly ? .snapshots : .active
      return
    }
    budget -= (end - search.l1Entries) * Self.costOfTable
    for index in search.l1Entries..<end where image.l1Entry(index).raw & L1Entry.offsetMask == offset {
      search.list.owners.append(.l2Table(l1Index: index))
      if isFinished(search) { return }
    }
    search.l1Entries = end
  }

  // MARK: Stages

  private func advance(_ search: inout Search, _ cluster: UInt64, _ budget: inout Int) {
    if isFinished(search) {
      search.stage = .done
      return
    }
    let region = cluster >> survey.entries.decoder.regionBits
    switch search.stage {
    case .tables: addTables(&search, cluster, &budget)
    case .active:
      let signatures = survey.guest.signatures
      var found: Int?
      // Most leaves have nothing there.
      while found == nil, search.leaves < signatures.count, budget > 0 {
        let leaf = (search.startLeaf + search.leaves) % signatures.count
        search.leaves += 1
        budget -= 1
        if signatures[leaf].contains(region) { found = leaf }
      }
      guard let leaf = found else {
        if search.leaves >= signatures.count { search.stage = .beyond }
        return
      }
      let bits = survey.guest.leafBits
      let start = UInt64(leaf) << bits
      let before = search.list.owners.count
      searchActive(start..<min(start + 1 << bits, survey.guest.clusters), &search, cluster, &budget)
      if search.list.owners.count > before { lastLeaf = leaf }
    case .beyond:
      let end = min(survey.entries.end, search.beyond + 8192)
      guard search.beyond < end else {
        search.stage = .snapshots
        return
      }
      budget -= 1
      searchActive(search.beyond..<end, &search, cluster, &budget)
      search.beyond = end
    case .snapshots:
      addSharing(&search)
      search.stage = .snapshotTables
    case .snapshotTables:
      guard search.snapshotTables < survey.snapshotTables.count else {
        search.stage = .done
        return
      }
      let table = survey.snapshotTables[search.snapshotTables]
      search.snapshotTables += 1
      budget -= 1
      searchSnapshotTable(table, region, &search, cluster, &budget)
    case .done: break
    }
  }

  /// Looks through the active entries of a range of guest clusters.
  private func searchActive(
    _ clusters: Range<UInt64>, _ search: inout Search, _ cluster: UInt64, _ budget: inout Int
  ) {
    let geometry = atlas.image.geometry
    let perTable = UInt64(geometry.l2EntriesPerTable)
    var at = clusters.lowerBound
    while at < clusters.upperBound {
      let index = Int(at / perTable)
      let stop = min(clusters.upperBound, (at / perTable + 1) * perTable)
      budget -= Self.costOfTable
      if let table = atlas.image.l1Entry(index).table {
        let first = Int(at % perTable)
        let isState = UInt64(index) >= geometry.l1Entries(for: geometry.virtualSize)
        find(cluster, in: table, first..<first + Int(stop - at), &budget) { entry, isCompressed in
          let guest = geometry.guestOffset(l1Index: index, l2Index: entry)
          search.list.owners.append(
            isState
              ? .vmState(snapshot: nil, l1Index: index, l2Index: entry, table: table)
              : guest.value >= geometry.virtualSize
                ? .beyond(l1Index: index, l2Index: entry, table: table)
                : isCompressed
                  ? .compressed(l1Index: index, l2Index: entry, table: table, guest: guest)
                  : .data(l1Index: index, l2Index: entry, table: table, guest: guest))
          return !isFinished(search)
        }
        if isFinished(search) { return }
      }
      at = stop
    }
  }

  /// Calls `found` for the entries that refer to `cluster`, until it returns false.
  private func find(
    _ cluster: UInt64, in table: HostOffset, _ entries: Range<Int>, _ budget: inout Int,
    _ found: (_ index: Int, _ isCompressed: Bool) -> Bool
  ) {
    let geometry = atlas.image.geometry
    guard geometry.isAligned(table.value), table.value < atlas.image.storage.length else { return }
    let decoder = survey.entries.decoder.decoder
    let size = geometry.l2EntrySize
    let wanted = cluster << UInt64(geometry.clusterBits)
    // By hand: this is too hot for questions to another module.
    let (compressed, mask) = (L2Entry.compressedFlag, L2Entry.offsetMask)
    var at = entries.lowerBound
    while at < entries.upperBound {
      let count = min(entries.upperBound - at, TableReader.pieceSize / size)
      budget -= count
      guard let bytes = unsafe tables.bytes(at: table.value + UInt64(at * size), count: count * size) else {
        return
      }
      for index in 0..<count {
        let word = unsafe bytes.loadUnaligned(fromByteOffset: index * size, as: UInt64.self)
        if word == 0 { continue }
        let descriptor = UInt64(bigEndian: word)
        if descriptor & compressed == 0 {
          guard descriptor & mask == wanted, wanted != 0 else { continue }
          if !found(at + index, false) { return }
        } else if case .compressed(let clusters) = decoder.reference(of: descriptor),
          clusters.contains(cluster)
        {
          if !found(at + index, true) { return }
        }
      }
      at += count
    }
  }

  // MARK: Snapshots

  private func snapshotL1(_ snapshot: SnapshotEntry, _ index: Int) -> HostOffset? {
    guard index < Int(snapshot.l1Size), atlas.image.geometry.isAligned(snapshot.l1TableOffset),
      let bytes = unsafe tables.bytes(at: snapshot.l1TableOffset &+ UInt64(index) * 8, count: 8)
    else { return nil }
    return L1Entry(raw: UInt64(bigEndian: unsafe bytes.loadUnaligned(as: UInt64.self))).table
  }

  /// Snapshots that use the same L2 tables as the active disk, at the same places.
  private func addSharing(_ search: inout Search) {
    let active = search.list.owners
    for (number, snapshot) in atlas.image.snapshots.prefix(maximumSnapshots).enumerated() {
      for owner in active {
        switch owner {
        case .data(let index, let entry, let table, let guest),
          .compressed(let index, let entry, let table, let guest):
          guard snapshotL1(snapshot, index) == table else { continue }
          search.list.owners.append(
            .snapshotData(snapshot: number, l1Index: index, l2Index: entry, table: table, guest: guest))
        case .vmState(nil, let index, let entry, let table), .beyond(let index, let entry, let table):
          guard snapshotL1(snapshot, index) == table else { continue }
          search.list.owners.append(snapshotOwner(number, snapshot, index, entry, table))
        case .l2Table(let index):
          guard snapshotL1(snapshot, index) == atlas.image.l1Entry(index).table else { continue }
          search.list.owners.append(.snapshotL2(snapshot: number, l1Index: index))
        default: continue
        }
        if isFinished(search) { return }
      }
    }
  }

  /// The owner that an entry of a snapshot is: a place on its disk, or its saved VM state.
  private func snapshotOwner(
    _ number: Int, _ snapshot: SnapshotEntry, _ index: Int, _ entry: Int, _ table: HostOffset
  ) -> Owner {
    let geometry = atlas.image.geometry
    if UInt64(index) >= geometry.l1Entries(for: snapshot.diskSize ?? geometry.virtualSize) {
      return .vmState(snapshot: number, l1Index: index, l2Index: entry, table: table)
    }
    return .snapshotData(
      snapshot: number, l1Index: index, l2Index: entry, table: table,
      guest: geometry.guestOffset(l1Index: index, l2Index: entry))
  }

  /// Looks through a table that only snapshots use, and names the snapshots.
  private func searchSnapshotTable(
    _ table: SnapshotTable, _ region: UInt64, _ search: inout Search, _ cluster: UInt64,
    _ budget: inout Int
  ) {
    let geometry = atlas.image.geometry
    let isTable = geometry.cluster(of: table.offset).value == cluster
    guard isTable || table.signature.contains(region) else { return }
    var entries: [Int] = []
    let offset = table.offset
    if !isTable {
      find(cluster, in: offset, 0..<geometry.l2EntriesPerTable, &budget) { index, _ in
        entries.append(index)
        return entries.count < maximumOwners
      }
      if entries.isEmpty { return }
    }
    for (number, snapshot) in atlas.image.snapshots.prefix(maximumSnapshots).enumerated() {
      for index in 0..<Int(min(snapshot.l1Size, 1 << 16)) where snapshotL1(snapshot, index) == offset {
        budget -= 1
        if isTable { search.list.owners.append(.snapshotL2(snapshot: number, l1Index: index)) }
        for entry in entries {
          search.list.owners.append(snapshotOwner(number, snapshot, index, entry, offset))
        }
        if isFinished(search) { return }
      }
      budget -= Int(min(snapshot.l1Size, 1 << 16)) / 8
    }
  }
}
