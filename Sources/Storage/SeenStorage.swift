// A file that another program writes, as it was when it was looked at: the pages that hold tables stay as they were
// first read, until whoever follows the file takes over what has become of them. All other bytes are those of the
// file at any time.

/// A file below an overlay that follows it.
package final class SeenStorage: LookedAtStorage {
  /// The file as it is now.
  package let file: FileStorage
  /// By number: byte offset divided by ``Page/size``.
  private var pages: [UInt64: Page] = [:]
  /// Ranges of bytes whose pages stay, sorted and without overlaps; nil as long as every page does.
  private var kept: [Range<UInt64>]?

  /// Every page that is read stays, until ``keep(only:)`` says which are worth it.
  package init(_ file: FileStorage) { self.file = file }

  package var name: String { file.name }
  package var length: UInt64 { file.length }
  package var hasFixedLength: Bool { file.hasFixedLength }
  package var allocatedBytes: UInt64 { file.allocatedBytes }
  package func extent(at offset: UInt64) -> HostExtent { file.extent(at: offset) }

  /// Bytes of memory for pages that stay.
  package var bytesInUse: Int { pages.values.reduce(0) { $0 + $1.ownBytes } }

  /// From now on only the pages of these ranges stay; they are sorted and do not overlap.
  package func keep(only ranges: [Range<UInt64>]) {
    kept = ranges
    for number in Array(pages.keys) where !keeps(number) { pages[number] = nil }
  }

  /// Somebody has read the page, and it stays.
  package func hasSeen(_ page: UInt64) -> Bool { pages[page] != nil }

  private func keeps(_ page: UInt64) -> Bool { kept.map { Self.contains($0, page: page) } ?? true }

  /// A page has bytes in one of the ranges, which are sorted and do not overlap.
  static func contains(_ ranges: [Range<UInt64>], page: UInt64) -> Bool {
    let start = page &* UInt64(Page.size)
    var (low, high) = (0, ranges.count)
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound > start { high = middle } else { low = middle + 1 }
    }
    return low < ranges.count && ranges[low].lowerBound < start &+ UInt64(Page.size)
  }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    // Stretches of bytes that do not stay come from the file in one call.
    var pending: Range<Int>?
    func readPending() throws(StorageError) {
      guard let range = pending else { return }
      pending = nil
      unsafe try file.read(
        at: offset + UInt64(range.lowerBound), into: UnsafeMutableRawBufferPointer(rebasing: buffer[range]))
    }
    for piece in PagePieces(offset: offset, count: UInt64(buffer.count)) {
      let known = pages[piece.page]
      if known == nil, !keeps(piece.page) {
        pending = (pending?.lowerBound ?? piece.range.lowerBound)..<piece.range.upperBound
        continue
      }
      try readPending()
      let page: Page
      if let known { page = known } else { page = try load(piece.page) }
      unsafe page.copy(from: piece.start, into: UnsafeMutableRawBufferPointer(rebasing: buffer[piece.range]))
    }
    try readPending()
  }

  private func load(_ number: UInt64) throws(StorageError) -> Page {
    var failure: StorageError?
    let page = unsafe withUnsafeTemporaryAllocation(byteCount: Page.size, alignment: 16) { buffer -> Page in
      do throws(StorageError) {
        unsafe try file.read(at: number &* UInt64(Page.size), into: buffer)
      } catch { failure = error }
      return unsafe Page.holding(UnsafeRawBufferPointer(buffer))
    }
    if let failure { throw failure }
    pages[number] = page
    return page
  }

  package var refusal: String { "the file is another program's and only followed" }
}
