// The scan of an atlas: snapshots' L1 tables, the active L2 tables, tables that only snapshots
// use, then every cluster of the file, in strides that each take well under a millisecond.

import QcowFormat
import Qcow
import Storage

/// Fills a survey from nothing.
final class AtlasScan {
  /// Clusters that one stride decodes at most.
  private static let stride: UInt64 = 8192
  /// Bytes of L2 tables that a scan reads at most.
  private static let maximumBytes: UInt64 = 16 << 30
  /// Host clusters that a scan looks at one by one at most.
  private static let maximumWork: UInt64 = 1 << 29

  /// Where the scan is.
  private enum Phase: Int {
    case snapshots, tables, snapshotTables, host, conflicts, done
  }

  private let survey: Survey
  private let image: Image
  private var phase = Phase.snapshots
  /// The next cluster to scan on either side.
  private var guestPosition: UInt64 = 0
  private var hostPosition: UInt64 = 0
  /// The next leaf of the guest map to look at for conflicts.
  private var conflictLeaf = 0
  private var pendingGuest = StateCounts<GuestState>()
  private var pendingSignature = HostSignature()
  private var pendingHost = HostLeaf()
  private var uses: SnapshotTableUses
  /// How often the table that is being scanned counts.
  private var currentTimes: UInt64 = 1
  /// Where in the tables that only snapshots use reading goes on.
  private var snapshotTable = 0
  private var entryInTable = 0
  /// What comes next is on its way from afar; somebody else can have the time until then.
  private var isWaiting = false

  /// ``step(budgetNanoseconds:)`` fills the survey, which nobody has filled yet.
  init(_ survey: Survey) {
    self.survey = survey
    image = survey.image
    uses = SnapshotTableUses(image, survey.entries.tables)
  }

  private var tables: TableReader { survey.entries.tables }
  private var guestClusters: UInt64 { survey.guest.clusters }
  private var scanEnd: UInt64 { survey.entries.end }

  /// Everything has been counted.
  var isDone: Bool { phase == .done }
  /// The owners of all clusters are known, as far as the survey can know them.
  var knowsOwners: Bool { phase.rawValue >= Phase.host.rawValue }
  /// What is known of conflicts is in the guest's sheet.
  var knowsConflicts: Bool { phase.rawValue > Phase.conflicts.rawValue }

  /// How far the scan is, 0 ... 1.
  var progress: Double {
    let guestEnd = Double(max(1, scanEnd))
    switch phase {
    case .snapshots: return 0
    case .tables: return 0.6 * min(1, Double(guestPosition) / guestEnd)
    case .snapshotTables: return 0.6
    case .host: return 0.6 + 0.35 * min(1, Double(hostPosition) / Double(max(1, survey.hostClusters)))
    case .conflicts:
      return 0.95 + 0.05 * Double(conflictLeaf) / Double(max(1, survey.guest.signatures.count))
    case .done: return 1
    }
  }

  /// The guest's clusters up to `end` have been counted.
  func isGuestKnown(upTo end: UInt64) -> Bool {
    phase.rawValue > Phase.tables.rawValue && !survey.isPartial || min(end, guestClusters) <= guestPosition
  }

  /// The leaf of a guest cluster has been counted.
  func isLeafKnown(at cluster: UInt64, end: UInt64) -> Bool {
    cluster < guestPosition && isGuestKnown(upTo: end)
  }

  /// The clusters of the file up to `end` have been counted.
  func isHostKnown(upTo end: UInt64) -> Bool {
    phase.rawValue > Phase.host.rawValue && !survey.isPartial
      || knowsOwners && min(end, survey.hostClusters) <= hostPosition
  }

  /// Scans on for about the given time.
  /// - Returns: true when there is nothing left to scan.
  func step(budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    repeat {
      isWaiting = false
      switch phase {
      case .snapshots: scanSnapshotL1()
      case .tables: scanStride()
      case .snapshotTables: scanSnapshotTable()
      case .host: scanHost()
      case .conflicts: scanConflicts()
      case .done: return true
      }
    } while clock.now < end && !isWaiting
    return phase == .done
  }

  // MARK: Snapshots

  private func scanSnapshotL1() {
    if uses.isAtStart { addStructures() }
    guard !uses.step() else { return }
    if let reason = uses.partialReason { survey.markPartial(reason) }
    phase = .tables
  }

