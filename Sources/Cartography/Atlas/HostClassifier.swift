// What every host cluster is, in runs: owners counted by the scan against the refcounts of the
// image, the places of the structures, and the holes of the file.

import QcowFormat
import Qcow
import Storage

/// Names the state of host clusters.
final class HostClassifier {
  /// Holes are looked for this often in one scan; later clusters count as present.
  static let maximumExtentCalls = 1 << 21

  private let image: Image
  private let references: ReferenceCounts
  /// How many of the owners are snapshots; nil without any.
  private(set) var snapshotReferences: ReferenceCounts?
  private let refcounts: RefcountReader
  var structures = Structures()
  /// Host clusters of saved machine state, sorted and apart.
  var machineState: [Range<UInt64>] = []
  private var extentCalls = 0
  /// Up to here the file has no bytes, or has some.
  private var stretch = 0..<UInt64(0)
  private var stretchIsHole = false
  /// Clusters looked at one by one so far.
  private(set) var work: UInt64 = 0

  var skippedHoles: Bool { extentCalls >= Self.maximumExtentCalls }

  init(_ image: Image, _ references: ReferenceCounts, snapshots: ReferenceCounts? = nil) {
    self.image = image
    self.references = references
    snapshotReferences = snapshots
    refcounts = RefcountReader(image)
    refresh()
  }

  /// Snapshots came, or the last of them went.
  func count(snapshots: ReferenceCounts?) { snapshotReferences = snapshots }

  /// The file changed.
  func invalidate() {
    refcounts.invalidate()
    stretch = 0..<0
    refresh()
  }

  func refcount(of cluster: UInt64) -> UInt64 { refcounts.refcount(of: cluster) }

  /// The refcounts are known not to be kept up: the image was not closed cleanly with lazy refcounts, or
  /// has no refcount block at all.
  private(set) var isStale = false

  /// Looks at what is true of the image as a whole; call it after a change of the header.
  func refresh() {
    isStale = image.header.incompatible.contains(.dirty) || Self.hasNoRefcounts(image)
  }

  /// No entry of the refcount table leads to a block.
  static func hasNoRefcounts(_ image: Image) -> Bool {
    for index in 0..<image.refcountTableCount where image.refcountTableEntry(index).block != nil {
      return false
    }
    return true
  }

  /// Calls `emit` for every run of equal facts; returns early when `limit` clusters have been looked at
  /// one by one, with the cluster to go on from.
  func classify(
    _ range: Range<UInt64>, limit: UInt64 = .max,
    _ emit: (_ first: UInt64, _ count: UInt64, _ facts: HostFacts) -> Void
  ) -> UInt64 {
    let fileClusters = image.geometry.clustersCovering(image.storage.length)
    let budget = limit == .max ? UInt64.max : work &+ limit
    var cluster = range.lowerBound
    var runStart = cluster
    var run = HostFacts(state: .free)
    func flush(_ end: UInt64) {
      if end > runStart {
        emit(runStart, end - runStart, run)
        // Who is told of a run may have asked for other refcounts.
        if end < range.upperBound { _ = refcounts.piece(at: end) }
      }
      runStart = end
    }
    let isPlain = machineState.isEmpty && snapshotReferences == nil
    var position = structures.position(of: cluster)
    while cluster < range.upperBound, work < budget {
      let number = cluster >> ReferenceCounts.chunkBits
      let chunk = unsafe references.chunk(number)
      let chunkEnd =
        cluster >= references.directoryEnd ? .max : (number + 1) << ReferenceCounts.chunkBits
      let piece = refcounts.piece(at: cluster)
      var end = min(range.upperBound, min(chunkEnd, piece.clusters.upperBound))
      let isInside = cluster < fileClusters
      if isInside { end = min(end, fileClusters) }
      guard end > cluster else { break }
      if unsafe chunk == nil && (piece.isZero || !isInside) {
        let facts = HostFacts(state: isInside ? .free : .pastEnd)
        if run != facts {
          flush(cluster)
          run = facts
        }
        cluster = end
        continue
      }
      work &+= end - cluster
      while cluster < end {
        let byte = unsafe chunk.map { unsafe $0[Int(truncatingIfNeeded: cluster & 0xffff)] } ?? 0
        let refcount = piece.isZero ? 0 : refcounts.value(cluster)
        let facts: HostFacts
        if byte == 1 && refcount == 1 && isInside && isPlain {
          // By far the most frequent: one owner, plain data.
          facts = HostFacts(
            state: isHole(cluster, fileClusters) ? .hole : .data, health: .sound, users: .disk, refcount: 1)
        } else {
          facts = self.facts(
            cluster, byte, refcount, isInside, unsafe chunk == nil, fileClusters, &position)
        }
        if facts != run {
          flush(cluster)
          run = facts
        }
        cluster += 1
      }
    }
    flush(cluster)
    return cluster
  }

