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

/// Answers questions from a survey, as far as its scan has come.
final class AtlasCells {
  /// Entries that one call decodes at most.
  private static let decodeLimit: UInt64 = 1 << 20
  /// Cells that one call returns at most.
  private static let maximumCells = 1 << 16
  /// Cells of one call whose tables are asked for and have not come; those behind them wait for the next call.
  private static let mostUnread = 16

  private let survey: Survey
  private let scan: AtlasScan
  /// The last call for cells left some unknown because decoding them all would have taken too
  /// long, or because their tables have not come yet; calling again continues.
  private(set) var needsRefinement = false
  /// Cells of this call whose tables have not come.
  private var unread = 0

  init(_ survey: Survey, _ scan: AtlasScan) {
    self.survey = survey
    self.scan = scan
  }

  private var geometry: Geometry { survey.image.geometry }
  private var guest: GuestSheet { survey.guest }
  private var host: HostSheet { survey.host }
  private var classifier: HostClassifier { survey.classifier }
  private var guestClusters: UInt64 { survey.guest.clusters }
  private var hostClusters: UInt64 { survey.hostClusters }

  // MARK: Ranges

  /// Subclusters per state in a range of guest clusters; the part that has been scanned, if the
  /// scan is not done.
  func guestCounts(clusters: Range<UInt64>) -> StateCounts<GuestState> {
    let range = clusters.clamped(to: 0..<max(guestClusters, 1))
    return counts(range.clamped(to: 0..<guestClusters), leafBits: guest.leafBits, tree: guest.counts) {
      countGuest($0)
    }
  }

  /// Clusters per state in a range of host clusters.
  func hostCounts(clusters: Range<UInt64>) -> StateCounts<HostState> {
    let range = clusters.clamped(to: 0..<hostClusters)
    return counts(range, leafBits: host.leafBits, tree: host.counts) { part in
      var counts = StateCounts<HostState>()
      guard self.scan.isHostKnown(upTo: part.upperBound) else { return counts }
      _ = self.classifier.classify(part) { _, count, facts in facts.add(count, to: &counts) }
      return counts
    }
  }

  /// Calls `body` for the runs of equal facts of the file and of what is owned behind its end, in order.
  func hostRuns(_ body: (_ first: UInt64, _ count: UInt64, _ facts: HostFacts) -> Void) {
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
    if guest.mayLead(clusters, to: survey.conflicts) { return survey.entries.countPlaces(clusters) }
    var counts = StateCounts<GuestState>()
    var signature = HostSignature()
    survey.entries.count(all: clusters, into: &counts, signature: &signature)
    return survey.entries.withRest(counts, clusters)
  }

  // MARK: Cells

