// Questions to an atlas: counts of ranges, rows of cells at any zoom, the next place in a state.
// Cells as large as a leaf or larger are looked up, finer ones are decoded within a bound.

import QcowFormat
import Qcow
import Storage

/// Cells finer than a leaf that were decoded, for one zoom of each map.
struct CellCache {
  static let maximum = 1 << 15
  var guestLog2 = Int.min
  var guest: [UInt64: MapCell<GuestState>] = [:]
  var hostLog2 = Int.min
  var host: [UInt64: MapCell<HostState>] = [:]
}

extension Atlas {
  /// Entries that one call decodes at most.
  private static let decodeLimit: UInt64 = 1 << 20
  /// Cells that one call returns at most.
  private static let maximumCells = 1 << 16

  // MARK: Ranges

  /// Subclusters per state in a range of guest clusters; the part that has been scanned, if the
  /// scan is not done.
  package func guestCounts(clusters: Range<UInt64>) -> StateCounts<GuestState> {
    let range = clusters.clamped(to: 0..<max(guestClusters, 1))
    let bits = UInt64(guest.clusterBits)
    return counts(range.clamped(to: 0..<guestClusters), leafBits: bits, tree: guest) { countGuest($0) }
  }

  /// Clusters per state in a range of host clusters.
  package func hostCounts(clusters: Range<UInt64>) -> StateCounts<HostState> {
    let range = clusters.clamped(to: 0..<hostClusters)
    return counts(range, leafBits: UInt64(host.clusterBits), tree: host) { part in
      var counts = StateCounts<HostState>()
      guard self.isHostKnown(part.upperBound) else { return counts }
      _ = self.classifier.classify(part) { _, count, facts in facts.add(count, to: &counts) }
      return counts
    }
  }

  /// Calls `body` for the runs of equal facts of the file and of what is owned behind its end, in order.
  package func hostRuns(_ body: (_ first: UInt64, _ count: UInt64, _ facts: HostFacts) -> Void) {
    _ = classifier.classify(0..<hostClusters) { first, count, facts in
      if facts.state != .pastEnd { body(first, count, facts) }
    }
  }

  /// Whole leaves from the tree, the edges by `decode`, or in proportion if a leaf is too long.
  private func counts<State>(
    _ range: Range<UInt64>, leafBits bits: UInt64, tree: Pyramid<State>,
    decode: (Range<UInt64>) -> StateCounts<State>
  ) -> StateCounts<State> {
    guard !range.isEmpty else { return StateCounts() }
    let size: UInt64 = 1 << bits
    let firstWhole = (range.lowerBound + size - 1) >> bits
    let endWhole = range.upperBound >> bits
    func edge(_ part: Range<UInt64>) -> StateCounts<State> {
      if part.isEmpty { return StateCounts() }
      if UInt64(part.count) <= Self.decodeLimit { return decode(part) }
      var counts = tree.leaf(Int(part.lowerBound >> bits))
      for slot in 0..<State.slotCount {
        let share = counts[raw: slot].multipliedFullWidth(by: UInt64(part.count))
        counts[raw: slot] = size > share.high ? size.dividingFullWidth(share).quotient : counts[raw: slot]
      }
      return counts
    }
    guard firstWhole <= endWhole else { return edge(range) }
    var sum = tree.sum(leaves: Int(firstWhole)..<Int(endWhole))
    sum += edge(range.lowerBound..<min(firstWhole << bits, range.upperBound))
    sum += edge(endWhole << bits..<range.upperBound)
    return sum
  }

  /// Counts entries of any range of the disk exactly.
  private func countGuest(_ clusters: Range<UInt64>) -> StateCounts<GuestState> {
    if mayConflict(clusters) { return countPlaces(clusters) }
    var counts = StateCounts<GuestState>()
    var signature = HostSignature()
    let perTable = UInt64(image.geometry.l2EntriesPerTable)
    var at = clusters.lowerBound
    while at < clusters.upperBound {
      let stop = min(clusters.upperBound, (at / perTable + 1) * perTable)
      countEntries(at..<stop, into: &counts, signature: &signature, references: nil)
      at = stop
    }
    return withRest(counts, clusters)
  }

