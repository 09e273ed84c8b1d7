// What fills a file: how much of it each kind of cluster takes, to the byte, and what of it could be given back.
// The host screen, `qatlas layout` and its JSON show these figures.

import Qcow
package import QcowFormat
import Storage

/// The parts of a file, and what could be given back of it.
package struct FileLayout: Equatable, Sendable {
  /// All clusters of one kind.
  package struct Part: Equatable, Sendable {
    package let state: HostState
    package internal(set) var clusters: UInt64
    /// Bytes of the file; the last cluster may be cut by its end.
    package internal(set) var bytes: UInt64
  }

  /// The kinds of clusters that the file has, in the order of the legend. Once ``isComplete``, their bytes add up
  /// to ``length``.
  package let parts: [Part]
  /// Bytes of the file.
  package let length: UInt64
  /// Clusters of the file, the last one possibly cut.
  package let clusters: UInt64
  /// Clusters of the file in conflict, whatever they are.
  package let conflicts: UInt64
  /// Clusters with an owner whose refcount counts more of them.
  package let countedTooHigh: UInt64
  /// Clusters that entries lead to and that lie behind the end of the file.
  package let behindEnd: UInt64
  /// Everything has been counted; until then ``parts`` are what was counted so far, and the figures below are nil.
  package let isComplete: Bool
  /// First byte behind the last cluster in use; nil if it is not known.
  package let end: UInt64?
  /// Free clusters behind the last one in use.
  package let freeAtTail: UInt64?
  /// Bytes that the file could be shorter at once.
  package let couldCut: UInt64?
  /// Bytes of clusters that nothing refers to and that a refcount counts.
  package let couldFree: UInt64?
  /// Bytes of free clusters in front of the last one in use, which moving clusters would close.
  package let couldCompact: UInt64?

  /// Counts by kind, of which the kind of the last cluster takes what the file lacks of it.
  private init(
    _ counts: StateCounts<HostState>, length: UInt64, geometry: Geometry, last: HostState?, isComplete: Bool,
    tail: UInt64?
  ) {
    let size = geometry.clusterSize
    let clusters = geometry.clustersCovering(length)
    var parts = HostState.allCases.filter { counts[$0] > 0 && $0 != .wrong && $0 != .pastEnd }.map {
      Part(state: $0, clusters: counts[$0], bytes: counts[$0] &* size)
    }
    if let last, let index = parts.firstIndex(where: { $0.state == last }) {
      parts[index].bytes -= min(parts[index].bytes, clusters &* size &- length)
    }
    self.parts = parts
    self.length = length
    self.clusters = clusters
    conflicts = counts[mark: .conflict]
    countedTooHigh = counts[mark: .leaked]
    behindEnd = counts[.wrong]
    self.isComplete = isComplete
    freeAtTail = tail
    end = tail.map { (clusters - min(clusters, $0)) &* size }
    couldCut = end.map { length - min(length, $0) }
    couldFree = isComplete ? parts.first { $0.state == .leaked }?.bytes ?? 0 : nil
    couldCompact = tail.map { (counts[.free] - min(counts[.free], $0)) &* size }
  }

  /// What the atlas has counted of the image file so far.
  package init(_ atlas: Atlas) {
    let totals = atlas.totals
    let isComplete = atlas.isDone && !atlas.isPartial
    let last = totals.fileClusters == 0 ? nil : atlas.hostFacts(of: totals.fileClusters - 1)?.state
    self.init(
      totals.host, length: totals.fileLength, geometry: atlas.image.geometry, last: last,
      isComplete: isComplete, tail: isComplete ? totals.freeAtTail : nil)
  }

  /// What is known of the external data file. `tail` are free clusters at its end, if they were counted.
  package init(_ map: DataFileMap, geometry: Geometry, tail: UInt64?) {
    var counts = StateCounts<HostState>()
    for state in HostState.allCases where state != .wrong { counts[state] = map.count(state) }
    // Two entries that lead to one cluster of it: the cluster is there, and in conflict.
    counts[.data] += map.count(.wrong)
    counts[mark: .conflict] = map.count(.wrong)
    let last = map.fileClusters == 0 ? nil : map.state(of: map.fileClusters - 1)
    let isComplete = map.isDone && map.partialReason == nil
    self.init(
      counts, length: map.file.length, geometry: geometry, last: last == .wrong ? .data : last,
      isComplete: isComplete, tail: isComplete ? tail : nil)
  }

  /// The part of a kind; nothing if there is none.
  package subscript(state: HostState) -> Part {
    parts.first { $0.state == state } ?? Part(state: state, clusters: 0, bytes: 0)
  }

  /// The share of the file that some bytes are, in percent.
  package func percent(_ bytes: UInt64) -> Double {
    length == 0 ? 0 : Double(bytes) / Double(length) * 100
  }

  // MARK: Its end

  /// The last cluster in use; nil if there is none, or if it is not known.
  package func lastInUse(_ geometry: Geometry) -> HostCluster? {
    guard let end, end > 0 else { return nil }
    return HostCluster(geometry.cluster(of: HostOffset(end)).value - 1)
  }

  /// Why the file ends where it does, in a sentence without a full stop. `owner` is who has the last cluster in
  /// use, in words.
  package func endSentence(_ geometry: Geometry, owner: String?) -> String {
    guard let end, let freeAtTail else { return "not known yet" }
    var text: String
    if let last = lastInUse(geometry) {
      let place = "0x\(Notation.hex(geometry.start(of: last).value))"
      let who = owner.map { ": " + $0 } ?? ""
      text =
        freeAtTail == 0
        ? "the cluster at \(place) is in use, and the last one of the file\(who)"
        : "the last cluster in use is at \(place)\(who); behind it "
          + "\(counted(freeAtTail, "free cluster")), \(Notation.compact(length - min(length, end))), could be cut"
    } else {
      text = "no cluster is in use"
    }
    if behindEnd > 0 { text += "; entries lead to \(counted(behindEnd, "cluster")) behind the end" }
    return text
  }
}
