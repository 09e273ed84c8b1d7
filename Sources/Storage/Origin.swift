// What lies below an overlay, as it was when the overlay was laid over it. A save changes the file; the pages that it
// is about to change are kept first, so that every moment of the history stays what it was.

/// A storage as it was at the beginning.
final class Origin {
  /// The storage, which a save may have changed.
  let storage: any Storage
  /// Bytes that it had.
  let length: UInt64
  /// Another program writes the storage, and it is as that has it.
  let isFollowed: Bool
  /// Pages that a save has changed, as they were.
  private(set) var kept = PageMap()
  /// Memory in bytes for them.
  private(set) var keptBytes = 0
  /// Pages that were changed and not kept.
  private var lost = PageMap()

  init(_ storage: any Storage) {
    self.storage = storage
    length = storage.length
    isFollowed = storage is SeenStorage
  }

  /// The number of the first page wholly behind the end.
  var endPage: UInt64 { (length + UInt64(Page.size) - 1) / UInt64(Page.size) }

  /// Reads as ``Storage/read(at:into:)`` does.
  /// - Throws: what reading the storage throws, and ``StorageError`` for bytes that are no longer kept.
  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    if isFollowed { return try unsafe storage.read(at: offset, into: buffer) }
    guard offset < length else {
      unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
      return
    }
    let inside = Int(min(UInt64(buffer.count), length - offset))
    if inside < buffer.count {
      unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[inside...]).initializeMemory(
        as: UInt8.self, repeating: 0)
    }
    let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[..<inside])
    if kept.isEmpty && lost.isEmpty { return try unsafe storage.read(at: offset, into: target) }
    try unsafe kept.read(at: offset, into: target) { (offset, buffer) throws(StorageError) in
      if !lost.isEmpty { try requireKept(offset, buffer.count) }
      try unsafe storage.read(at: offset, into: buffer)
    }
  }

  private func requireKept(_ offset: UInt64, _ count: Int) throws(StorageError) {
    let size = UInt64(Page.size)
    let end = (offset + UInt64(count) + size - 1) / size
    var at = offset / size
    while at < end {
      let (page, next) = lost.run(at: at, before: end)
      guard page == nil else {
        throw StorageError(
          .read, name: storage.name, offset: at * size,
          detail: "what was here before the save is no longer kept")
      }
      at = next
    }
  }

  /// A page as it was.
  /// - Throws: as ``read(at:into:)``.
  func page(_ number: UInt64) throws(StorageError) -> Page {
    guard isFollowed || number < endPage else { return .zero }
    if let page = kept[number] { return page }
    var failure: StorageError?
    let page = unsafe withUnsafeTemporaryAllocation(byteCount: Page.size, alignment: 16) { buffer -> Page in
      do throws(StorageError) {
        unsafe try read(at: number * UInt64(Page.size), into: buffer)
      } catch { failure = error }
      return unsafe Page.holding(UnsafeRawBufferPointer(buffer))
    }
    if let failure { throw failure }
    return page
  }

  /// As ``Storage/extent(at:)``, for a range in front of `end`.
  func extent(at offset: UInt64, before end: UInt64) -> HostExtent {
    if isFollowed || kept.isEmpty {
      guard isFollowed || offset < length else { return HostExtent(isHole: true, end: end) }
      return storage.extent(at: offset)
    }
    guard offset < length else { return HostExtent(isHole: true, end: end) }
    let size = UInt64(Page.size)
    let limit = (min(end, length) + size - 1) / size
    let (page, next) = kept.run(at: offset / size, before: limit)
    // A page of zeroes counts as a hole.
    if let page { return HostExtent(isHole: page.fillByte == 0, end: next * size) }
    let below = storage.extent(at: offset)
    return HostExtent(isHole: below.isHole, end: min(below.end, next * size), isKnown: below.isKnown)
  }

  /// Pages of a range were known to be zeroes.
  func isHole(_ numbers: Range<UInt64>) -> Bool {
    let size = UInt64(Page.size)
    let end = numbers.upperBound * size
    var at = numbers.lowerBound * size
    while at < end {
      let extent = extent(at: at, before: end)
      guard extent.isHole, extent.isKnown, extent.end > at else { return false }
      at = extent.end
    }
    return true
  }

  /// Pages of a range are about to be changed by a save: keeps those that are not kept yet. `mayTake` is asked
  /// for the memory of each row; once it says no, what is changed is lost.
  ///
  /// - Throws: what reading the storage throws.
  func keep(_ numbers: Range<UInt64>, unless isFull: (Int) -> Bool) throws(StorageError) {
    guard !isFollowed else { return }
    let end = min(numbers.upperBound, endPage)
    var at = numbers.lowerBound
    // Where the hole ends in which the pages lie, as far as it was asked for.
    var holeEnd: UInt64 = 0
    while at < end {
      var (page, next) = kept.run(at: at, before: end)
      if page == nil {
        let (gone, stop) = lost.run(at: at, before: next)
        next = stop
        if gone == nil {
          if holeEnd <= at { holeEnd = endOfHole(from: at) }
          if holeEnd > at {
            next = min(next, holeEnd)
            kept.set(.zero, at..<next)
          } else if isFull(Int(next - at) * Page.size) {
            lost.set(.zero, at..<next)
          } else {
            try keepBytes(at..<next)
          }
        }
      }
      at = next
    }
  }

  /// The end of the row of pages from a number on that are known to be a hole of the storage; the number itself if
  /// its page is none.
  private func endOfHole(from number: UInt64) -> UInt64 {
    let size = UInt64(Page.size)
    let below = storage.extent(at: number * size)
    guard below.isHole, below.isKnown else { return number }
    return below.end >= storage.length ? endPage : max(number, below.end / size)
  }

  /// Nobody goes back any more to what was before the last save.
  func giveUp() {
    kept.forEach { number, _ in lost.set(.zero, number..<number + 1) }
    kept = PageMap()
    keptBytes = 0
  }

  private func keepBytes(_ numbers: Range<UInt64>) throws(StorageError) {
    let size = UInt64(Page.size)
    let start = numbers.lowerBound * size
    var bytes = [UInt8](repeating: 0, count: Int(min(numbers.upperBound * size, length) - start))
    var failure: StorageError?
    unsafe bytes.withUnsafeMutableBytes { buffer in
      do throws(StorageError) { unsafe try storage.read(at: start, into: buffer) } catch { failure = error }
    }
    if let failure { throw failure }
    unsafe bytes.withUnsafeBytes { buffer in
      for number in numbers where kept[number] == nil {
        let from = Int((number - numbers.lowerBound) * size)
        let part = unsafe UnsafeRawBufferPointer(rebasing: buffer[from..<min(from + Page.size, buffer.count)])
        let page = unsafe Page.holding(part)
        kept.set(page, number..<number + 1)
        keptBytes += page.ownBytes
      }
    }
  }
}
