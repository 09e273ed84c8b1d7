// Goes through the file once and compares every cluster with what is said of it. A claim that comes from a table
// which is itself broken is not counted: the table is.

package import QcowFormat
import Qcow
package import Storage

/// Looks at all clusters of an image whose atlas is complete.
package final class LooksScan {
  /// Broken tables that are remembered, and clusters whose owners are asked for.
  private static let maximumRemembered = 1 << 16
  private static let maximumAsked = 1 << 10

  private let atlas: Atlas
  private let claims: Claims
  private let check: ClaimCheck
  private let owners: Owners
  private let window: ReadWindow
  /// Clusters of tables that others are found by, and that are not what they should be.
  private var brokenRoots: Set<UInt64> = []
  private var hasBrokenBitmaps = false
  private var hasBrokenBlocks = false
  /// Where the look at these tables is.
  private var stage = 0
  private var rootRange = 0
  private var rootCluster: UInt64 = 0
  private var rootsLeft = LooksScan.maximumRemembered
  private var asked = 0
  private var image: Image { atlas.image }

  package init(_ atlas: Atlas) {
    self.atlas = atlas
    claims = Claims(atlas)
    check = ClaimCheck(atlas)
    owners = Owners(atlas, maximumOwners: 8, maximumSnapshots: 8)
    window = ReadWindow(atlas.image.storage, longest: Int(atlas.image.geometry.clusterSize))
  }

  /// Calls `found` for every cluster that something is said of, or for the broken ones alone, in the order of
  /// the file. Clusters of the guest in holes are passed.
  ///
  /// - Throws: ``StorageError`` for bytes that cannot be read.
  package func run(brokenOnly: Bool, _ found: (Look) -> Void) throws(StorageError) {
    _ = try prepare(.max)
    if let look = try lostSnapshotTable() { found(look) }
    var failure: StorageError?
    atlas.hostRuns { first, count, facts in
      guard failure == nil, first < self.atlas.fileClusters else { return }
      do throws(StorageError) {
        try self.look(
          at: first..<first + min(count, self.atlas.fileClusters - first), facts.state, brokenOnly, found)
      } catch { failure = error }
    }
    if let failure { throw failure }
  }

  /// What one cluster is said to be and what it looks like; nil if nothing is said of it.
  ///
  /// - Throws: ``StorageError`` for bytes that cannot be read.
  package func look(at cluster: HostCluster) throws(StorageError) -> Look? {
    guard let facts = atlas.hostFacts(of: cluster.value), cluster.value < atlas.fileClusters else {
      return nil
    }
    _ = try prepare(.max)
    var found: Look?
    try look(at: cluster.value..<cluster.value + 1, facts.state, false) { found = $0 }
    return found
  }

  /// What the bytes of a cluster look like, whatever is said of it.
  ///
  /// - Throws: ``StorageError`` for bytes that cannot be read.
  package func shape(at cluster: HostCluster) throws(StorageError) -> ClusterShape {
    try judge(image.geometry.start(of: cluster).value, .content, .data).shape
  }

  private func look(
    at range: Range<UInt64>, _ state: HostState, _ brokenOnly: Bool, _ found: (Look) -> Void
  ) throws(StorageError) {
    let geometry = image.geometry
    var cluster = range.lowerBound
    while cluster < range.upperBound {
      let start = geometry.start(of: HostCluster(cluster)).value
      guard let claim = claims.claim(HostCluster(cluster), state) else {
        // Of the bits of bitmaps alone nothing is said, though something is of others in the row.
        guard state == .bitmap else { return }
        cluster += 1
        continue
      }
      if claim == .content, let end = window.endOfHole(at: start), geometry.wholeClusters(end) > cluster {
        cluster = min(range.upperBound, geometry.wholeClusters(end))
        continue
      }
      if claim == .l2Table, let end = window.endOfHole(at: start), geometry.wholeClusters(end) > cluster {
        // A table of zeroes is an empty one, and costs nothing to look at.
        if !brokenOnly {
          found(Look(cluster: HostCluster(cluster), state: state, shape: .zeroes, isBroken: false))
        }
        cluster += 1
        continue
      }
      let (shape, isBroken) = try judge(start, claim, state)
      cluster += 1
      var look = Look(
        cluster: HostCluster(cluster - 1), state: state, shape: shape, isBroken: isBroken)
      if isBroken, !brokenRoots.contains(cluster - 1), try follows(look, claim) { look.isBroken = false }
      if look.isBroken || !brokenOnly { found(look) }
    }
  }

  private func judge(
    _ start: UInt64, _ claim: Claim, _ state: HostState
  ) throws(StorageError) -> (shape: ClusterShape, isBroken: Bool) {
    let bytes = unsafe try window.bytes(at: start, count: Int(image.geometry.clusterSize))
    return unsafe try check.judge(bytes, claim, state)
  }

  // MARK: What follows from what

  /// The kinds of tables that lead to other structures, in the order in which it must be known that they are sound.
  private static let roots: [Set<HostState>] = [
    [.refcountTable], [.refcountBlock], [.bitmap], [.l1Table, .snapshotTable, .snapshotTables],
  ]

  /// The tables that lead to others have been looked at: ``look(at:)`` takes no longer than its cluster does.
  package var isPrepared: Bool { stage >= Self.roots.count }

  /// Looks at a few of the tables that lead to other structures; true when that is done.
  ///
  /// - Throws: ``StorageError`` for bytes that cannot be read.
  package func prepare(_ most: Int = 1) throws(StorageError) -> Bool {
    var most = most
    let ranges = atlas.survey.classifier.structures.ranges
    while !isPrepared, most > 0 {
      guard rootRange < ranges.count, rootsLeft > 0 else {
        finishStage()
        continue
      }
      let range = ranges[rootRange]
      guard Self.roots[stage].contains(range.state) else {
        rootRange += 1
        continue
      }
      let cluster = max(rootCluster, range.range.lowerBound)
      guard range.range.contains(cluster), cluster < atlas.fileClusters else {
        (rootRange, rootCluster) = (rootRange + 1, 0)
        continue
      }
      rootCluster = cluster + 1
      most -= 1
      try lookAtRoot(cluster, range.state)
    }
    return isPrepared
  }

  private func lookAtRoot(_ cluster: UInt64, _ state: HostState) throws(StorageError) {
    guard let claim = claims.claim(HostCluster(cluster), state), claim != .content, claim != .l2Table else {
      return
    }
    rootsLeft -= 1
    let start = image.geometry.start(of: HostCluster(cluster)).value
    guard try judge(start, claim, state).isBroken else { return }
    if state == .refcountBlock {
      // Nothing is found by a refcount block.
      hasBrokenBlocks = true
    } else {
      brokenRoots.insert(cluster)
      if state == .bitmap { hasBrokenBitmaps = true }
    }
  }

  private func finishStage() {
    switch stage {
    case 0: check.hasRefcountTable = brokenRoots.isEmpty
    case 1: check.hasRefcounts = !hasBrokenBlocks
    case 2: check.hasBitmaps = !hasBrokenBitmaps
    default: break
    }
    (stage, rootRange, rootCluster) = (stage + 1, 0, 0)
  }

  /// Whether everything that says so of the cluster is itself broken.
  private func follows(_ look: Look, _ claim: Claim) throws(StorageError) -> Bool {
    if case .refcountBlock(let index) = claim {
      return isBroken(image.header.refcountTableOffset, entry: index)
    }
    if look.state == .bitmap { return hasBrokenBitmaps }
    guard asked < Self.maximumAsked else { return false }
    asked += 1
    let isTable = claim == .l2Table
    let named = owners.owners(of: look.cluster).owners.filter { owner in
      switch owner {
      case .l2Table, .snapshotL2: isTable
      default: !isTable && !owner.isRemark
      }
    }
    guard !named.isEmpty else { return false }
    for owner in named where try !isDoubtful(owner) { return false }
    return true
  }

  private func isDoubtful(_ owner: Owner) throws(StorageError) -> Bool {
    let header = image.header
    switch owner {
    case .l2Table(let index): return isBroken(header.l1TableOffset, entry: index)
    case .snapshotL1: return isBroken(header.snapshotsOffset, entry: 0)
    case .snapshotL2(let snapshot, let index):
      return isBroken(header.snapshotsOffset, entry: 0)
        || image.snapshots.indices.contains(snapshot)
          && isBroken(image.snapshots[snapshot].l1TableOffset, entry: index)
    case .data(_, _, let table, _), .compressed(_, _, let table, _), .beyond(_, _, let table),
      .vmState(_, _, _, let table), .snapshotData(_, _, _, let table, _):
      return try judge(table.value, .l2Table, .l2Table).isBroken
    default: return false
    }
  }

  /// The cluster of an entry of a table is broken.
  private func isBroken(_ table: UInt64, entry: Int) -> Bool {
    brokenRoots.contains(image.geometry.cluster(of: HostOffset(table &+ UInt64(entry) &* 8)).value)
  }

  /// A table of snapshots that could not be read is part of no survey; its place is known all the same.
  private func lostSnapshotTable() throws(StorageError) -> Look? {
    let header = image.header
    let place = HostOffset(header.snapshotsOffset)
    guard image.snapshots.isEmpty, header.snapshotCount > 0, place.value < image.storage.length else {
      return nil
    }
    let (shape, isBroken) = try judge(place.value, .snapshotTable(isFirst: true), .snapshotTable)
    guard isBroken else { return nil }
    return Look(
      cluster: image.geometry.cluster(of: place), state: .snapshotTable, shape: shape, isBroken: true)
  }
}