  /// `count` cells of 2^`cellClustersLog2` clusters each, the first of them number `first`. Down
  /// to -5 a cell is a part of a cluster, where there are subclusters.
  func guestCells(first: UInt64, cellClustersLog2: Int, count: Int) -> [MapCell<GuestState>] {
    let finest = geometry.hasExtendedL2 ? -5 : 0
    let log2 = min(60, max(finest, cellClustersLog2))
    (needsRefinement, unread) = (false, 0)
    if survey.cells.guestLog2 != log2 || survey.cells.guest.count > CellCache.maximum {
      (survey.cells.guestLog2, survey.cells.guest) = (log2, [:])
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
        guard isReady(start..<start + 1) else {
          result.append(.blank(.none, isKnown: false, isInside: true))
          continue
        }
        cluster = start
        states = survey.entries.states(of: start)
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
    let tree = guest.counts
    if log2 >= tree.clusterBits {
      let level = log2 - tree.clusterBits
      let counts = level > tree.leafBits ? tree.root : tree.node(level: level, number)
      guard counts.total > 0 else { return .blank(.none, isKnown: false, isInside: true) }
      return Self.cell(counts, isKnown: scan.isGuestKnown(upTo: end))
    }
    // A leaf of one state tells all its parts.
    let leaf = Int(start >> guest.leafBits)
    if scan.isLeafKnown(at: start, end: UInt64(leaf + 1) << guest.leafBits) {
      let counts = tree.leaf(leaf)
      let isSettled = scan.knowsConflicts || !survey.conflicts.mayContain(guest.signatures[leaf])
      if isSettled, let only = counts.dominant, counts[only] == counts.total {
        var part = StateCounts<GuestState>()
        part[only] = (end - start) * UInt64(geometry.subclustersPerCluster)
        return Self.cell(part, isKnown: true)
      }
    }
    if let found = survey.cells.guest[number] { return found }
    guard budget >= end - start || budget == Self.decodeLimit else {
      needsRefinement = true
      return .blank(.none, isKnown: false, isInside: true)
    }
    guard isReady(start..<end) else { return .blank(.none, isKnown: false, isInside: true) }
    budget -= min(budget, end - start)
    let cell = Self.cell(countGuest(start..<end), isKnown: true)
    survey.cells.guest[number] = cell
    return cell
  }

  /// The entries of a cell can be read. If not they have been asked for, before those that only the scan will want,
  /// unless very many of the same call have been: nobody who draws waits for all of a picture.
  private func isReady(_ clusters: Range<UInt64>) -> Bool {
    if unread < Self.mostUnread, survey.entries.isReady(clusters) { return true }
    (unread, needsRefinement) = (unread + 1, true)
    return false
  }

  /// `count` cells of 2^`cellClustersLog2` host clusters each (0 or more), the first of them number
  /// `first`.
  func hostCells(first: UInt64, cellClustersLog2: Int, count: Int) -> [MapCell<HostState>] {
    let log2 = min(60, max(0, cellClustersLog2))
    needsRefinement = false
    if survey.cells.hostLog2 != log2 || survey.cells.host.count > CellCache.maximum {
      (survey.cells.hostLog2, survey.cells.host) = (log2, [:])
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
    guard scan.isHostKnown(upTo: end) else { return .blank(.free, isKnown: false, isInside: true) }
    let tree = host.counts
    if log2 >= tree.clusterBits {
      let level = min(log2 - tree.clusterBits, tree.leafBits)
      let position = log2 - tree.clusterBits > tree.leafBits ? 0 : number
      let refcounts = host.refcounts.node(level: level, position)
      return MapCell(tree.node(level: level, position), empty: .pastEnd, refcounts: refcounts, isKnown: true)
    }
    if let found = survey.cells.host[number] { return found }
    guard budget >= end - start || budget == Self.decodeLimit else {
      needsRefinement = true
      return .blank(.free, isKnown: false, isInside: true)
    }
    budget -= min(budget, end - start)
    var leaf = HostLeaf()
    _ = classifier.classify(start..<end) { first, count, facts in leaf.add(first, count, facts, .max) }
    let refcounts = leaf.refcounts.0 > leaf.refcounts.1 ? (0, 0) : leaf.refcounts
    let cell = MapCell<HostState>(leaf.counts, empty: .pastEnd, refcounts: refcounts, isKnown: true)
    survey.cells.host[number] = cell
    return cell
  }

  /// The whole file in `columns` cells or fewer.
  func hostStrip(columns: Int) -> [HostStripCell] {
    guard scan.knowsOwners else { return HostStripCell.unknown(hostClusters, columns: columns) }
    let tree = host.counts
    return HostStripCell.cells(hostClusters, leafBits: host.leafBits, columns: columns) { clusters, leaves in
      guard scan.isHostKnown(upTo: clusters.upperBound) else {
        return .blank(.free, isKnown: false, isInside: true)
      }
      return MapCell(tree.sum(leaves: leaves), empty: .pastEnd, refcounts: (0, 0), isKnown: true)
    }
  }

  // MARK: Single clusters

  /// What is known of one host cluster; nil before the scan has been there.
  func hostFacts(of cluster: UInt64) -> HostFacts? {
    guard cluster < hostClusters else { return HostFacts(state: .pastEnd) }
    guard scan.isHostKnown(upTo: cluster + 1) else { return nil }
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
  func nextGuest(_ state: GuestState, from cluster: UInt64, forward: Bool) -> UInt64? {
    next(
      from: cluster, end: guestClusters, forward, bits: guest.counts.clusterBits,
      { self.guest.counts.count(leaf: $0, state) > 0 }
    ) {
      self.countGuest($0..<$0 + 1)[state] > 0
    }
  }

  /// The next host cluster behind (or before) `cluster` that is in `state`.
  func nextHost(_ state: HostState, from cluster: UInt64, forward: Bool) -> UInt64? {
    next(
      from: cluster, end: hostClusters, forward, bits: host.counts.clusterBits,
      {
        let leaf = self.host.counts.leaf($0)
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
