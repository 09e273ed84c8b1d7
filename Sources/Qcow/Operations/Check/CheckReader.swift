// Reads tables for a check: whole ones, through one buffer, ahead where small tables lie in a row,
// and with a limit to the sum, because a damaged image may name one table without end.

import Glibc
import QcowFormat
import Storage

/// A bound to the work of a check: bytes of tables gone through, bytes read, findings made.
final class CheckWork {
  private var left: ByteCount

  init(limit: ByteCount) { left = limit }

  /// No sound image needs more: every table that is kept on the host may be gone through a hundred times.
  static func limit(allocatedBytes: ByteCount) -> ByteCount {
    let (bytes, overflow) = allocatedBytes.value.multipliedReportingOverflow(by: 128)
    return ByteCount(overflow ? .max : max(bytes, 1 << 30))
  }

  /// Throws if nothing is left of the limit.
  func take(_ amount: ByteCount) throws(CheckStop) {
    guard amount <= left else {
      throw CheckStop(E2BIG, "the tables of the image name each other too often to follow them all")
    }
    left = left - amount
  }
}

/// A read buffer of a check.
@safe final class CheckReader {
  private let storage: any Storage
  let work: CheckWork
  private let buffer: UnsafeMutableRawBufferPointer
  /// What the buffer holds.
  private var start: UInt64 = 0
  private var end: UInt64 = 0

  /// The host addresses files up to here.
  static let maximumLength: UInt64 = 1 << 63 - 1 << 30

  /// Reads up to `largest` bytes at once.
  init(_ storage: any Storage, _ work: CheckWork, largest: Int) {
    self.storage = storage
    self.work = work
    unsafe buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(largest, 1 << 18), alignment: 64)
  }

  deinit { unsafe buffer.deallocate() }

  /// `count` bytes at `offset`, valid until the next call. Behind the end of the file are zeroes.
  func bytes(at place: HostOffset, count: Int) throws(CheckStop) -> UnsafeRawBufferPointer {
    let offset = place.value
    guard offset <= Self.maximumLength, UInt64(count) <= Self.maximumLength - offset,
      unsafe count <= buffer.count
    else { throw CheckStop(EIO) }
    if offset < start || offset + UInt64(count) > end {
      // Tables in a row are read together, others alone.
      let size =
        unsafe offset == end && end != 0 && offset <= Self.maximumLength - UInt64(buffer.count)
        ? buffer.count : count
      try work.take(ByteCount(size))
      (start, end) = (0, 0)
      do throws(StorageError) {
        try unsafe storage.read(
          at: offset, into: UnsafeMutableRawBufferPointer(rebasing: buffer[0..<size]))
      } catch {
        throw CheckStop(error.errno == 0 ? EIO : error.errno)
      }
      start = offset
      end = offset + UInt64(size)
    }
    let at = Int(offset - start)
    return unsafe UnsafeRawBufferPointer(rebasing: buffer[at..<at + count])
  }

  /// The file has other bytes now; what was returned stays as it was read.
  func forget() { (start, end) = (0, 0) }

  /// A big-endian word; the reader's callers stay inside what they asked for.
  @inline(__always)
  static func word(_ bytes: UnsafeRawBufferPointer, _ index: Int) -> UInt64 {
    guard index >= 0, index < bytes.count >> 3 else { return 0 }
    return UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: index << 3, as: UInt64.self))
  }
}