  /// Entries of the range may lead to a conflict that is known.
  private func mayConflict(_ clusters: Range<UInt64>) -> Bool {
    guard !conflicts.isEmpty, !clusters.isEmpty else { return false }
    let bits = UInt64(guest.clusterBits)
    let leaves = Int(clusters.lowerBound >> bits)...Int((clusters.upperBound - 1) >> bits)
    return leaves.contains { conflicts.mayContain(signatures[$0]) }
  }

  private func isGuestKnown(_ end: UInt64) -> Bool {
    phase.rawValue > Phase.tables.rawValue && !isPartial || min(end, guestClusters) <= guestPosition
  }

  private func isHostKnown(_ end: UInt64) -> Bool {
    phase.rawValue > Phase.host.rawValue && !isPartial
      || phase.rawValue >= Phase.host.rawValue && min(end, hostClusters) <= hostPosition
  }

  // MARK: Cells

  /// `count` cells of 2^`cellClustersLog2` clusters each, the first of them number `first`. Down
  /// to -5 a cell is a part of a cluster, where there are subclusters.
  package func guestCells(first: UInt64, cellClustersLog2: Int, count: Int) -> [MapCell<GuestState>] {
    let finest = image.geometry.hasExtendedL2 ? -5 : 0
    let log2 = min(60, max(finest, cellClustersLog2))
    needsRefinement = false
    if cells.guestLog2 != log2 || cells.guest.count > CellCache.maximum {
      (cells.guestLog2, cells.guest) = (log2, [:])
    }
    var result: [MapCell<GuestState>] = []
    let wanted = min(max(0, count), Self.maximumCells)
    result.reserveCapacity(wanted)
    var budget = Self.decodeLimit
    var cluster = UInt64.max
    var states: [GuestState] = []
    for index in 0..<UInt64(wanted) {
      let (number, overflow) = first.addingReportingOverflow(index)
      let start = log2 >= 0 ? number << UInt64(log2) : number >> UInt64(-log2)
      guard !overflow, log2 < 0 || number <= UInt64.max >> UInt64(log2), start < guestClusters else {
        result.append(.blank(.none, isKnown: true, isInside: false))
        continue
      }
      if log2 >= 0 {
        result.append(guestCell(number, log2, start, &budget))
        continue
      }
      if start != cluster {
        cluster = start
        states = self.states(of: start)
      }
      result.append(Self.cell(of: states, part: number, log2: -log2))
    }
    return result
  }

  private static func cell(of states: [GuestState], part: UInt64, log2: Int) -> MapCell<GuestState> {
    let size = max(1, states.count >> log2)
    let start = Int(part & (1 << UInt64(log2) - 1)) * size
    var counts = StateCounts<GuestState>()
    for index in start..<min(states.count, start + size) { counts[states[index]] += 1 }
    return cell(counts, isKnown: true)
  }

  private static func cell(_ counts: StateCounts<GuestState>, isKnown: Bool) -> MapCell<GuestState> {
    let isMapped = counts[.data] + counts[.zeroKept] + counts[.preallocated] + counts[.compressed] > 0
    let isEmpty = counts[.none] + counts[.below] + counts[.missing] + counts[.zero] > 0
    let low: UInt16 = isEmpty ? 0 : isMapped ? 1 : counts[.shared] > 0 ? 2 : 0
    let high: UInt16 = counts[.shared] > 0 ? 2 : isMapped ? 1 : 0
    return MapCell(counts, empty: .none, refcounts: (low, high), isKnown: isKnown)
  }