  private func addStructures() {
    let structures = Structures(image)
    survey.classifier.structures = structures
    if structures.isIncomplete { survey.markPartial("there are more structures than are followed") }
    let limit = GuestDecoder.mapLimit(fileClusters: survey.fileClusters)
    for structure in structures.found {
      for cluster in structure.range where cluster < limit { survey.references.add(cluster, .table) }
    }
  }

  private func scanSnapshotTable() {
    let geometry = image.geometry
    if snapshotTable == 0 && entryInTable == 0 { survey.snapshotTables = uses.tables }
    guard snapshotTable < survey.snapshotTables.count, tables.bytesRead < Self.maximumBytes else {
      finishGuest()
      return
    }
    let table = survey.snapshotTables[snapshotTable]
    if entryInTable == 0 {
      for counter in [survey.references, survey.snapshotReferences] {
        counter?.add(geometry.cluster(of: table.offset).value, .table, times: table.times)
      }
    }
    let count = min(geometry.l2EntriesPerTable - entryInTable, TableReader.pieceSize / geometry.l2EntrySize)
    let place = table.offset.value + UInt64(entryInTable * geometry.l2EntrySize)
    var ignored = StateCounts<GuestState>()
    if let bytes = unsafe tables.bytes(at: place, count: count * geometry.l2EntrySize) {
      let decoder = survey.entries.decoder
      var signature = table.signature
      unsafe decoder.count(
        bytes, into: &ignored, signature: &signature, references: survey.references, times: table.times)
      survey.snapshotTables[snapshotTable].signature = signature
      unsafe decoder.count(
        bytes, into: &ignored, signature: &signature, references: survey.snapshotReferences,
        times: table.times)
      if table.isMachineState { unsafe addMachineState(bytes) }
    }
    entryInTable += count
    if entryInTable >= geometry.l2EntriesPerTable {
      entryInTable = 0
      snapshotTable += 1
      if snapshotTable == survey.snapshotTables.count { finishGuest() }
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
    let classifier = survey.classifier
    for index in 0..<bytes.count / size {
      let raw = UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: index * size, as: UInt64.self))
      guard case .cluster(let cluster) = survey.entries.decoder.decoder.reference(of: raw) else { continue }
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
      if guestPosition < scanEnd { survey.markPartial("the L2 tables are longer than 16 GiB together") }
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
    var end = min(tableEnd, guestPosition + Self.stride)
    let entrySize = UInt64(geometry.l2EntrySize)
    guard
      image.storage.isReady(
        at: table.value &+ guestPosition % perTable * entrySize, count: (end - guestPosition) * entrySize)
    else {
      isWaiting = true
      return
    }
    if isCutOff(table.value &+ guestPosition % perTable * entrySize, (end - guestPosition) * entrySize) {
      // What was not read is not known; it is not damaged.
      phase = .done
      return
    }
    let times = claim(table)
    let isState = guestPosition / perTable >= geometry.l1Entries(for: geometry.virtualSize)
    let entries = survey.entries
    if isOnDisk {
      let bits = survey.guest.leafBits
      end = min(end, guestClusters, (guestPosition >> bits + 1) << bits)
      entries.count(
        guestPosition..<end, into: &pendingGuest, signature: &pendingSignature,
        references: survey.references, times: times)
    } else {
      var ignored = StateCounts<GuestState>()
      var signature = HostSignature()
      entries.count(
        guestPosition..<end, into: &ignored, signature: &signature, references: survey.references,
        times: times)
      if isState { addMachineState(of: table, guestPosition % perTable, end - guestPosition) }
    }
    if times > 1 {
      var ignored = StateCounts<GuestState>()
      var signature = HostSignature()
      entries.count(
        guestPosition..<end, into: &ignored, signature: &signature, references: survey.snapshotReferences,
        times: times - 1)
    }
    advanceGuest(to: end)
  }

  /// Whoever has the bytes of a table cannot be reached any more.
  private func isCutOff(_ place: UInt64, _ count: UInt64) -> Bool {
    guard unsafe tables.bytes(at: place, count: Int(min(count, UInt64(TableReader.pieceSize)))) == nil,
      let failure = tables.failure, failure.isGone
    else { return false }
    survey.markPartial(failure.detail)
    return true
  }

