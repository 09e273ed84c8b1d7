// Notes down where a file is read, for lessons on what stays in memory and what does not.

import Storage

/// A file whose reads are noted down; everything goes on to the base.
final class ReadLog: Storage {
  /// Reads that are kept at most.
  private static let most = 1 << 20

  private let base: any Storage
  /// Where, and how many bytes, oldest first.
  private(set) var reads: [(offset: UInt64, count: UInt64)] = []

  init(_ base: any Storage) { self.base = base }

  var name: String { base.name }
  var length: UInt64 { base.length }
  var isWritable: Bool { base.isWritable }
  var isInMemory: Bool { base.isInMemory }
  var isRecording: Bool { base.isRecording }
  var allocatedBytes: UInt64 { base.allocatedBytes }
  func extent(at offset: UInt64) -> HostExtent { base.extent(at: offset) }
  func note(_ tag: WriteTag) { base.note(tag) }

  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    if reads.count < Self.most { reads.append((offset, UInt64(buffer.count))) }
    unsafe try base.read(at: offset, into: buffer)
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    unsafe try base.write(bytes, at: offset, tag: tag)
  }

  func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try base.writeZeroes(at: offset, count: count, tag: tag)
  }

  func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try base.punch(at: offset, count: count, tag: tag)
  }

  func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    try base.truncate(to: length, tag: tag)
  }

  func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try base.allocate(at: offset, count: count, tag: tag)
  }

  func flush() throws(StorageError) { try base.flush() }
}
