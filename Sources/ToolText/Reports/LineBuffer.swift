// Lines of a listing that may be millions: their bytes are made where they are written from, without a string in
// between.

import Glibc

/// Bytes on their way to the output, in pieces of some 64 KiB. What comes in has to be fit for a terminal already.
@safe struct LineBuffer: ~Copyable {
  /// Bytes that are worth a call of the system.
  private static let piece = 1 << 16

  private var memory: UnsafeMutablePointer<UInt8>
  private var capacity: Int
  private var count = 0

  init() {
    // A line behind the piece fits as well, unless it has a long name.
    capacity = Self.piece + (1 << 10)
    unsafe memory = .allocate(capacity: capacity)
  }

  deinit { unsafe memory.deallocate() }

  /// A text that stands in the program.
  @inline(__always)
  mutating func append(_ text: StaticString) {
    let length = text.utf8CodeUnitCount
    makeRoom(length)
    unsafe memcpy(memory + count, text.utf8Start, length)
    count &+= length
  }

  /// Bytes as they are.
  mutating func append(_ bytes: [UInt8]) {
    makeRoom(bytes.count)
    for byte in bytes {
      unsafe memory[count] = byte
      count &+= 1
    }
  }

  /// A number in decimal digits.
  mutating func append(_ value: UInt64) { append(value, base: 10) }

  /// A number in hexadecimal digits, "0x" in front of all but zero, and spaces up to `width` columns.
  mutating func append(hex value: UInt64, width: Int) {
    let end = count + width
    if value != 0 { append("0x") }
    append(value, base: 16)
    makeRoom(width)
    while count < end {
      unsafe memory[count] = UInt8(ascii: " ")
      count &+= 1
    }
  }

  @inline(__always)
  private mutating func append(_ value: UInt64, base: UInt64) {
    // From the last digit to the first, and then to where they belong.
    let most = 20
    makeRoom(most)
    var rest = value
    var length = 0
    repeat {
      length &+= 1
      let digit = UInt8(truncatingIfNeeded: rest % base)
      unsafe memory[count &+ most &- length] = digit < 10 ? 0x30 &+ digit : 0x57 &+ digit
      rest /= base
    } while rest != 0
    unsafe memmove(memory + count, memory + (count &+ most &- length), length)
    count &+= length
  }

  @inline(__always)
  private mutating func makeRoom(_ length: Int) {
    if capacity - count < length { grow(by: length) }
  }

  private mutating func grow(by length: Int) {
    capacity = max(2 * capacity, count + length)
    let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
    unsafe memcpy(larger, memory, count)
    unsafe memory.deallocate()
    unsafe memory = larger
  }

  /// Hands over what is worth it.
  @inline(__always)
  mutating func pass(to output: (UnsafeRawBufferPointer) -> Void) {
    if count >= Self.piece { unsafe flush(to: output) }
  }

  /// Hands over all that is left.
  mutating func flush(to output: (UnsafeRawBufferPointer) -> Void) {
    if count > 0 { unsafe output(UnsafeRawBufferPointer(start: memory, count: count)) }
    count = 0
  }
}
