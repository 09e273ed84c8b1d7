// What is said about the fragmentation of an image: shares, the worst parts of the disk and what rewriting
// them would bring. The screen, the lines of `qatlas frag` and its JSON take them from here.

import QcowFormat
import Qcow
import Storage

/// The words and derived numbers of one image's fragmentation.
package struct FragmentationWords {
  /// What is talked about.
  package let fragmentation: Fragmentation

  package init(_ fragmentation: Fragmentation) { self.fragmentation = fragmentation }

  /// How many of the most frequent shifts are named.
  package static let shownShifts = 5
  /// How many of the worst regions are named.
  package static let shownRegions = 8

  /// The regions of the disk where most runs could be saved.
  package func worst(_ choice: ClusterChoice, limit: Int) -> [RegionFigures.Group] {
    fragmentation.figures(choice).regions.worst(limit)
  }

  /// What rewriting a group of regions in order would need and bring.
  package func rewrite(_ group: RegionFigures.Group) -> Fragmentation.Rewrite {
    fragmentation.rewrite(
      group.range, clusters: group.total.clusters, runs: group.total.runs, stretches: group.total.stretches)
  }

  /// "8.4G-11.6G".
  package func range(_ clusters: Range<UInt64>) -> String {
    let end = min(clusters.upperBound &* fragmentation.clusterSize, fragmentation.virtualSize)
    return Notation.compact(clusters.lowerBound &* fragmentation.clusterSize) + "-" + Notation.compact(end)
  }

  /// "rewriting 8.4G-11.6G in order needs 3.2G free, leaves 41 runs of 6120, file +0".
  package func text(of rewrite: Fragmentation.Rewrite, short: Bool = false) -> String {
    func size(_ clusters: UInt64) -> String { Notation.compact(clusters &* fragmentation.clusterSize) }
    if rewrite.needed == 0 { return "\(range(rewrite.range)) holds nothing to rewrite" }
    let runs = "leaves \(counted(rewrite.runsAfter, "run")) of \(rewrite.runsBefore)"
    let start = "rewriting \(range(rewrite.range)) in order needs \(size(rewrite.needed))"
    return short
      ? "\(start), \(runs)" : "\(start) free, \(runs), file +\(size(rewrite.growth))"
  }

  /// A part in percent; 0 of nothing is 0.
  package static func percent(_ part: UInt64, of whole: UInt64) -> Double {
    whole == 0 ? 0 : Double(part) * 100 / Double(whole)
  }

  /// Bytes of a mean distance; no offset is longer than 2^62.
  package static func bytes(_ value: Double) -> UInt64 { UInt64(max(0, min(value, 0x1p62))) }
}
