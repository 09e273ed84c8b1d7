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
    try findRoots()
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
    try findRoots()
    var found: Look?
    try look(at: cluster.value..<cluster.value + 1, facts.state, false) { found = $0 }
    return found
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

  /// Looks at the tables that lead to other structures.
  private func findRoots() throws(StorageError) {
    var left = Self.maximumRemembered
    try findRoots([.refcountTable], &left)
    check.hasRefcountTable = brokenRoots.isEmpty
    let tables = brokenRoots
    try findRoots([.refcountBlock], &left)
    check.hasRefcounts = brokenRoots.count == tables.count
    // Nothing is found by a refcount block.
    brokenRoots = tables
    try findRoots([.bitmap], &left)
    check.hasBitmaps = !hasBrokenBitmaps
    try findRoots([.l1Table, .snapshotTable, .snapshotTables], &left)
  }

  private func findRoots(_ states: Set<HostState>, _ left: inout Int) throws(StorageError) {
    for range in atlas.survey.classifier.structures.ranges where states.contains(range.state) {
      let state = range.state
      for cluster in range.range where cluster < atlas.fileClusters && left > 0 {
        guard let claim = claims.claim(HostCluster(cluster), state), claim != .content, claim != .l2Table
        else {
          continue
        }
        left -= 1
        let start = image.geometry.start(of: HostCluster(cluster)).value
        if try judge(start, claim, state).isBroken {
          brokenRoots.insert(cluster)
          if state == .bitmap { hasBrokenBitmaps = true }
        }
      }
    }
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
