// Bytes of a connection in memory of their own: what came and is not read yet, and what is to be sent.

import Glibc

/// A buffer that grows up to a bound, is filled at its end and read from its start.
@safe package final class ByteQueue {
  private var base: UnsafeMutableRawPointer
  private var capacity: Int
  private var start = 0
  private var end = 0
  private let usual: Int

  /// With room for `usual` bytes, which it comes back to.
  package init(usual: Int) {
    self.usual = usual
    capacity = usual
    unsafe base = .allocate(byteCount: usual, alignment: 4096)
  }

  deinit { unsafe base.deallocate() }

  /// Bytes that are there.
  package var count: Int { end - start }
  /// They and more, without copying.
  package var bytes: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: base + start, count: end - start)
  }

  /// The number of so many bytes at a place, the highest byte first; the place is there.
  package func number(_ at: Int, _ width: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<width { value = unsafe value << 8 | UInt64(bytes[at + index]) }
    return value
  }

  /// The first bytes are done with.
  package func drop(_ count: Int) {
    start += min(count, self.count)
    guard start == end else { return }
    (start, end) = (0, 0)
    if capacity > usual { resize(usual) }
  }

  /// Room at the end for at least `least` bytes.
  package func room(_ least: Int) -> UnsafeMutableRawBufferPointer {
    if capacity - end < least {
      let count = count
      if start > 0, capacity - count >= least {
        unsafe base.copyMemory(from: base + start, byteCount: count)
        (start, end) = (0, count)
      } else {
        resize(max(usual, count + least))
      }
    }
    return unsafe UnsafeMutableRawBufferPointer(start: base + end, count: capacity - end)
  }

  /// So many bytes of the room are there now.
  package func filled(_ count: Int) { end += min(count, capacity - end) }

  /// Takes back what is behind the first bytes.
  package func cut(to count: Int) { end = start + min(count, self.count) }

  /// Adds a number, the highest byte first.
  package func append(_ value: some FixedWidthInteger) {
    let width = value.bitWidth / 8
    let room = unsafe room(width)
    unsafe room.storeBytes(of: value.bigEndian, as: type(of: value).self)
    filled(width)
  }

  /// Adds bytes.
  package func append(_ more: [UInt8]) {
    guard !more.isEmpty else { return }
    let room = unsafe room(more.count)
    unsafe room.copyBytes(from: more)
    filled(more.count)
  }

  private func resize(_ wanted: Int) {
    let count = count
    let new = UnsafeMutableRawPointer.allocate(byteCount: max(wanted, count), alignment: 4096)
    unsafe new.copyMemory(from: base + start, byteCount: count)
    unsafe base.deallocate()
    unsafe base = new
    capacity = max(wanted, count)
    (start, end) = (0, count)
  }
}