  private func guestCell(_ number: UInt64, _ log2: Int, _ start: UInt64, _ budget: inout UInt64) -> MapCell<
    GuestState
  > {
    let end = min(guestClusters, start + 1 << UInt64(log2))
    if log2 >= guest.clusterBits {
      let level = log2 - guest.clusterBits
      let counts = level > guest.leafBits ? guest.root : guest.node(level: level, number)
      guard counts.total > 0 else { return .blank(.none, isKnown: false, isInside: true) }
      return Self.cell(counts, isKnown: isGuestKnown(end))
    }
    // A leaf of one state tells all its parts.
    let leaf = Int(start >> UInt64(guest.clusterBits))
    if start < guestPosition, isGuestKnown(UInt64(leaf + 1) << UInt64(guest.clusterBits)) {
      let counts = guest.leaf(leaf)
      let isSettled = phase.rawValue > Phase.conflicts.rawValue || !conflicts.mayContain(signatures[leaf])
      if isSettled, let only = counts.dominant, counts[only] == counts.total {
        var part = StateCounts<GuestState>()
        part[only] = (end - start) * UInt64(image.geometry.subclustersPerCluster)
        return Self.cell(part, isKnown: true)
      }
    }
    if let found = cells.guest[number] { return found }
    guard budget >= end - start || budget == Self.decodeLimit else {
      needsRefinement = true
      return .blank(.none, isKnown: false, isInside: true)
    }
    budget -= min(budget, end - start)
    let cell = Self.cell(countGuest(start..<end), isKnown: true)
    cells.guest[number] = cell
    return cell
  }

  /// What every subcluster of a guest cluster is, with all that is known about where its entry leads.
  func states(of cluster: UInt64) -> [GuestState] {
    let geometry = image.geometry
    let index = cluster / UInt64(geometry.l2EntriesPerTable)
    if cluster < scanEnd, let table = image.l1Entry(Int(index)).table, !isTable(table) {
      return Array(repeating: .bad, count: geometry.subclustersPerCluster)
    }
    let entry = readEntry(cluster)
    return entries.states(of: entry, at: cluster << UInt64(geometry.clusterBits), target(of: entry))
  }

