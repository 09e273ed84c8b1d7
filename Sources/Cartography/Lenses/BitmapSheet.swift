// Which parts of the disk a persistent bitmap marks: its runs of set bits, read in slices, as an answer for every cell.

package import Qcow
import QcowFormat
import Storage

/// What one bitmap marks.
package final class BitmapSheet: LensSheet {
  /// More runs than this are not kept.
  private static let limit = 1 << 20

  package let subject: String
  private var bitmap: BitmapCount?
  private let size: UInt64
  private var runs: [Range<UInt64>] = []
  private var marked: RangeSums?
  private var isTooMuch = false

  /// The bitmap of that name, or the first one; nothing is known of an image without bitmaps. Begins nothing yet.
  package init(_ image: Image, name: String?) {
    size = image.geometry.virtualSize
    let all = (try? BitmapCount.all(of: image, parts: 1)) ?? []
    bitmap = all.first { $0.entry.name == name } ?? all.first
    subject =
      bitmap.map {
        "\"\(Escaping.human($0.entry.name))\"" + ($0.isKnown ? "" : ", in use: not to be trusted")
      }
      ?? "no bitmap"
  }

  package var progress: Double { bitmap?.progress ?? 1 }

  package func step(budgetNanoseconds: UInt64) -> Bool {
    guard marked == nil, bitmap?.isKnown == true else { return true }
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while bitmap?.isDone == false {
      bitmap?.step { run in
        if let last = runs.last, last.upperBound == run.lowerBound {
          runs[runs.count - 1] = last.lowerBound..<run.upperBound
        } else if runs.count < Self.limit {
          runs.append(run)
        } else {
          isTooMuch = true
        }
      }
      if clock.now >= end { break }
    }
    guard bitmap?.isDone == true else { return false }
    marked = RangeSums(runs)
    runs = []
    return true
  }

  package func guest(_ bytes: Range<UInt64>) -> LensCell {
    let range = bytes.clamped(to: 0..<size)
    guard bitmap != nil else { return .nothing }
    guard let marked, !isTooMuch, !range.isEmpty else { return .unknown }
    let covered = marked.covered(range)
    guard covered > 0 else { return .nothing }
    return LensCell(.part(covered, of: UInt64(range.count)), isMixed: covered < UInt64(range.count))
  }

  package func host(_ clusters: Range<UInt64>, isData: Bool) -> LensCell { .nothing }
}
