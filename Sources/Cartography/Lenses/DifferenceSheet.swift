// Where the disk and the file differ from another state: the comparison of two scenes as an answer for every cell.

import QcowFormat
import Storage

/// The difference of two scenes, found by their comparison.
package final class DifferenceSheet: LensSheet {
  private let comparison: SceneComparison
  private let clusterBits: UInt64
  private var guest: Kinds?
  private var host: Kinds?
  private let words: String

  /// With the reason where not all can be told.
  package var subject: String {
    words + (comparison.difference.partialReason.map { ": " + $0 } ?? "")
  }

  /// Places that differ, and those of them that only one of the scenes has.
  private struct Kinds {
    let all: RangeSums
    let appeared: RangeSums
    let went: RangeSums

    init(_ all: [Range<UInt64>], _ appeared: [Range<UInt64>], _ went: [Range<UInt64>]) {
      self.all = RangeSums(all)
      self.appeared = RangeSums(appeared)
      self.went = RangeSums(went)
    }

    func cell(_ clusters: Range<UInt64>) -> LensCell {
      let differ = all.covered(clusters)
      guard differ > 0 else { return LensCell(.same) }
      let (new, gone) = (appeared.covered(clusters), went.covered(clusters))
      let value: LensCell.Value = new == differ ? .appeared : gone == differ ? .went : .changed
      return LensCell(value, isMixed: differ < UInt64(clusters.count))
    }
  }

  /// Begins nothing yet; `subject` says what is compared with what.
  package init(_ before: Scene, _ after: Scene, subject: String) {
    comparison = SceneComparison(before, after)
    clusterBits = UInt64(after.geometry.clusterBits)
    words = subject
  }

  package var progress: Double { comparison.progress }

  package func step(budgetNanoseconds: UInt64) -> Bool {
    guard guest == nil else { return true }
    guard comparison.step(budgetNanoseconds: budgetNanoseconds) else { return false }
    let found = comparison.difference
    guest = Kinds(found.guest, found.guestAppeared, found.guestWent)
    host = Kinds(found.host, found.hostAppeared, found.hostWent)
    return true
  }

  /// Not all places could be compared or kept: what looks the same may not be.
  private var isPartial: Bool { comparison.difference.partialReason != nil }

  private func cell(_ kinds: Kinds?, _ clusters: Range<UInt64>) -> LensCell {
    guard let found = kinds?.cell(clusters) else { return .unknown }
    return found.value == .same && isPartial ? .unknown : found
  }

  package func guest(_ bytes: Range<UInt64>) -> LensCell {
    let first = bytes.lowerBound >> clusterBits
    return cell(guest, first..<max(first + 1, bytes.upperBound >> clusterBits))
  }

  package func host(_ clusters: Range<UInt64>, isData: Bool) -> LensCell {
    isData ? .nothing : cell(host, clusters)
  }
}
