// A storage that breaks after a given number of changes: with an error, as a full disk does, or
// without a word, as a power cut does. Tests use it to see what is left.

/// Storage on another one that fails, or stops, at a chosen moment.
package final class FaultyStorage: Storage {
  /// What happens to the first change that is one too many, and to all behind it.
  package enum Fault: Sendable {
    /// The call fails and changes nothing.
    case fails
    /// The call fails after half of its bytes were written; other changes as with `fails`.
    case failsHalfway
    /// The call seems to succeed and changes nothing; what was there before stays for good.
    case stops
  }

  /// Where the bytes are.
  package let base: any Storage
  /// What goes wrong, and when.
  package let fault: Fault
  /// Changes that still go through.
  package private(set) var changesLeft: Int
  /// A change has been refused or dropped.
  package private(set) var hasFailed = false

  package init(_ base: any Storage, _ fault: Fault, after changes: Int) {
    self.base = base
    self.fault = fault
    changesLeft = changes
  }

  package var name: String { base.name }
  package var length: UInt64 { base.length }
  package var isWritable: Bool { base.isWritable }
  package var isRecording: Bool { base.isRecording }
  package var allocatedBytes: UInt64 { base.allocatedBytes }
  package func willRead(_ order: ReadingOrder, size: UInt64, _ tables: () -> [UInt64]) {
    base.willRead(order, size: size, tables)
  }
  package func willRead(at offset: UInt64, count: UInt64) { base.willRead(at: offset, count: count) }
  package func isReady(at offset: UInt64, count: UInt64) -> Bool { base.isReady(at: offset, count: count) }
  package func extent(at offset: UInt64) -> HostExtent { base.extent(at: offset) }
  package func note(_ tag: WriteTag) { base.note(tag) }

  /// Lets everything through again.
  package func repair() { changesLeft = .max }

  /// Whether the next change goes through; throws when it must fail.
  private func admits(_ operation: StorageError.Operation, _ offset: UInt64) throws(StorageError) -> Bool {
    if changesLeft > 0 {
      changesLeft -= 1
      return true
    }
    hasFailed = true
    guard fault != .stops else { return false }
    throw StorageError(operation, name: name, offset: offset, errno: 28, detail: "No space left on device")
  }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    try unsafe base.read(at: offset, into: buffer)
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    if fault == .failsHalfway, changesLeft == 0, bytes.count > 1 {
      let half = unsafe UnsafeRawBufferPointer(rebasing: bytes[0..<(bytes.count / 2)])
      try unsafe base.write(half, at: offset, tag: tag)
    }
    guard try admits(.write, offset) else { return }
    try unsafe base.write(bytes, at: offset, tag: tag)
  }

  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    guard try admits(.zero, offset) else { return }
    try base.writeZeroes(at: offset, count: count, tag: tag)
  }

  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    guard try admits(.punch, offset) else { return }
    try base.punch(at: offset, count: count, tag: tag)
  }

  package func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    guard try admits(.truncate, length) else { return }
    try base.truncate(to: length, tag: tag)
  }

  package func flush() throws(StorageError) { try base.flush() }
}
