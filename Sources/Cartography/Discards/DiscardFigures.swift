// What a trace of discards comes to: how much alignment drops, which requests lose most, and what each policy keeps or
// frees.

package import Qcow
package import QcowFormat

/// How requests to discard are dealt with.
package struct DiscardPolicy: Equatable, Sendable {
  /// Discards keep the host cluster mapped.
  package let keepsMapping: Bool
  /// They act on whole subclusters.
  package let bySubclusters: Bool
  /// What they discard shows the backing file.
  package let showsBacking: Bool

  /// "default", "keep-mapping, subclusters".
  package var name: String {
    [
      keepsMapping ? "keep-mapping" : "default", bySubclusters ? "subclusters" : nil,
      showsBacking ? "backing" : nil,
    ].compactMap { $0 }.joined(separator: ", ")
  }

  /// As options of a command that writes.
  package var options: String {
    var words = ["--policy=" + (keepsMapping ? MappingPolicy.keepMapping : .qemu).rawValue]
    if bySubclusters { words.append("--discard-granularity=subcluster") }
    if showsBacking { words.append("--discard-reads=backing") }
    return words.joined(separator: " ")
  }

  var policies: Policies {
    var policies = Policies(keepsMapping ? .keepMapping : .qemu)
    policies.discardGranularity = bySubclusters ? .subcluster : .cluster
    policies.discardReads = showsBacking ? .backing : .zero
    return policies
  }

  /// Those that make a difference for an image; the first is what happens without options.
  package static func all(for image: Image) -> [DiscardPolicy] {
    var policies: [DiscardPolicy] = []
    for (fine, backing) in [(false, false), (true, false), (true, true)] {
      guard !fine || image.geometry.hasExtendedL2, !backing || image.backing != nil else { continue }
      for keeps in [false, true] where !keeps || image.header.version >= 3 {
        policies.append(DiscardPolicy(keepsMapping: keeps, bySubclusters: fine, showsBacking: backing))
      }
    }
    return policies
  }
}

/// What the discards of a trace do under one policy.
package struct DiscardOutcome: Equatable, Sendable {
  /// Bytes of the disk that were in the image, data or compressed, and are given up.
  package internal(set) var dataBytes = ByteCount(0)
  /// Guest clusters whose entry names no place in the file any more.
  package internal(set) var unmapped: UInt64 = 0
  /// Guest clusters whose last data is given up and that keep their place.
  package internal(set) var kept: UInt64 = 0
  /// Host clusters that nobody uses any more; 0 for an external data file, which counts none.
  package internal(set) var freed: UInt64 = 0
  /// Guest clusters with a place behind the last request, less those before the first; writes count as well.
  package internal(set) var mappedChange: Int64 = 0
  /// Requests that the image refused, and what the first of them met.
  package internal(set) var failures: UInt64 = 0
  package internal(set) var firstFailure: String?
}

/// A discard that loses some of its bytes to alignment.
package struct DiscardLoss: Equatable, Sendable {
  /// The number of its line, from 1.
  package let line: UInt64
  /// Bytes of the disk.
  package let range: Range<UInt64>
  /// Bytes that are not discarded because only whole clusters are.
  package let byClusters: UInt64
  /// The same of whole subclusters.
  package let bySubclusters: UInt64
}

/// Counts of a trace that follow from its lines alone.
package struct DiscardCounts: Equatable, Sendable {
  package internal(set) var lines: UInt64 = 0
  package internal(set) var discards: UInt64 = 0
  /// Requests that write or zero.
  package internal(set) var writes: UInt64 = 0
  /// Bytes that discards ask for.
  package internal(set) var asked: UInt64 = 0
  /// Bytes of them that alignment drops, by clusters and by subclusters.
  package internal(set) var lostByClusters: UInt64 = 0
  package internal(set) var lostBySubclusters: UInt64 = 0
  /// Discards that lose something, and discards that lose everything, by clusters.
  package internal(set) var losing: UInt64 = 0
  package internal(set) var losingAll: UInt64 = 0
  /// The same by subclusters.
  package internal(set) var losingBySubclusters: UInt64 = 0
  package internal(set) var losingAllBySubclusters: UInt64 = 0
  /// Requests that do not lie on the disk.
  package internal(set) var outside: UInt64 = 0
  package internal(set) var notUnderstood: UInt64 = 0
  /// "line 7: ..."
  package internal(set) var firstNotUnderstood: String?
}