  private func facts(
    _ cluster: UInt64, _ byte: UInt8, _ refcount: UInt64, _ isInside: Bool, _ isUncounted: Bool,
    _ fileClusters: UInt64, _ position: inout Int
  ) -> HostFacts {
    let owners = references.count(byte, cluster)
    var facts = HostFacts(state: .free, refcount: refcount)
    guard isInside else {
      facts.state = owners > 0 ? .wrong : .pastEnd
      facts.health = owners > 0 ? .pastEnd : .sound
      return facts
    }
    if owners == 0 {
      if refcount == 0 { return facts }
      // Owners that could not be counted must not make leaks.
      facts.state =
        !(isUncounted && references.isIncomplete) ? .leaked : isHole(cluster, fileClusters) ? .hole : .data
      facts.health = facts.state == .leaked ? .leaked : .sound
      return facts
    }
    let kind = ReferenceCounts.kind(byte)
    facts.health = health(kind, owners, refcount)
    if kind == .table || kind == .mixed {
      while position < structures.ranges.count, structures.ranges[position].range.upperBound <= cluster {
        position += 1
      }
      if position < structures.ranges.count, structures.ranges[position].range.contains(cluster) {
        facts.state = structures.ranges[position].state
        if structures.ranges[position].overlaps { facts.health = .mixed }
        return facts
      }
    }
    facts.users = users(cluster, owners)
    if kind == .table || kind == .mixed && references.isTable(cluster) {
      facts.state = .l2Table
    } else if kind == .compressed {
      facts.state = .compressed
    } else if isMachineState(cluster) {
      facts.state = .vmState
    } else {
      facts.state = isHole(cluster, fileClusters) ? .hole : .data
    }
    return facts
  }

  /// What owners and refcount say about each other.
  func health(_ kind: ReferenceKind, _ owners: UInt64, _ refcount: UInt64) -> HostHealth {
    if kind == .mixed { return .mixed }
    if refcount > owners { return .leaked }
    if refcount == owners { return .sound }
    // Two entries of one disk never share a cluster of data, whatever the refcounts are worth.
    let isOneUser = owners == 1 || kind != .data || snapshotReferences != nil
    return isStale && isOneUser ? .uncounted : .tooLow
  }

  private func users(_ cluster: UInt64, _ owners: UInt64) -> HostUsers {
    guard let snapshotReferences else { return .disk }
    let others = snapshotReferences.count(of: cluster)
    return others == 0 ? .disk : others < owners ? .shared : .snapshots
  }

  /// Why an entry for data, or one for a table, cannot lead to `cluster`, as far as is known; nil if
  /// nothing speaks against it.
  func conflict(at cluster: UInt64, isTable: Bool, fileClusters: UInt64) -> Conflict? {
    guard cluster < fileClusters else { return .pastEnd }
    if let structure = structures.range(at: cluster) {
      // Tables that only snapshots use are in the list as well.
      if !isTable || structure.state != .snapshotTables { return .table(structure.state) }
    }
    let kind = references.kind(of: cluster)
    if isTable {
      if kind == .mixed { return .data }
    } else {
      if references.isTable(cluster) { return .table(.l2Table) }
      if kind == .mixed { return .stream }
    }
    let owners = max(1, references.count(of: cluster))
    let refcount = refcounts.refcount(of: cluster)
    return health(isTable ? .table : kind ?? .data, owners, refcount) == .tooLow
      ? .refcount(refcount, owners: owners) : nil
  }

  private func isMachineState(_ cluster: UInt64) -> Bool {
    guard !machineState.isEmpty else { return false }
    var low = 0
    var high = machineState.count
    while low < high {
      let middle = (low + high) / 2
      if machineState[middle].upperBound > cluster { high = middle } else { low = middle + 1 }
    }
    return low < machineState.count && machineState[low].contains(cluster)
  }

  /// The host keeps no bytes for any part of the cluster.
  @inline(__always)
  private func isHole(_ cluster: UInt64, _ fileClusters: UInt64) -> Bool {
    if !stretch.contains(cluster) { findStretch(cluster, fileClusters) }
    return stretchIsHole
  }

  private func findStretch(_ cluster: UInt64, _ fileClusters: UInt64) {
    stretchIsHole = false
    guard extentCalls < Self.maximumExtentCalls else {
      stretch = cluster..<UInt64.max
      return
    }
    extentCalls += 1
    let bits = UInt64(image.geometry.clusterBits)
    let extent = image.storage.extent(at: cluster << bits)
    if extent.isHole {
      var found = extent
      // A storage may report one hole in pieces.
      var pieces = 0
      while found.isHole, found.end >> bits == cluster, found.end < image.storage.length, pieces < 512 {
        found = image.storage.extent(at: found.end)
        pieces += 1
      }
      let hole = found.isHole ? found.end : cluster << bits
      let end = hole >= image.storage.length ? fileClusters : hole >> bits
      stretchIsHole = end > cluster
      stretch = cluster..<max(end, cluster + 1)
    } else {
      stretch = cluster..<max(image.geometry.clustersCovering(extent.end), cluster + 1)
    }
  }
}
