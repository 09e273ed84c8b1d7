// How long ago each part of the disk and of the file changed, counted in operations of the session.

import Storage

/// The newest operation that touched each place.
package final class AgeSheet: LensSheet {
  /// What one operation touched: clusters of the disk and of the file, as sorted ranges.
  package struct Touch {
    package let guest: [Range<UInt64>]
    package let host: [Range<UInt64>]

    package init(guest: [Range<UInt64>], host: [Range<UInt64>]) {
      self.guest = guest
      self.host = host
    }
  }

  private static let steps = 10

  /// By the step.
  private let guest: [RangeSums]
  private let host: [RangeSums]
  private let clusterBits: UInt64
  package let subject: String

  /// All operations that are done, the oldest first. `subject` says which those are.
  package init(_ touches: [Touch], clusterBits: Int, subject: String) {
    // Operations of one step are told from each other by nothing: so many layers at most are asked.
    var guest = Array(repeating: [Range<UInt64>](), count: Self.steps)
    var host = guest
    for (index, touch) in touches.enumerated() {
      // The newest is 9 and, of two or more, the oldest 0.
      let step = touches.count == 1 ? Self.steps - 1 : index * (Self.steps - 1) / (touches.count - 1)
      guest[step] += touch.guest
      host[step] += touch.host
    }
    self.guest = guest.map { RangeSums(Narration.merged($0)) }
    self.host = host.map { RangeSums(Narration.merged($0)) }
    self.clusterBits = UInt64(clusterBits)
    self.subject = subject
  }

  package var progress: Double { 1 }
  package func step(budgetNanoseconds: UInt64) -> Bool { true }

  /// The newest step; mixed if that did not touch all of the cell.
  private func cell(_ layers: [RangeSums], _ clusters: Range<UInt64>) -> LensCell {
    for step in layers.indices.reversed() {
      let covered = layers[step].covered(clusters)
      if covered > 0 { return LensCell(.age(step), isMixed: covered < UInt64(clusters.count)) }
    }
    return .nothing
  }

  package func guest(_ bytes: Range<UInt64>) -> LensCell {
    let first = bytes.lowerBound >> clusterBits
    return cell(guest, first..<max(first + 1, bytes.upperBound >> clusterBits))
  }

  package func host(_ clusters: Range<UInt64>, isData: Bool) -> LensCell {
    isData ? .nothing : cell(host, clusters)
  }
}
