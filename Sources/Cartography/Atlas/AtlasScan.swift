// The scan of an atlas: snapshots' L1 tables, the active L2 tables, tables that only snapshots
// use, then every cluster of the file, in strides that each take well under a millisecond.

import QcowFormat
import Qcow
import Storage

/// L2 tables that snapshots refer to.
struct SnapshotTables {
  /// More tables than this are not followed.
  static let maximum = 1 << 16
  /// Bytes of L1 tables of snapshots that are read at most.
  static let maximumBytes: UInt64 = 1 << 28

  struct Use {
    var times: UInt64
    /// The table maps saved machine state.
    var isMachineState: Bool
  }

  /// A table that no entry of the active L1 table leads to.
  struct Table {
    var offset: UInt64
    var use: Use
    var signature = HostSignature()
  }

  /// By host offset; what the active tables do not claim is left over.
  var uses: [UInt64: Use] = [:]
  var only: [Table] = []
  /// Where reading goes on.
  var snapshot = 0
  var entry: UInt64 = 0
  var table = 0
  var entryInTable = 0
  var bytesRead: UInt64 = 0
}

/// A leaf of the host map in the making.
struct HostLeaf {
  var counts = StateCounts<HostState>()
  var run = FreeRun()
  var refcounts: (UInt16, UInt16) = (.max, 0)

  mutating func add(_ first: UInt64, _ count: UInt64, _ facts: HostFacts, _ fileClusters: UInt64) {
    guard facts.state != .pastEnd else { return }
    facts.add(count, to: &counts)
    let small = UInt16(clamping: facts.refcount)
    refcounts = (min(refcounts.0, small), max(refcounts.1, small))
    if first < fileClusters { run.append(count, isFree: facts.state == .free, at: first) }
  }
}

extension Atlas {
  /// Clusters that one stride decodes at most.
  private static let stride: UInt64 = 8192
  /// Bytes of L2 tables that a scan reads at most.
  private static let maximumBytes: UInt64 = 16 << 30
  /// Host clusters that a scan looks at one by one at most.
  private static let maximumWork: UInt64 = 1 << 29

  /// Forgets everything and starts the scan again.
  package func restart() {
    revision += 1
    if isDone { knewConflicts = !isPartial && mayHoldConflicts }
    phase = .snapshots
    // Whoever is named in what could not be read looks like nobody.
    partialReason = image.damagedParts.first.map { "not all owners are known: " + $0 }
    sources = Sources(image)
    shared = SharedClusters(image)
    decoder = Self.makeDecoder(image, unallocated, shared)
    tables.invalidate()
    references = ReferenceCounts()
    snapshotReferences = image.snapshots.isEmpty ? nil : ReferenceCounts()
    classifier = HostClassifier(image, references, snapshots: snapshotReferences)
    conflicts = ConflictSet()
    conflictLeaf = 0
    snapshotTables = SnapshotTables()
    cells = CellCache()
    (guestPosition, hostPosition) = (0, 0)
    (pendingGuest, pendingSignature, pendingHost) = (StateCounts(), HostSignature(), HostLeaf())
    let shape = Pyramid<GuestState>.shape(for: guestClusters)
    guest = Pyramid(clusterBits: shape.clusterBits, leafBits: shape.leafBits)
    signatures = Array(repeating: HostSignature(), count: guest.leafCount)
    // The host map is made when its scan begins; until then nothing of it is known.
    makeHostMap(for: 0)
  }

  private func makeHostMap(for clusters: UInt64) {
    let shape = Pyramid<HostState>.shape(for: clusters, atLeastLeafBits: clusters == 0 ? 0 : 8)
    host = Pyramid(clusterBits: shape.clusterBits, leafBits: shape.leafBits)
    freeRuns = FreeRunTree(leafBits: shape.leafBits)
    refcountRanges = RefcountRangeTree(leafBits: shape.leafBits)
  }

  func markPartial(_ reason: String) {
    if partialReason == nil { partialReason = reason }
  }

