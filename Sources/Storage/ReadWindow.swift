// Reading a storage from front to back in large pieces, whatever size its reader asks for. What lies in a hole is
// not read at all.

/// A window of a storage that moves with its reader.
@safe package final class ReadWindow {
  /// Bytes that are read at once at least, if there are so many.
  private static let piece = 1 << 20

  private let storage: any Storage
  private let memory: UnsafeMutableRawBufferPointer
  /// What the window holds.
  private var held: Range<UInt64> = 0..<0
  /// Where the last request ended.
  private var lastEnd: UInt64 = 0
  /// A stretch that the host keeps no bytes for.
  private var hole: Range<UInt64> = 0..<0
  /// Up to here the host keeps bytes, from the last question on.
  private var known: Range<UInt64> = 0..<0

  /// For requests of at most `longest` bytes.
  package init(_ storage: any Storage, longest: Int) {
    self.storage = storage
    unsafe memory = .allocate(byteCount: max(Self.piece, longest), alignment: 4096)
  }

  deinit { unsafe memory.deallocate() }

  /// The bytes from `offset` on, zeroes behind the end of the storage; true until the next call.
  ///
  /// - Throws: ``StorageError`` if the host fails.
  package func bytes(at offset: UInt64, count: Int) throws(StorageError) -> UnsafeRawBufferPointer {
    let count = unsafe min(count, memory.count)
    let (end, overflow) = offset.addingReportingOverflow(UInt64(count))
    guard !overflow else { throw StorageError(.read, name: storage.name, detail: "behind the last address") }
    // Who goes on where the last request ended wants the rest as well.
    let isRow = offset == lastEnd
    lastEnd = end
    if offset < held.lowerBound || end > held.upperBound {
      let length = isRow ? storage.length : 0
      let wanted = unsafe max(UInt64(count), offset < length ? min(UInt64(memory.count), length - offset) : 0)
      held = 0..<0
      let part = unsafe UnsafeMutableRawBufferPointer(rebasing: memory[..<Int(wanted)])
      try unsafe storage.read(at: offset, into: part)
      held = offset..<(offset &+ wanted)
    }
    let start = Int(offset - held.lowerBound)
    return unsafe UnsafeRawBufferPointer(rebasing: memory[start..<start + count])
  }

  /// Where the hole ends that `offset` lies in; nil if the host keeps bytes there.
  package func endOfHole(at offset: UInt64) -> UInt64? {
    if hole.contains(offset) { return hole.upperBound }
    if known.contains(offset) { return nil }
    let extent = storage.extent(at: offset)
    let end = max(extent.end, offset &+ 1)
    if extent.isHole {
      hole = offset..<end
      return end
    }
    known = offset..<end
    return nil
  }
}
