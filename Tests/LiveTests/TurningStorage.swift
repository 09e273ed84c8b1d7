// A file whose every access is a moment where another thread may come between, and which has no room now and then.

import Foundation
import Storage
import TestSupport

/// Bytes in memory behind ``Turns``.
final class TurningStorage: Storage {
  let base = MemoryStorage()
  /// Whose turns; nil for none.
  var turns: Turns?
  /// One change of so many fails for want of room; 0 for none.
  var failsOneOf: UInt64 = 0
  /// How many have failed.
  private(set) var failures = 0
  private var random: SplitMix64

  init(_ seed: UInt64) { random = SplitMix64(seed: seed) }

  var name: String { base.name }
  var length: UInt64 { base.length }
  var isWritable: Bool { base.isWritable }
  var isInMemory: Bool { true }
  var allocatedBytes: UInt64 { base.allocatedBytes }
  func extent(at offset: UInt64) -> HostExtent { base.extent(at: offset) }

  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    turns?.come(.reads, offset)
    try base.read(at: offset, into: buffer)
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    try change(.write, .writes, offset)
    try base.write(bytes, at: offset, tag: tag)
  }

  func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try change(.zero, .zeroes, offset)
    try base.writeZeroes(at: offset, count: count, tag: tag)
  }

  func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try change(.punch, .punches, offset)
    try base.punch(at: offset, count: count, tag: tag)
  }

  func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    try change(.truncate, .truncates, length)
    try base.truncate(to: length, tag: tag)
  }

  func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try change(.write, .allocates, offset)
    try base.allocate(at: offset, count: count, tag: tag)
  }

  func flush() throws(StorageError) {
    turns?.come(.flushes)
    try base.flush()
  }

  private func change(
    _ operation: StorageError.Operation, _ moment: Turns.Moment, _ offset: UInt64
  ) throws(StorageError) {
    turns?.come(moment, offset)
    guard failsOneOf > 0, operation != .punch, random.below(failsOneOf) == 0 else { return }
    failures += 1
    throw StorageError(operation, name: name, offset: offset, errno: ENOSPC, detail: "no room")
  }
}
