// Which cluster the next write would take: the first one from where the search begins that no refcount counts, as
// the engine and the genuine tool look for it.

import Qcow
package import QcowFormat
import Storage

/// The cluster that is taken next by what needs one; a row of several goes to the first place with room for it.
package struct NextCluster: Equatable, Sendable {
  /// Where it is.
  package let cluster: HostCluster
  /// Where the search for it begins: behind what the session has taken, or at the start of the file.
  package let searchStart: HostCluster
  /// It lies behind the end of the file, which grows.
  package let isBehindEnd: Bool
  /// No refcount block counts it yet: the new block takes this place itself.
  package let needsBlock: Bool

  /// In a sentence without a full stop.
  package func sentence(_ geometry: Geometry) -> String {
    func hex(_ cluster: HostCluster) -> String { "0x\(Notation.hex(geometry.start(of: cluster).value))" }
    return "the next new cluster goes to \(hex(cluster)), "
      + (isBehindEnd ? "and the file grows" : "which is free inside of the file")
      + (needsBlock ? "; a new refcount block takes this place first" : "")
      + (searchStart.value == 0 ? "" : "; the search goes on at \(hex(searchStart))")
      + "; several at once go to the first row that has room"
  }
}

extension Atlas {
  /// Clusters that are looked at one by one at most.
  private static let patience: UInt64 = 1 << 22

  /// Which cluster is taken next; nil as long as that is not known, and where refcounts are made anew before
  /// anything is taken.
  package var nextCluster: NextCluster? {
    guard isDone, !isPartial, staleness == nil else { return nil }
    let geometry = image.geometry
    let start = image.session.cursor
    guard let found = firstUncounted(from: start.value, skipping: image.pinnedClusters) else { return nil }
    let cluster = HostCluster(found)
    guard found < geometry.hostClusterLimit else { return nil }
    return NextCluster(
      cluster: cluster, searchStart: start, isBehindEnd: found >= fileClusters,
      needsBlock: image.refcountTableEntry(geometry.refcountTableIndex(of: cluster)).block == nil)
  }

  /// The first cluster from one on with a refcount of 0, but for those of a range.
  private func firstUncounted(from start: UInt64, skipping range: Range<HostCluster>?) -> UInt64? {
    let places = range.map { $0.lowerBound.value..<$0.upperBound.value } ?? 0..<0
    let host = survey.host
    var at = start
    var left = Self.patience
    while at < fileClusters {
      if places.contains(at) {
        at = places.upperBound
        continue
      }
      let leaf = at >> host.leafBits
      var end = min((leaf + 1) << host.leafBits, fileClusters)
      if at < places.lowerBound { end = min(end, places.lowerBound) }
      let counts = host.counts.leaf(Int(leaf))
      // A cluster in use whose refcount is 0 is taken too, which is the harm of it.
      guard counts[.free] + counts[mark: .conflict] + counts[mark: .uncounted] > 0 else {
        at = end
        continue
      }
      var found: UInt64?
      let next = survey.classifier.classify(at..<end, limit: 1 << 14) { first, _, facts in
        if found == nil, facts.refcount == 0 { found = first }
      }
      if let found { return found }
      guard next > at, left > next - at else { return nil }
      left -= next - at
      at = next
    }
    // Counts above 0 behind the end of the file are passed as well.
    while places.contains(at) || survey.classifier.refcount(of: at) > 0 {
      guard left > 0 else { return nil }
      left -= 1
      at = places.contains(at) ? places.upperBound : at + 1
    }
    return at
  }
}