  /// What is known about the place an entry leads to; more and more of it while the scan runs.
  func target(of entry: L2Entry) -> EntryDecoder.Target {
    let decoder = entries
    let end = fileClusters
    switch decoder.reference(of: entry.descriptor) {
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

  /// Why the L2 table of an L1 entry cannot be right, as far as is known; nil if nothing speaks
  /// against it.
  package func tableConflict(_ l1Index: Int) -> Conflict? {
    guard let table = image.l1Entry(l1Index).table, image.geometry.isAligned(table.value) else { return nil }
    return classifier.conflict(
      at: table.value >> UInt64(image.geometry.clusterBits), isTable: true, fileClusters: fileClusters)
  }

  /// The entry of a guest cluster, from the file.
  func readEntry(_ cluster: UInt64) -> L2Entry {
    let geometry = image.geometry
    let perTable = UInt64(geometry.l2EntriesPerTable)
    guard cluster < scanEnd, let table = image.l1Entry(Int(cluster / perTable)).table,
      geometry.isAligned(table.value), table.value < image.storage.length,
      let bytes = unsafe tables.bytes(
        at: table.value + cluster % perTable * UInt64(geometry.l2EntrySize), count: geometry.l2EntrySize)
    else { return .empty }
    let descriptor = UInt64(bigEndian: unsafe bytes.loadUnaligned(as: UInt64.self))
    guard geometry.hasExtendedL2 else { return L2Entry(descriptor: descriptor) }
    let bitmap = UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    return L2Entry(descriptor: descriptor, bitmap: SubclusterBitmap(raw: bitmap))
  }

  /// `count` cells of 2^`cellClustersLog2` host clusters each (0 or more), the first of them number
  /// `first`.
  package func hostCells(first: UInt64, cellClustersLog2: Int, count: Int) -> [MapCell<HostState>] {
    let log2 = min(60, max(0, cellClustersLog2))
    needsRefinement = false
    if cells.hostLog2 != log2 || cells.host.count > CellCache.maximum {
      (cells.hostLog2, cells.host) = (log2, [:])
    }
    var result: [MapCell<HostState>] = []
    let wanted = min(max(0, count), Self.maximumCells)
    result.reserveCapacity(wanted)
    var budget = Self.decodeLimit
    for index in 0..<UInt64(wanted) {
      let (number, overflow) = first.addingReportingOverflow(index)
      let start = number << UInt64(log2)
      guard !overflow, number <= UInt64.max >> UInt64(log2), start < hostClusters else {
        result.append(.blank(.pastEnd, isKnown: true, isInside: false))
        continue
      }
      result.append(hostCell(number, log2, start, &budget))
    }
    return result
  }

  private func hostCell(_ number: UInt64, _ log2: Int, _ start: UInt64, _ budget: inout UInt64) -> MapCell<
    HostState
  > {
    let end = min(hostClusters, start + 1 << UInt64(log2))
    guard isHostKnown(end) else { return .blank(.free, isKnown: false, isInside: true) }
    if log2 >= host.clusterBits {
      let level = min(log2 - host.clusterBits, host.leafBits)
      let position = log2 - host.clusterBits > host.leafBits ? 0 : number
      let refcounts = refcountRanges.node(level: level, position)
      return MapCell(host.node(level: level, position), empty: .pastEnd, refcounts: refcounts, isKnown: true)
    }
    if let found = cells.host[number] { return found }
    guard budget >= end - start || budget == Self.decodeLimit else {
      needsRefinement = true
      return .blank(.free, isKnown: false, isInside: true)
    }
    budget -= min(budget, end - start)
    var leaf = HostLeaf()
    _ = classifier.classify(start..<end) { first, count, facts in leaf.add(first, count, facts, .max) }
    let refcounts = leaf.refcounts.0 > leaf.refcounts.1 ? (0, 0) : leaf.refcounts
    let cell = MapCell<HostState>(leaf.counts, empty: .pastEnd, refcounts: refcounts, isKnown: true)
    cells.host[number] = cell
    return cell
  }

  // MARK: Single clusters

  /// What is known of one host cluster; nil before the scan has been there.
  package func hostFacts(of cluster: UInt64) -> HostFacts? {
    guard cluster < hostClusters else { return HostFacts(state: .pastEnd) }
    guard isHostKnown(cluster + 1) else { return nil }
    var found: HostFacts?
    _ = classifier.classify(cluster..<cluster + 1) { _, _, facts in found = facts }
    return found
  }

  /// What the map shows of one host cluster; nil before the scan has been there.
  func hostLook(of cluster: UInt64) -> HostState? {
    guard let facts = hostFacts(of: cluster) else { return nil }
    return facts.health.isConflict ? .wrong : facts.health == .leaked ? .leaked : facts.state
  }

  /// The next guest cluster behind (or before) `cluster` that is in `state`, at least in part.
  package func nextGuest(_ state: GuestState, from cluster: UInt64, forward: Bool) -> UInt64? {
    next(
      from: cluster, end: guestClusters, forward, bits: guest.clusterBits,
      { self.guest.count(leaf: $0, state) > 0 }
    ) {
      self.countGuest($0..<$0 + 1)[state] > 0
    }
  }

  /// The next host cluster behind (or before) `cluster` that is in `state`.
  package func nextHost(_ state: HostState, from cluster: UInt64, forward: Bool) -> UInt64? {
    next(
      from: cluster, end: hostClusters, forward, bits: host.clusterBits,
      {
        let leaf = self.host.leaf($0)
        switch state {
        case .wrong: return leaf[.wrong] + leaf[mark: .conflict] > 0
        case .leaked: return leaf[.leaked] + leaf[mark: .leaked] > 0
        default: return leaf[state] > 0
        }
      }
    ) {
      state == .wrong || state == .leaked
        ? self.hostLook(of: $0) == state : self.hostFacts(of: $0)?.state == state
    }
  }

  private func next(
    from cluster: UInt64, end: UInt64, _ forward: Bool, bits: Int, _ leafHas: (Int) -> Bool,
    _ has: (UInt64) -> Bool
  ) -> UInt64? {
    guard end > 0, forward ? cluster < end - 1 : cluster > 0 else { return nil }
    var at = forward ? cluster + 1 : min(cluster, end) - 1
    var steps = 0
    while steps < 1 << 22 {
      steps += 1
      let leaf = at >> UInt64(bits)
      if !leafHas(Int(leaf)) {
        if forward {
          at = (leaf + 1) << UInt64(bits)
        } else if leaf == 0 {
          return nil
        } else {
          at = leaf << UInt64(bits) - 1
        }
      } else if has(at) {
        return at
      } else if forward {
        at += 1
      } else if at == 0 {
        return nil
      } else {
        at -= 1
      }
      if at >= end { return nil }
    }
    return nil
  }
}
