// Bytes in memory, kept as sparse pages: an image of a terabyte with little in it costs little.
// The demo, the tests and every scratch copy live here.

/// Bytes in memory, in pages, so that holes take no room.
package final class MemoryStorage: Storage {
  /// A name for messages.
  package let name: String
  package var isWritable: Bool { true }
  package var isInMemory: Bool { true }
  package private(set) var length: UInt64 = 0
  private var pages: [UInt64: Page] = [:]
  /// Numbers of pages that count as kept although nothing was written there.
  private var claimed = RangeSet<UInt64>()

  package init(name: String = "memory") { self.name = name }

  /// Starts with the given bytes.
  package convenience init(name: String = "memory", bytes: [UInt8]) {
    self.init(name: name)
    // Memory cannot fail to take what is already in memory.
    try? write(bytes, at: 0)
  }

  /// The same bytes once more; either may be changed without the other.
  package func copy() -> MemoryStorage {
    let copy = MemoryStorage(name: name)
    (copy.length, copy.pages, copy.claimed) = (length, pages, claimed)
    return copy
  }

  /// Pages that hold anything but zeroes.
  package var allocatedBytes: UInt64 {
    pages.values.reduce(0) { $0 + ($1.fillByte == 0 ? 0 : UInt64(Page.size)) }
  }

  /// The rows of pages that hold anything but zeroes, from the first to the last; the end of the last may lie behind
  /// the end of the file. What is only allocated, however long, costs nothing here.
  package var written: [Range<UInt64>] {
    let size = UInt64(Page.size)
    var rows: [Range<UInt64>] = []
    for number in pages.filter({ $0.value.fillByte != 0 }).keys.sorted() {
      if let last = rows.last, last.upperBound == number * size {
        rows[rows.count - 1] = last.lowerBound..<(number + 1) * size
      } else {
        rows.append(number * size..<(number + 1) * size)
      }
    }
    return rows
  }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    for piece in PagePieces(offset: offset, count: UInt64(buffer.count)) {
      let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[piece.range])
      unsafe (pages[piece.page] ?? .zero).copy(from: piece.start, into: target)
    }
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    let (end, overflow) = offset.addingReportingOverflow(UInt64(bytes.count))
    guard !overflow, end <= UInt64(Int64.max) else {
      throw StorageError(
        .write, name: name, offset: offset, detail: "the end of the range is not addressable")
    }
    guard bytes.count > 0 else { return }
    for piece in PagePieces(offset: offset, count: UInt64(bytes.count)) {
      let source = unsafe UnsafeRawBufferPointer(rebasing: bytes[piece.range])
      unsafe pages[piece.page] = (pages[piece.page] ?? .zero).replacing(from: piece.start, with: source)
    }
    length = max(length, end)
  }

  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow, end <= UInt64(Int64.max) else {
      throw StorageError(.zero, name: name, offset: offset, detail: "the end of the range is not addressable")
    }
    guard count > 0 else { return }
    clear(from: offset, to: end)
    length = max(length, end)
  }

  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    guard offset < length else { return }
    let end = offset + min(count, length - offset)
    clear(from: offset, to: end)
    guard !claimed.isEmpty else { return }
    let size = UInt64(Page.size)
    let (first, last) = ((offset + size - 1) / size, end == length ? (end + size - 1) / size : end / size)
    if first < last { claimed.remove(contentsOf: first..<last) }
  }

  package func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    guard length <= UInt64(Int64.max) else {
      throw StorageError(.truncate, name: name, offset: length, detail: "the length is not addressable")
    }
    if length < self.length {
      clear(from: length, to: self.length)
      if !claimed.isEmpty {
        claimed.remove(contentsOf: (length + UInt64(Page.size) - 1) / UInt64(Page.size)..<UInt64.max)
      }
    }
    self.length = length
  }

  package func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow, end <= UInt64(Int64.max) else {
      throw StorageError(
        .write, name: name, offset: offset, detail: "the end of the range is not addressable")
    }
    guard count > 0 else { return }
    length = max(length, end)
    let size = UInt64(Page.size)
    claimed.insert(contentsOf: offset / size..<(end + size - 1) / size)
  }

  /// Nothing is written at a page, and the host would keep nothing for it.
  private func isHole(_ page: UInt64) -> Bool {
    pages[page] == nil && (claimed.isEmpty || !claimed.contains(page))
  }

  package func flush() throws(StorageError) {}

  /// Drops whole pages of the range and zeroes parts of pages, at a cost of the pages there are.
  private func clear(from start: UInt64, to end: UInt64) {
    guard start < end else { return }
    let size = UInt64(Page.size)
    let first = start / size
    let last = (end - 1) / size
    func clearPage(_ page: UInt64) {
      guard let old = pages[page] else { return }
      let from = page == first ? Int(start % size) : 0
      let to = page == last ? Int((end - 1) % size) + 1 : Page.size
      if from == 0 && to == Page.size {
        pages[page] = nil
      } else {
        let zeroes = [UInt8](repeating: 0, count: to - from)
        unsafe zeroes.withUnsafeBytes { unsafe pages[page] = old.replacing(from: from, with: $0) }
      }
    }
    if last - first < UInt64(pages.count) {
      for page in first...last { clearPage(page) }
    } else {
      for page in pages.keys where page >= first && page <= last { clearPage(page) }
    }
  }

  package func extent(at offset: UInt64) -> HostExtent {
    guard offset < length else { return HostExtent(isHole: true, end: .max) }
    let size = UInt64(Page.size)
    let isHole = isHole(offset / size)
    var page = offset / size + 1
    // Bounded: long holes are reported in pieces.
    var steps = 0
    while page * size < length, self.isHole(page) == isHole, steps < 65536 {
      page += 1
      steps += 1
    }
    return HostExtent(isHole: isHole, end: min(length, page * size))
  }
}

/// Walks a byte range page by page.
package struct PagePieces: Sequence, IteratorProtocol {
  /// A part of the range within one page.
  package struct Piece {
    /// Number of the page.
    package var page: UInt64
    /// First byte of the piece within the page.
    package var start: Int
    /// The piece's place within the whole range.
    package var range: Range<Int>
  }

  private var offset: UInt64
  private let count: Int
  private var done = 0

  /// `count` must fit an `Int`, as the length of a buffer does.
  package init(offset: UInt64, count: UInt64) {
    self.offset = offset
    self.count = Int(truncatingIfNeeded: count)
  }

  /// The next one in order.
  package mutating func next() -> Piece? {
    guard done < count else { return nil }
    let start = Int(offset % UInt64(Page.size))
    let step = Swift.min(Page.size - start, count - done)
    let piece = Piece(page: offset / UInt64(Page.size), start: start, range: done..<(done + step))
    // Behind the last address there is nothing but its last page over and over, which is never kept.
    let (sum, overflow) = offset.addingReportingOverflow(UInt64(step))
    offset = overflow ? UInt64.max - UInt64(Page.size - 1) : sum
    done += step
    return piece
  }
}
