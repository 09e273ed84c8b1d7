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
  private let refcounts: RefcountReader
  var structures = Structures()
  /// Host clusters of saved machine state, sorted.
  var machineState: [Range<UInt64>] = []
  private var extentCalls = 0
  /// Up to here the file has no bytes, or has some.
  private var stretch = 0..<UInt64(0)
  private var stretchIsHole = false
  /// Clusters looked at one by one so far.
  private(set) var work: UInt64 = 0

  var skippedHoles: Bool { extentCalls >= Self.maximumExtentCalls }

  init(_ image: Image, _ references: ReferenceCounts) {
    self.image = image
    self.references = references
    refcounts = RefcountReader(image)
  }

  /// The file changed.
  func invalidate() {
    refcounts.invalidate()
    stretch = 0..<0
  }

  func refcount(of cluster: UInt64) -> UInt64 { refcounts.refcount(of: cluster) }

  /// Calls `emit` for every run of equal state and refcount; returns early when `limit` clusters
  /// have been looked at one by one, with the cluster to go on from.
  func classify(
    _ range: Range<UInt64>, limit: UInt64 = .max,
    _ emit: (_ first: UInt64, _ count: UInt64, _ state: HostState, _ refcount: UInt64) -> Void
  ) -> UInt64 {
    let fileClusters = image.geometry.clustersCovering(image.storage.length)
    let budget = limit == .max ? UInt64.max : work &+ limit
    var cluster = range.lowerBound
    var runStart = cluster
    var runState = HostState.free
    var runCount: UInt64 = 0
    func flush(_ end: UInt64) {
      if end > runStart { emit(runStart, end - runStart, runState, runCount) }
      runStart = end
    }
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
        let state: HostState = isInside ? .free : .pastEnd
        if runState != state || runCount != 0 {
          flush(cluster)
          (runState, runCount) = (state, 0)
        }
        cluster = end
        continue
      }
      work &+= end - cluster
      while cluster < end {
        let byte = unsafe chunk.map { unsafe $0[Int(truncatingIfNeeded: cluster & 0xffff)] } ?? 0
        let refcount = piece.isZero ? 0 : refcounts.value(cluster)
        let state: HostState
        if byte == 1 && refcount == 1 && isInside && machineState.isEmpty {
          // By far the most frequent: one owner, plain data.
          state = isHole(cluster, fileClusters) ? .hole : .data
        } else {
          state = name(cluster, byte, refcount, isInside, unsafe chunk == nil, fileClusters, &position)
        }
        if state != runState || refcount != runCount {
          flush(cluster)
          (runState, runCount) = (state, refcount)
        }
        cluster += 1
      }
    }
    flush(cluster)
    return cluster
  }

  private func name(
    _ cluster: UInt64, _ byte: UInt8, _ refcount: UInt64, _ isInside: Bool, _ isUncounted: Bool,
    _ fileClusters: UInt64, _ position: inout Int
  ) -> HostState {
    let owners = references.count(byte, cluster)
    guard isInside else { return owners > 0 ? .wrong : .pastEnd }
    if owners == 0 {
      if refcount == 0 { return .free }
      // Owners that could not be counted must not make leaks.
      return isUncounted && references.isIncomplete ? .data : .leaked
    }
    let kind = ReferenceCounts.kind(byte)
    if kind == .mixed || refcount < owners { return .wrong }
    if kind == .table {
      while position < structures.ranges.count, structures.ranges[position].range.upperBound <= cluster {
        position += 1
      }
      var found = HostState.l2Table
      if position < structures.ranges.count, structures.ranges[position].range.contains(cluster) {
        found = structures.ranges[position].state
      }
      if found == .wrong { return .wrong }
      return refcount > owners ? .leaked : found
    }
    if refcount > owners { return .leaked }
    if kind == .compressed { return .compressed }
    if isMachineState(cluster) { return .vmState }
    return isHole(cluster, fileClusters) ? .hole : .data
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
