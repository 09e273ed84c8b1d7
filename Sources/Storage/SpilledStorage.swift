// Changes above a storage that stays as it is, kept in a file that nobody else has: as much as a guest cares to write,
// at the price of one bit a page in memory.

/// A storage above another one. Pages that were changed are in `file`, at the offsets that they have in the storage.
package final class SpilledStorage: Storage {
  /// 4096 pages, which are 16 MiB, by a bit each.
  private typealias Chunk = [UInt64]
  private static let wordsOfChunk = 64

  private let base: any Storage
  private let file: any Storage
  private let baseLength: UInt64
  /// Pages that are in the file.
  private var chunks: [UInt64: Chunk] = [:]
  package private(set) var length: UInt64
  /// Pages in the file that are not known to be holes of it.
  private var pagesWritten: UInt64 = 0

  /// Shows `base` until it is changed. The file is empty, and can be written.
  package init(_ base: any Storage, in file: any Storage) {
    self.base = base
    self.file = file
    baseLength = base.length
    length = base.length
  }

  package var name: String { base.name }
  package var isWritable: Bool { true }
  package var allocatedBytes: UInt64 {
    base.allocatedBytes &+ pagesWritten &* UInt64(Page.size)
  }

  // MARK: Pages

  private static let size = UInt64(Page.size)

  private func isChanged(_ page: UInt64) -> Bool {
    guard let chunk = chunks[page >> 12] else { return false }
    return chunk[Int(page >> 6 & 63)] & 1 << (page & 63) != 0
  }

  private func mark(_ page: UInt64) {
    chunks[page >> 12, default: Array(repeating: 0, count: Self.wordsOfChunk)][Int(page >> 6 & 63)] |=
      1 << (page & 63)
  }

  /// Whether the bytes of a page are in the file, and where the row of pages ends for which that is so; it may go on
  /// behind that.
  private func run(at page: UInt64, before limit: UInt64) -> (isChanged: Bool, end: UInt64) {
    let isChanged = isChanged(page)
    var end = page + 1
    var steps = 0
    while end < limit, steps < 4096 {
      steps += 1
      if chunks[end >> 12] == nil {
        guard !isChanged else { break }
        end = min(limit, (end >> 12 + 1) << 12)
      } else if end & 63 == 0, let word = chunks[end >> 12]?[Int(end >> 6 & 63)],
        word == (isChanged ? .max : 0)
      {
        end = min(limit, end + 64)
      } else {
        guard self.isChanged(end) == isChanged else { break }
        end += 1
      }
    }
    return (isChanged, end)
  }

  /// The page is in the file from now on, as it was.
  private func take(_ page: UInt64) throws(StorageError) {
    guard !isChanged(page) else { return }
    let start = page * Self.size
    if start < baseLength {
      let bytes = try base.bytes(at: start, count: Int(min(Self.size, baseLength - start)))
      try file.write(bytes, at: start)
    }
    mark(page)
    pagesWritten += 1
  }

  /// All pages that a range covers only in part are in the file, and all of them count as being there.
  private func take(_ offset: UInt64, _ end: UInt64) throws(StorageError) {
    let (first, last) = (offset / Self.size, (end - 1) / Self.size)
    if offset % Self.size != 0 { try take(first) }
    if end % Self.size != 0 { try take(last) }
  }

  private func markAll(_ offset: UInt64, _ end: UInt64, areBytes: Bool) {
    let limit = (end - 1) / Self.size + 1
    var page = offset / Self.size
    while page < limit {
      if page & 4095 == 0, limit - page >= 4096 {
        let known = chunks[page >> 12]?.reduce(0) { $0 + $1.nonzeroBitCount } ?? 0
        if areBytes { pagesWritten += UInt64(4096 - known) }
        chunks[page >> 12] = Array(repeating: .max, count: Self.wordsOfChunk)
        page += 4096
      } else {
        if !isChanged(page) {
          mark(page)
          if areBytes { pagesWritten += 1 }
        }
        page += 1
      }
    }
  }

  // MARK: Storage

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    guard buffer.count > 0 else { return }
    let inside = offset < length ? Int(min(UInt64(buffer.count), length - offset)) : 0
    if inside < buffer.count {
      unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[inside...]).initializeMemory(
        as: UInt8.self, repeating: 0)
    }
    guard inside > 0 else { return }
    let end = offset + UInt64(inside)
    var at = offset
    while at < end {
      let found = run(at: at / Self.size, before: (end - 1) / Self.size + 1)
      let next = min(end, found.end * Self.size)
      let part = unsafe UnsafeMutableRawBufferPointer(
        rebasing: buffer[Int(at - offset)..<Int(next - offset)])
      unsafe try (found.isChanged ? file : base).read(at: at, into: part)
      at = next
    }
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    guard bytes.count > 0 else { return }
    let end = try checkedEnd(.write, offset, UInt64(bytes.count))
    try take(offset, end)
    unsafe try file.write(bytes, at: offset, tag: tag)
    markAll(offset, end, areBytes: true)
    length = max(length, end)
  }

  package func write(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, parts: [WrittenPart]
  ) throws(StorageError) {
    unsafe try write(bytes, at: offset, tag: .untagged)
  }

  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    guard count > 0 else { return }
    let end = try checkedEnd(.zero, offset, count)
    // What is cut off a page that the file lacks would be a hole in it.
    if offset < length { try take(offset, min(end, length)) }
    try file.writeZeroes(at: offset, count: count, tag: tag)
    markZero(offset, end)
    length = max(length, end)
  }

  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    guard offset < length, count > 0 else { return }
    let end = min(length, try checkedEnd(.punch, offset, count))
    try take(offset, end)
    try file.punch(at: offset, count: end - offset, tag: tag)
    markZero(offset, end)
  }

  /// Pages that read as zeroes now. Behind the base they do so already, which keeps a disk that grows by terabytes small.
  private func markZero(_ offset: UInt64, _ end: UInt64) {
    let shown = min(end, (baseLength + Self.size - 1) / Self.size * Self.size)
    if offset < shown { markAll(offset, shown, areBytes: false) }
  }

  package func truncate(to newLength: UInt64, tag: WriteTag) throws(StorageError) {
    _ = try checkedEnd(.truncate, newLength, 0)
    if newLength < length {
      // What is cut off reads as zeroes if the file grows again.
      try punch(at: newLength, count: length - newLength, tag: tag)
    }
    length = newLength
  }

  package func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    length = max(length, try checkedEnd(.truncate, offset, count))
  }

  /// Nobody looks at it after a power cut.
  package func flush() {}

  package func extent(at offset: UInt64) -> HostExtent {
    guard offset < length else { return HostExtent(isHole: true, end: .max) }
    let found = run(at: offset / Self.size, before: (length - 1) / Self.size + 1)
    let limit = min(length, found.end * Self.size)
    if !found.isChanged, offset >= baseLength { return HostExtent(isHole: true, end: limit) }
    let extent = (found.isChanged ? file : base).extent(at: offset)
    return HostExtent(isHole: extent.isHole, end: min(limit, extent.end), isKnown: extent.isKnown)
  }
}