  /// Scans on for about the given time.
  /// - Returns: true when there is nothing left to scan.
  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    guard phase != .done else { return true }
    revision += 1
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    repeat {
      switch phase {
      case .snapshots: scanSnapshotL1()
      case .tables: scanStride()
      case .snapshotTables: scanSnapshotTable()
      case .host: scanHost()
      case .conflicts: scanConflicts()
      case .done: return true
      }
    } while clock.now < end
    return phase == .done
  }

  /// Scans to the end, for programs without a screen.
  package func scanAll() {
    while !isDone { step(budgetNanoseconds: 100_000_000) }
  }

  // MARK: Snapshots

  private func scanSnapshotL1() {
    if snapshotTables.snapshot == 0 && snapshotTables.entry == 0 { addStructures() }
    guard snapshotTables.snapshot < image.snapshots.count else {
      phase = .tables
      return
    }
    let snapshot = image.snapshots[snapshotTables.snapshot]
    let left = UInt64(snapshot.l1Size) - min(UInt64(snapshot.l1Size), snapshotTables.entry)
    let count = min(left, UInt64(TableReader.pieceSize / 8))
    guard count > 0, image.geometry.isAligned(snapshot.l1TableOffset),
      snapshotTables.bytesRead < SnapshotTables.maximumBytes
    else {
      if snapshotTables.bytesRead >= SnapshotTables.maximumBytes {
        markPartial("the L1 tables of the snapshots are too long to read them all")
      }
      snapshotTables.snapshot += 1
      // Not 0, so that the structures are counted once.
      snapshotTables.entry = 0
      return
    }
    let place = snapshot.l1TableOffset &+ snapshotTables.entry * 8
    let disk = image.geometry.l1Entries(for: snapshot.diskSize ?? image.geometry.virtualSize)
    if let bytes = unsafe tables.bytes(at: place, count: Int(count) * 8) {
      for index in 0..<Int(count) {
        let raw = UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
        let offset = raw & L1Entry.offsetMask
        guard offset != 0, image.geometry.isAligned(offset), offset < image.storage.length else { continue }
        let isMachineState = snapshotTables.entry + UInt64(index) >= disk
        if let old = snapshotTables.uses[offset] {
          snapshotTables.uses[offset] = SnapshotTables.Use(
            times: old.times + 1, isMachineState: old.isMachineState && isMachineState)
        } else if snapshotTables.uses.count < SnapshotTables.maximum {
          snapshotTables.uses[offset] = SnapshotTables.Use(times: 1, isMachineState: isMachineState)
        } else {
          markPartial("the snapshots have more L2 tables than are followed")
        }
      }
    }
    snapshotTables.entry += count
    snapshotTables.bytesRead += count * 8
  }

  private func addStructures() {
    classifier.structures = Structures(image)
    if classifier.structures.isIncomplete { markPartial("there are more structures than are followed") }
    let limit = GuestDecoder.mapLimit(fileClusters: fileClusters)
    for structure in classifier.structures.found {
      for cluster in structure.range where cluster < limit { references.add(cluster, .table) }
    }
  }

  private func scanSnapshotTable() {
    let geometry = image.geometry
    if snapshotTables.table == 0 && snapshotTables.entryInTable == 0 {
      snapshotTables.only = snapshotTables.uses.map { SnapshotTables.Table(offset: $0.key, use: $0.value) }
        .sorted { $0.offset < $1.offset }
      snapshotTables.uses = [:]
    }
    guard snapshotTables.table < snapshotTables.only.count, tables.bytesRead < Self.maximumBytes else {
      finishGuest()
      return
    }
    let table = snapshotTables.only[snapshotTables.table]
    if snapshotTables.entryInTable == 0 {
      for counter in [references, snapshotReferences] {
        counter?.add(table.offset >> UInt64(geometry.clusterBits), .table, times: table.use.times)
      }
    }
    let count = min(
      geometry.l2EntriesPerTable - snapshotTables.entryInTable, TableReader.pieceSize / geometry.l2EntrySize)
    let place = table.offset + UInt64(snapshotTables.entryInTable * geometry.l2EntrySize)
    var ignored = StateCounts<GuestState>()
    if let bytes = unsafe tables.bytes(at: place, count: count * geometry.l2EntrySize) {
      var signature = table.signature
      unsafe decoder.count(
        bytes, into: &ignored, signature: &signature, references: references, times: table.use.times)
      snapshotTables.only[snapshotTables.table].signature = signature
      unsafe decoder.count(
        bytes, into: &ignored, signature: &signature, references: snapshotReferences, times: table.use.times)
      if table.use.isMachineState { unsafe addMachineState(bytes) }
    }
    snapshotTables.entryInTable += count
    if snapshotTables.entryInTable >= geometry.l2EntriesPerTable {
      snapshotTables.entryInTable = 0
      snapshotTables.table += 1
      if snapshotTables.table == snapshotTables.only.count { finishGuest() }
    }
  }

  /// The same for entries of a table of the active L1 table, behind the end of the disk.
  private func addMachineState(of table: HostOffset, _ first: UInt64, _ count: UInt64) {
    let size = UInt64(image.geometry.l2EntrySize)
    guard image.geometry.isAligned(table.value), table.value < image.storage.length else { return }
    var at = first
    while at < first + count {
      let piece = min(first + count - at, UInt64(TableReader.pieceSize) / size)
      if let bytes = unsafe tables.bytes(at: table.value + at * size, count: Int(piece * size)) {
        unsafe addMachineState(bytes)
      }
      at += piece
    }
  }

  /// Remembers where saved machine state lies, as rows of clusters.
  private func addMachineState(_ bytes: UnsafeRawBufferPointer) {
    let size = image.geometry.l2EntrySize
    for index in 0..<bytes.count / size {
      let raw = UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: index * size, as: UInt64.self))
      guard case .cluster(let cluster) = entries.reference(of: raw) else { continue }
      if let last = classifier.machineState.last, last.upperBound == cluster {
        classifier.machineState[classifier.machineState.count - 1] = last.lowerBound..<cluster + 1
      } else if classifier.machineState.count < 1 << 16 {
        classifier.machineState.append(cluster..<cluster + 1)
      }
    }
  }

  // MARK: L2 tables

  private func scanStride() {
    guard guestPosition < scanEnd, tables.bytesRead < Self.maximumBytes else {
      if guestPosition < scanEnd { markPartial("the L2 tables are longer than 16 GiB together") }
      flushGuestLeaf(at: guestPosition)
      phase = .snapshotTables
      return
    }
    let geometry = image.geometry
    let perTable = UInt64(geometry.l2EntriesPerTable)
    let isOnDisk = guestPosition < guestClusters
    let tableEnd = (guestPosition / perTable + 1) * perTable
    guard let table = image.l1Entry(Int(guestPosition / perTable)).table else {
      // Rows of empty L1 entries are passed in one stride.
      var next = tableEnd
      var steps = 0
      while next < scanEnd, steps < 1 << 16, image.l1Entry(Int(next / perTable)).table == nil {
        next += perTable
        steps += 1
      }
      advanceGuest(to: next)
      return
    }
    let times = claim(table)
    let isState = guestPosition / perTable >= geometry.l1Entries(for: geometry.virtualSize)
    var end = min(tableEnd, guestPosition + Self.stride)
    if isOnDisk {
      end = min(
        end, guestClusters, (guestPosition >> UInt64(guest.clusterBits) + 1) << UInt64(guest.clusterBits))
    }
    if isOnDisk {
      countEntries(
        guestPosition..<end, into: &pendingGuest, signature: &pendingSignature, references: references,
        times: times)
    } else {
      var ignored = StateCounts<GuestState>()
      var signature = HostSignature()
      countEntries(
        guestPosition..<end, into: &ignored, signature: &signature, references: references, times: times)
      if isState { addMachineState(of: table, guestPosition % perTable, end - guestPosition) }
    }
    if times > 1 {
      var ignored = StateCounts<GuestState>()
      var signature = HostSignature()
      countEntries(
        guestPosition..<end, into: &ignored, signature: &signature, references: snapshotReferences,
        times: times - 1)
    }
    advanceGuest(to: end)
  }

  /// How often the table counts: once for the active disk and once for every snapshot. The first
  /// stride of a table counts the table itself.
  private func claim(_ table: HostOffset) -> UInt64 {
    let geometry = image.geometry
    if guestPosition % UInt64(geometry.l2EntriesPerTable) == 0 {
      currentTimes = 1 + (snapshotTables.uses.removeValue(forKey: table.value)?.times ?? 0)
      if geometry.isAligned(table.value)
        && table.value < GuestDecoder.mapLimit(fileClusters: fileClusters) << UInt64(geometry.clusterBits)
      {
        references.add(table.value >> UInt64(geometry.clusterBits), .table, times: currentTimes)
        snapshotReferences?.add(
          table.value >> UInt64(geometry.clusterBits), .table, times: currentTimes - 1)
      }
    }
    return currentTimes
  }

  /// Counts the entries of a range of guest clusters that one L2 table maps; what has no entry is
  /// left out.
  func countEntries(
    _ clusters: Range<UInt64>, into counts: inout StateCounts<GuestState>, signature: inout HostSignature,
    references: ReferenceCounts?, times: UInt64 = 1
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

  /// An L1 entry may lead here: a cluster of the file that is no other structure, as far as is known.
  func isTable(_ table: HostOffset?) -> Bool {
    guard let table, image.geometry.isAligned(table.value), table.value < image.storage.length else {
      return false
    }
    let structure = classifier.structures.range(at: table.value >> UInt64(image.geometry.clusterBits))
    return structure == nil || structure?.state == .snapshotTables
  }

  private func advanceGuest(to end: UInt64) {
    let bits = UInt64(guest.clusterBits)
    let start = guestPosition
    guestPosition = end
    guard start < guestClusters else { return }
    let first = start >> bits
    let last = min(end, guestClusters)
    // Leaves that end here: the pending one, and those passed without an entry.
    guard last >> bits > first || last == guestClusters else { return }
    finishLeaf(first)
    var leaf = first + 1
    while leaf < last >> bits || (last == guestClusters && leaf << bits < last) {
      finishLeaf(leaf)
      leaf += 1
    }
  }

  private func finishLeaf(_ leaf: UInt64) {
    setGuestLeaf(Int(leaf), pendingGuest, pendingSignature)
    pendingGuest = StateCounts()
    pendingSignature = HostSignature()
  }

  private func flushGuestLeaf(at position: UInt64) {
    guard position < guestClusters, pendingGuest.total > 0 else { return }
    finishLeaf(position >> UInt64(guest.clusterBits))
  }

  /// Stores a leaf; what has no entry is the rest.
  func setGuestLeaf(_ leaf: Int, _ counted: StateCounts<GuestState>, _ signature: HostSignature) {
    let bits = UInt64(guest.clusterBits)
    let start = UInt64(leaf) << bits
    let clusters = min(start, guestClusters)..<min(guestClusters, start + 1 << bits)
    guest.setLeaf(leaf, withRest(counted, clusters))
    signatures[leaf] = signature
  }

  /// The counts of a range with the places that have no entry.
  func withRest(_ counted: StateCounts<GuestState>, _ clusters: Range<UInt64>) -> StateCounts<GuestState> {
    let geometry = image.geometry
    let size = UInt64(geometry.clusterBits)
    let end = entries.belowEnd
    // In the one cluster or leaf where the layer below ends, each place is asked.
    if end > clusters.lowerBound << size, clusters.upperBound > end >> size {
      return countPlaces(clusters)
    }
    var counts = counted
    let all = UInt64(clusters.count) * UInt64(geometry.subclustersPerCluster)
    counts[entries.unallocated(at: clusters.lowerBound << size)] += all - min(all, counts.total)
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
        let below = min(end, max(start, entries.belowEnd))
        let covered = (below - start + geometry.subclusterMask) >> bits
        counts[unallocated] += covered
        counts[.none] += (stop - at) * units - covered
      } else {
        for cluster in at..<stop {
          let start = cluster << UInt64(geometry.clusterBits)
          let isWhole = start >= entries.belowEnd || start + geometry.clusterSize <= entries.belowEnd
          if isWhole, readEntry(cluster) == .empty, isTable(image.l1Entry(Int(cluster / perTable)).table) {
            counts[entries.unallocated(at: start)] += units
          } else {
            for state in states(of: cluster) { counts[state] += 1 }
          }
        }
      }
      at = stop
    }
    return counts
  }

  private func finishGuest() {
    if references.isIncomplete {
      markPartial("there are more clusters than can be counted in 22 MiB of memory")
    }
    classifier.machineState = Self.merged(classifier.machineState)
    let bits = UInt64(image.geometry.clusterBits)
    if !snapshotTables.only.isEmpty {
      classifier.structures.addSnapshotTables(snapshotTables.only.map { $0.offset >> bits })
    }
    if fileClusters > 1 << 44 { markPartial("the file is longer than the host map can show") }
    makeHostMap(for: hostClusters)
    phase = .host
  }

  /// Sorted, and without overlaps.
  private static func merged(_ ranges: [Range<UInt64>]) -> [Range<UInt64>] {
    var result: [Range<UInt64>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = result.last, last.upperBound >= range.lowerBound {
        result[result.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        result.append(range)
      }
    }
    return result
  }

  // MARK: Host clusters

  private func scanHost() {
    guard hostPosition < hostClusters else {
      if classifier.skippedHoles { markPartial("the file has more holes than are looked for") }
      beginConflicts()
      return
    }
    guard classifier.work < Self.maximumWork else {
      markPartial("the file has more clusters than are looked at")
      beginConflicts()
      return
    }
    let bits = UInt64(host.clusterBits)
    let leaf = hostPosition >> bits
    let end = min(hostClusters, (leaf + 1) << bits)
    let fileClusters = fileClusters
    var pending = pendingHost
    var found = conflicts
    let regionBits = decoder.regionBits
    hostPosition = classifier.classify(hostPosition..<end, limit: 1 << 16) { first, count, facts in
      pending.add(first, count, facts, fileClusters)
      // Entries that lead behind the end of the file tell so themselves.
      if facts.health == .tooLow || facts.health == .mixed {
        found.add(first..<first + count, regionBits: regionBits)
      }
    }
    if found.ranges.count != conflicts.ranges.count { cells.guest = [:] }
    conflicts = found
    pendingHost = pending
    if hostPosition >= end {
      setHostLeaf(Int(leaf), pendingHost)
      pendingHost = HostLeaf()
    }
  }

  func setHostLeaf(_ leaf: Int, _ value: HostLeaf) {
    host.setLeaf(leaf, value.counts)
    freeRuns.setLeaf(leaf, value.run, clusterBits: host.clusterBits)
    refcountRanges.setLeaf(leaf, value.refcounts)
  }
}

extension Atlas {
  // MARK: Conflicts

  private func beginConflicts() {
    if conflicts.isIncomplete { markPartial("there are more conflicts than are followed") }
    conflictLeaf = 0
    phase = conflicts.isEmpty ? .done : .conflicts
    cells = CellCache()
  }

  /// Counts the leaves again whose entries may lead to a conflict: what the guest map says of them was
  /// counted before the conflicts were known.
  private func scanConflicts() {
    var steps = 0
    while conflictLeaf < signatures.count, steps < 1 << 10 {
      let leaf = conflictLeaf
      conflictLeaf += 1
      steps += 1
      guard conflicts.mayContain(signatures[leaf]) else { continue }
      let start = UInt64(leaf) << UInt64(guest.clusterBits)
      let clusters = min(start, guestClusters)..<min(guestClusters, start + 1 << UInt64(guest.clusterBits))
      guest.setLeaf(leaf, countPlaces(clusters))
      return
    }
    if conflictLeaf >= signatures.count {
      phase = .done
      cells = CellCache()
    }
  }
}