  /// How often the table counts: once for the active disk and once for every snapshot. The first
  /// stride of a table counts the table itself.
  private func claim(_ table: HostOffset) -> UInt64 {
    let geometry = image.geometry
    if guestPosition % UInt64(geometry.l2EntriesPerTable) == 0 {
      currentTimes = 1 + uses.claim(table)
      let cluster = geometry.cluster(of: table).value
      if geometry.isAligned(table.value),
        cluster < GuestDecoder.mapLimit(fileClusters: survey.fileClusters)
      {
        survey.references.add(cluster, .table, times: currentTimes)
        survey.snapshotReferences?.add(cluster, .table, times: currentTimes - 1)
      }
    }
    return currentTimes
  }

  private func advanceGuest(to end: UInt64) {
    let bits = survey.guest.leafBits
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
    survey.setGuestLeaf(Int(leaf), pendingGuest, pendingSignature)
    pendingGuest = StateCounts()
    pendingSignature = HostSignature()
  }

  private func flushGuestLeaf(at position: UInt64) {
    guard position < guestClusters, pendingGuest.total > 0 else { return }
    finishLeaf(position >> survey.guest.leafBits)
  }

  private func finishGuest() {
    if survey.references.isIncomplete {
      let memory = Notation.human(survey.references.limit)
      survey.markPartial("there are more clusters than can be counted in \(memory) of memory")
    }
    let classifier = survey.classifier
    classifier.machineState = Self.merged(classifier.machineState)
    if !survey.snapshotTables.isEmpty {
      classifier.structures.addSnapshotTables(
        survey.snapshotTables.map { image.geometry.cluster(of: $0.offset).value })
    }
    if survey.fileClusters > 1 << 44 { survey.markPartial("the file is longer than the host map can show") }
    survey.beginHost()
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
    let hostClusters = survey.hostClusters
    let classifier = survey.classifier
    guard hostPosition < hostClusters else {
      if classifier.skippedHoles { survey.markPartial("the file has more holes than are looked for") }
      beginConflicts()
      return
    }
    guard classifier.work < Self.maximumWork else {
      survey.markPartial("the file has more clusters than are looked at")
      beginConflicts()
      return
    }
    let bits = survey.host.leafBits
    let leaf = hostPosition >> bits
    let end = min(hostClusters, (leaf + 1) << bits)
    let fileClusters = survey.fileClusters
    var pending = pendingHost
    var found = survey.conflicts
    let regionBits = survey.entries.decoder.regionBits
    hostPosition = classifier.classify(hostPosition..<end, limit: 1 << 16) { first, count, facts in
      pending.add(first, count, facts, fileClusters)
      // Entries that lead behind the end of the file tell so themselves.
      if facts.health == .tooLow || facts.health == .mixed {
        found.add(first..<first + count, regionBits: regionBits)
      }
    }
    if found.ranges.count != survey.conflicts.ranges.count { survey.cells.guest = [:] }
    survey.conflicts = found
    pendingHost = pending
    if hostPosition >= end {
      survey.host.setLeaf(Int(leaf), pendingHost)
      pendingHost = HostLeaf()
    }
  }

  // MARK: Conflicts

  private func beginConflicts() {
    if survey.conflicts.isIncomplete { survey.markPartial("there are more conflicts than are followed") }
    conflictLeaf = 0
    phase = survey.conflicts.isEmpty ? .done : .conflicts
    survey.cells = CellCache()
  }

  /// Counts the leaves again whose entries may lead to a conflict: what the guest map says of them was
  /// counted before the conflicts were known.
  private func scanConflicts() {
    let guest = survey.guest
    var steps = 0
    while conflictLeaf < guest.signatures.count, steps < 1 << 10 {
      let leaf = conflictLeaf
      conflictLeaf += 1
      steps += 1
      guard survey.conflicts.mayContain(guest.signatures[leaf]) else { continue }
      guest.counts.setLeaf(leaf, survey.entries.countPlaces(guest.range(ofLeaf: UInt64(leaf))))
      return
    }
    if conflictLeaf >= guest.signatures.count {
      phase = .done
      survey.cells = CellCache()
    }
  }
}
