// Counts what the persistent bitmaps of an image mark, in slices.

package import Qcow
import Storage

/// The count of all bitmaps.
package final class BitmapScan: Work {
  /// In the order of their directory.
  package private(set) var bitmaps: [BitmapCount]
  /// Why there are none although the image has some; nil if there is no such reason.
  package let failure: String?
  private var number = 0

  /// Begins; `parts` is how many parts of the disk are told apart.
  package init(_ image: Image, parts: Int) {
    do throws(ImageError) {
      bitmaps = try BitmapCount.all(of: image, parts: parts)
      failure = nil
    } catch {
      bitmaps = []
      failure = error.description
    }
  }

  package var isDone: Bool { number >= bitmaps.count }

  package var progress: Double {
    isDone ? 1 : (Double(number) + bitmaps[number].progress) / Double(bitmaps.count)
  }

  @discardableResult
  package func step(budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while !isDone {
      if bitmaps[number].isDone { number += 1 } else { bitmaps[number].step() }
      if clock.now >= end { break }
    }
    return isDone
  }
}
