// Pages laid over a storage that stays as it is: what an overlay shows now, and what it showed at any
// moment of its history, are both one of these.

/// What is seen at one moment: pages that differ from the base, and the length.
///
/// Copying one shares all its pages and costs a copy of the map of their chunks at the next change of either.
package struct PageLayer {
  /// What lies below the pages, as it was.
  let origin: Origin
  /// By number: byte offset divided by ``Page/size``.
  package private(set) var pages = PageMap()
  /// Bytes from the start to the end.
  package var length: UInt64
  /// Pages of bytes that saving would add to what the host keeps, or give back if negative.
  private var addedPages: Int64 = 0

  init(_ base: any Storage) {
    origin = Origin(base)
    length = base.length
  }

  /// What lies below the pages; a save may have changed it.
  package var base: any Storage { origin.storage }

  /// What the host would keep after saving, in bytes: pages behind the base's end count unless they are
  /// zeroes, and pages of the base that became zeroes count as given back.
  var allocatedBytes: UInt64 {
    let added = addedPages.multipliedReportingOverflow(by: Int64(Page.size))
    return UInt64(max(0, Int64(clamping: base.allocatedBytes) &+ (added.overflow ? 0 : added.partialValue)))
  }

  /// What a page adds to what the host keeps.
  private func weight(_ page: Page?, isBehindBase: Bool) -> Int64 {
    guard let page else { return 0 }
    return isBehindBase ? (page.fillByte == 0 ? 0 : 1) : (page.fillByte == 0 ? -1 : 0)
  }

  /// Puts a page into every place of a range; nil shows the base there.
  mutating func install(_ page: Page?, _ range: Range<UInt64>) {
    if !origin.isFollowed {
      // Which pages begin behind the base's end.
      let end = origin.endPage
      var at = range.lowerBound
      while at < range.upperBound {
        let (old, next) = pages.run(at: at, before: at < end ? min(end, range.upperBound) : range.upperBound)
        let isBehind = at >= end
        addedPages +=
          Int64(next - at) * (weight(page, isBehindBase: isBehind) - weight(old, isBehindBase: isBehind))
        at = next
      }
    }
    pages.set(page, range)
  }

  private mutating func install(_ new: PageRuns) {
    new.forEachRun { page, range in install(page, range) }
  }

  /// Lets go of the pages that begin outside of the ranges, sorted and without overlaps: the base answers there
  /// again. Only above a base that another program writes, which holds them.
  mutating func forget(outside ranges: [Range<UInt64>]) {
    guard origin.isFollowed else { return }
    pages.keep { SeenStorage.contains(ranges, page: $0) }
  }

  // MARK: One event

  /// Shows what an event made of it.
  mutating func goForth(_ event: StorageEvent) {
    if let change = event.change { install(change.after) }
    length = event.lengthAfter
  }

  /// Shows what an event found.
  mutating func goBack(_ event: StorageEvent) {
    if let change = event.change { install(change.before) }
    length = event.lengthBefore
  }

  // MARK: Reading

  /// Reads as ``Storage/read(at:into:)`` does.
  /// - Throws: what reading the base throws.
  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    if pages.isEmpty { return try unsafe origin.read(at: offset, into: buffer) }
    guard offset < length else {
      unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
      return
    }
    try unsafe pages.read(at: offset, into: buffer) { (offset, buffer) throws(StorageError) in
      try unsafe origin.read(at: offset, into: buffer)
    }
  }

  /// A page as it is, taken from the base if it was never written.
  /// - Throws: what reading the base throws.
  func page(_ number: UInt64) throws(StorageError) -> Page {
    if let page = pages[number] { return page }
    return try origin.page(number)
  }

  /// The pages of a range as they are; of those that are the base's nothing is read. `event` finds them.
  func found(_ range: Range<UInt64>) throws(StorageError) -> PageRuns {
    var result = PageRuns(from: range.lowerBound, origin)
    var at = range.lowerBound
    while at < range.upperBound {
      let (page, next) = pages.run(at: at, before: range.upperBound)
      if page == nil, origin.isFollowed {
        // What another program writes does not stay.
        for number in at..<next { result.append(try origin.page(number), 1) }
      } else {
        result.append(page, next - at)
      }
      at = next
    }
    return result
  }

  /// As ``Storage/extent(at:)``; stretches of more than 4096 rows of pages are told in pieces.
  func extent(at offset: UInt64) -> HostExtent {
    guard offset < length else { return HostExtent(isHole: true, end: .max) }
    let size = UInt64(Page.size)
    let limit = (length + size - 1) / size
    var steps = 0
    var number = offset / size
    if let page = pages[number] {
      // A page of zeroes counts as a hole: that is what saving will make of it at best.
      let isHole = page.fillByte == 0
      while number < limit, steps < 4096 {
        let (next, end) = pages.run(at: number, before: limit)
        guard let next, (next.fillByte == 0) == isHole else { break }
        number = end
        steps += 1
      }
      return HostExtent(isHole: isHole, end: min(length, number * size))
    }
    let below = origin.extent(at: offset, before: length)
    if pages.isEmpty {
      return HostExtent(isHole: below.isHole, end: min(length, below.end), isKnown: below.isKnown)
    }
    while number < limit, number * size < below.end, steps < 4096 {
      let (page, end) = pages.run(at: number, before: limit)
      guard page == nil else { break }
      number = end
      steps += 1
    }
    return HostExtent(
      isHole: below.isHole, end: min(length, min(below.end, number * size)), isKnown: below.isKnown)
  }

  /// As ``Storage/keptBytes(in:)``.
  package func keptBytes(in range: Range<UInt64>) -> UInt64? {
    HostExtent.keptBytes(in: range, length: length) { extent(at: $0) }
  }

  // MARK: Two moments

  /// Numbers of the pages that may differ from those of another moment above the same base, sorted; nil if
  /// the base is another one. Costs as much as was ever changed, not as much as there is.
  package func changedPages(since other: PageLayer) -> [UInt64]? {
    guard base === other.base else { return nil }
    var result: [UInt64] = []
    pages.forEach { number, page in
      if other.pages[number] !== page { result.append(number) }
    }
    other.pages.forEach { number, _ in
      if pages[number] == nil { result.append(number) }
    }
    return result.sorted()
  }
}
