// The pages that an event found or left behind, as rows of one and the same page. Where it found or left what the
// file held at the beginning, only that is said, and no bytes are kept.

/// Pages side by side.
package struct PageRuns {
  /// A row of one page.
  struct Run {
    /// nil: what the storage below held at the beginning.
    let page: Page?
    var count: UInt64
  }

  private(set) var runs: [Run] = []
  /// How many pages there are.
  package private(set) var count: UInt64 = 0
  /// The number of the first page.
  package let first: UInt64
  private let origin: Origin?

  /// No pages yet; `origin` is asked for those that are as they were.
  init(from first: UInt64, _ origin: Origin? = nil) {
    self.first = first
    self.origin = origin
  }

  /// These pages, side by side.
  init(_ pages: [Page], from first: UInt64) {
    self.init(from: first)
    for page in pages { append(page, 1) }
  }

  /// The numbers of the pages.
  var numbers: Range<UInt64> { first..<first + count }

  mutating func append(_ page: Page?, _ more: UInt64) {
    guard more > 0 else { return }
    count += more
    if let last = runs.last, last.page === page {
      runs[runs.count - 1].count += more
    } else {
      runs.append(Run(page: page, count: more))
    }
  }

  /// Calls `body` with every row and its numbers.
  @inline(__always)
  func forEachRun(_ body: (Page?, Range<UInt64>) -> Void) {
    var at = first
    for run in runs {
      body(run.page, at..<at + run.count)
      at += run.count
    }
  }

  /// Every row as it is kept, with the same row of others; both begin at the same number and are equally long.
  /// `areSame` without a look at bytes, until `body` returns false.
  package func forEachRun(
    with other: PageRuns, _ body: (_ first: UInt64, _ count: UInt64, _ areSame: Bool) -> Bool
  ) {
    var (one, two, at) = (runs.makeIterator(), other.runs.makeIterator(), first)
    var (a, b) = (one.next(), two.next())
    while let left = a, let right = b {
      let step = min(left.count, right.count)
      let areSame =
        left.page === right.page || isZero(left.page, at..<at + step) && isZero(right.page, at..<at + step)
      if !body(at, step, areSame) { return }
      at += step
      a = left.count > step ? Run(page: left.page, count: left.count - step) : one.next()
      b = right.count > step ? Run(page: right.page, count: right.count - step) : two.next()
    }
  }

  /// The page, or what lies below a range, is known to be zeroes.
  private func isZero(_ page: Page?, _ numbers: Range<UInt64>) -> Bool {
    page.map { $0.fillByte == 0 } ?? origin?.isHole(numbers) ?? true
  }

  /// The page of a number, read from below if it is as it was at the beginning.
  ///
  /// - Throws: what reading throws, and ``StorageError`` for bytes that are no longer kept.
  package func page(_ number: UInt64) throws(StorageError) -> Page {
    var at = first
    for run in runs {
      if number < at + run.count {
        if let page = run.page { return page }
        guard let origin else { return .zero }
        return try origin.page(number)
      }
      at += run.count
    }
    return .zero
  }

  /// Memory in bytes of the rows themselves.
  var rowBytes: Int { runs.capacity * MemoryLayout<Run>.stride }
}
