// Pages laid over a storage that stays as it is: what an overlay shows now, and what it showed at any
// moment of its history, are both one of these.

/// What is seen at one moment: pages that differ from the base, and the length.
///
/// Copying one shares all its pages and costs a copy of the map at the next change of either.
package struct PageLayer {
  /// What lies below the pages.
  package let base: any Storage
  /// Bytes of the base that may still be seen.
  let baseLength: UInt64
  /// By number: byte offset divided by ``Page/size``. A page that was ever written stays in the map, because
  /// a save may have changed the base below it.
  package private(set) var pages: [UInt64: Page] = [:]
  /// Bytes from the start to the end.
  package var length: UInt64
  /// Another program writes the base, which holds all that the pages show already.
  private let isFollowed: Bool
  /// Pages of bytes that saving would add to what the host keeps, or give back if negative.
  private var addedPages = 0

  init(_ base: any Storage) {
    self.base = base
    baseLength = base.length
    length = base.length
    isFollowed = base is SeenStorage
  }

  /// What the host would keep after saving, in bytes: pages behind the base's end count unless they are
  /// zeroes, and pages of the base that became zeroes count as given back.
  var allocatedBytes: UInt64 {
    UInt64(max(0, Int64(clamping: base.allocatedBytes) + Int64(addedPages) * Int64(Page.size)))
  }

  private func weight(_ page: Page?, _ number: UInt64) -> Int {
    guard let page, !isFollowed else { return 0 }
    let isBehindBase = number * UInt64(Page.size) >= baseLength
    return isBehindBase ? (page.fillByte == 0 ? 0 : 1) : (page.fillByte == 0 ? -1 : 0)
  }

  /// Puts pages in place, the first of them at number `first`.
  mutating func install(_ new: [Page], from first: UInt64) {
    var number = first
    for page in new {
      addedPages += weight(page, number) - weight(pages[number], number)
      pages[number] = page
      number += 1
    }
  }

  /// Lets go of the pages that begin outside of the ranges, sorted and without overlaps: the base answers there
  /// again. Only above a base that another program writes, which holds them.
  mutating func forget(outside ranges: [Range<UInt64>]) {
    guard isFollowed else { return }
    pages = pages.filter { number, _ in SeenStorage.contains(ranges, page: number) }
  }

  // MARK: One event

  /// Shows what an event made of it.
  mutating func goForth(_ event: StorageEvent) {
    install(event.after, from: event.firstPage)
    length = event.lengthAfter
  }

  /// Shows what an event found.
  mutating func goBack(_ event: StorageEvent) {
    install(event.before, from: event.firstPage)
    length = event.lengthBefore
  }

  // MARK: Reading

  /// Reads as ``Storage/read(at:into:)`` does.
  /// - Throws: what reading the base throws.
  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    if pages.isEmpty {
      try unsafe base.read(at: offset, into: buffer)
      return
    }
    guard offset < length else {
      unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
      return
    }
    // Stretches without pages come from the base in one call.
    var pending: Range<Int>?
    for piece in PagePieces(offset: offset, count: UInt64(buffer.count)) {
      guard let page = pages[piece.page] else {
        pending = (pending?.lowerBound ?? piece.range.lowerBound)..<piece.range.upperBound
        continue
      }
      if let range = pending {
        try unsafe base.read(
          at: offset + UInt64(range.lowerBound), into: UnsafeMutableRawBufferPointer(rebasing: buffer[range]))
        pending = nil
      }
      unsafe page.copy(from: piece.start, into: UnsafeMutableRawBufferPointer(rebasing: buffer[piece.range]))
    }
    if let range = pending {
      try unsafe base.read(
        at: offset + UInt64(range.lowerBound), into: UnsafeMutableRawBufferPointer(rebasing: buffer[range]))
    }
  }

  /// A page as it is, taken from the base if it was never written.
  /// - Throws: what reading the base throws.
  func page(_ number: UInt64) throws(StorageError) -> Page {
    if let page = pages[number] { return page }
    let start = number * UInt64(Page.size)
    guard start < baseLength || isFollowed else { return .zero }
    var failure: StorageError?
    let page = unsafe withUnsafeTemporaryAllocation(byteCount: Page.size, alignment: 16) { buffer -> Page in
      do throws(StorageError) { unsafe try base.read(at: start, into: buffer) } catch { failure = error }
      return unsafe Page.holding(UnsafeRawBufferPointer(buffer))
    }
    if let failure { throw failure }
    return page
  }

  /// As ``Storage/extent(at:)``; stretches of more than 4096 pages are told in pieces.
  func extent(at offset: UInt64) -> HostExtent {
    guard offset < length else { return HostExtent(isHole: true, end: .max) }
    if pages.isEmpty {
      let below = base.extent(at: offset)
      return HostExtent(isHole: below.isHole, end: min(length, below.end), isKnown: below.isKnown)
    }
    let size = UInt64(Page.size)
    if let page = pages[offset / size] {
      // A page of zeroes counts as a hole: that is what saving will make of it at best.
      var number = offset / size + 1
      let isHole = page.fillByte == 0
      var steps = 0
      while number * size < length, let next = pages[number], (next.fillByte == 0) == isHole, steps < 4096 {
        number += 1
        steps += 1
      }
      return HostExtent(isHole: isHole, end: min(length, number * size))
    }
    let below = base.extent(at: offset)
    var number = offset / size + 1
    while number * size < min(below.end, length), pages[number] == nil, number < offset / size + 4096 {
      number += 1
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
    var result = pages.compactMap { number, page in other.pages[number] === page ? nil : number }
    result += other.pages.keys.filter { pages[$0] == nil }
    return result.sorted()
  }
}
