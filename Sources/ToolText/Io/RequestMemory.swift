// Memory for the bytes of requests. It is kept from one request to the next: most are as long as the one before, and
// many are filled with the same byte.

import Glibc

/// A piece of memory that grows with what is asked of it.
@safe final class RequestMemory {
  /// Of longer requests nothing is kept.
  private static let mostKept = 8 << 20
  private static let page = 4096

  private var bytes = unsafe UnsafeMutableRawBufferPointer(start: nil, count: 0)
  /// So many bytes from the start on are `pattern`.
  private var filled = 0
  private var pattern: UInt8 = 0

  init() {}
  deinit { unsafe free(bytes.baseAddress) }

  /// So many bytes of anything; nil if the host has not that many. They are there until the next call.
  func bytes(_ count: Int) -> UnsafeMutableRawBufferPointer? {
    filled = 0
    return unsafe room(count)
  }

  /// So many bytes that are all the same, for reading only.
  func bytes(_ count: Int, filledWith byte: UInt8) -> UnsafeRawBufferPointer? {
    guard let room = unsafe room(count) else { return nil }
    if byte != pattern || filled == 0 { (pattern, filled) = (byte, 0) }
    if filled < count, let start = room.baseAddress {
      unsafe memset(start + filled, Int32(byte), count - filled)
      filled = count
    }
    return UnsafeRawBufferPointer(room)
  }

  private func room(_ count: Int) -> UnsafeMutableRawBufferPointer? {
    if unsafe bytes.count < count || bytes.count > Self.mostKept || bytes.baseAddress == nil {
      unsafe free(bytes.baseAddress)
      unsafe bytes = UnsafeMutableRawBufferPointer(start: nil, count: 0)
      filled = 0
      var made: UnsafeMutableRawPointer?
      guard unsafe posix_memalign(&made, Self.page, max(1, count)) == 0 else { return nil }
      unsafe bytes = UnsafeMutableRawBufferPointer(start: made, count: count)
    }
    return unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[..<count])
  }
}
