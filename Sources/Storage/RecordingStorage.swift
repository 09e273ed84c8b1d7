// Notes down everything that is done to a storage while passing it on. A test replays the record
// up to any point and so sees every state a crash could have left.

/// Storage that keeps what was asked of another one, for tests and for what must be told in order.
package final class RecordingStorage: Storage {
  /// Where the bytes are.
  package let base: any Storage
  /// Everything done so far that the base took, oldest first.
  ///
  /// Writes hold the pages before and after. The other kinds hold ranges only, because they may be
  /// as long as the disk; so of those only ``StorageEvent/redo(on:)`` is possible.
  package private(set) var events: [StorageEvent] = []

  package init(_ base: any Storage) { self.base = base }

  package var name: String { base.name }
  package var length: UInt64 { base.length }
  package var isWritable: Bool { base.isWritable }
  package var isInMemory: Bool { base.isInMemory }
  package var isRecording: Bool { true }
  package var allocatedBytes: UInt64 { base.allocatedBytes }
  package func willRead(_ order: ReadingOrder, size: UInt64, _ tables: () -> [UInt64]) {
    base.willRead(order, size: size, tables)
  }
  package func willRead(at offset: UInt64, count: UInt64) { base.willRead(at: offset, count: count) }
  package func isReady(at offset: UInt64, count: UInt64) -> Bool { base.isReady(at: offset, count: count) }
  package func extent(at offset: UInt64) -> HostExtent { base.extent(at: offset) }

  /// Forgets what was noted so far.
  package func forget() { events = [] }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    try unsafe base.read(at: offset, into: buffer)
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    let lengthBefore = base.length
    var before: [Page] = []
    var after: [Page] = []
    for piece in PagePieces(offset: offset, count: UInt64(bytes.count)) {
      let whole = try base.bytes(at: piece.page * UInt64(Page.size), count: Page.size)
      let old = unsafe whole.withUnsafeBytes { unsafe Page.holding($0) }
      before.append(old)
      after.append(
        unsafe old.replacing(from: piece.start, with: UnsafeRawBufferPointer(rebasing: bytes[piece.range])))
    }
    try unsafe base.write(bytes, at: offset, tag: tag)
    let first = offset / UInt64(Page.size)
    let change = PageChange(PageRuns(before, from: first), PageRuns(after, from: first))
    add(.write, tag, offset, UInt64(bytes.count), lengthBefore, change)
  }

  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    let lengthBefore = base.length
    try base.writeZeroes(at: offset, count: count, tag: tag)
    add(.zero, tag, offset, count, lengthBefore)
  }

  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    let lengthBefore = base.length
    try base.punch(at: offset, count: count, tag: tag)
    add(.punch, tag, offset, count, lengthBefore)
  }

  package func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    let lengthBefore = base.length
    try base.truncate(to: length, tag: tag)
    add(.truncate, tag, length, 0, lengthBefore)
  }

  package func flush() throws(StorageError) {
    try base.flush()
    add(.flush, .untagged, 0, 0, base.length)
  }

  package func note(_ tag: WriteTag) {
    base.note(tag)
    add(.note, tag, 0, 0, base.length)
  }

  private func add(
    _ kind: StorageEvent.Kind, _ tag: WriteTag, _ offset: UInt64, _ count: UInt64, _ lengthBefore: UInt64,
    _ change: PageChange? = nil
  ) {
    events.append(
      StorageEvent(
        kind, tag: tag, offset: offset, count: count, lengthBefore: lengthBefore, lengthAfter: base.length,
        change))
  }
}
