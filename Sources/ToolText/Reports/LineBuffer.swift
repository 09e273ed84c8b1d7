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

  /// A number in decimal digits, two at a time from its end.
  mutating func append(_ value: UInt64) {
    let length = Self.digits(value)
    makeRoom(length)
    var end = count &+ length
    count = end
    var rest = value
    while rest >= 100 {
      end &-= 2
      unsafe memcpy(memory + end, Self.pairs.utf8Start + Int(truncatingIfNeeded: rest % 100 &* 2), 2)
      rest /= 100
    }
    if rest >= 10 {
      unsafe memcpy(memory + (end &- 2), Self.pairs.utf8Start + Int(truncatingIfNeeded: rest &* 2), 2)
    } else {
      unsafe memory[end &- 1] = 0x30 &+ UInt8(truncatingIfNeeded: rest)
    }
  }

  /// 00 to 99.
  private static let pairs: StaticString = """
    00010203040506070809101112131415161718192021222324\
    25262728293031323334353637383940414243444546474849\
    50515253545556575859606162636465666768697071727374\
    75767778798081828384858687888990919293949596979899
    """

  /// How many decimal digits a number has.
  @inline(__always)
  private static func digits(_ value: UInt64) -> Int {
    var rest = value
    var known = 0
    while true {
      if rest < 10 { return known &+ 1 }
      if rest < 100 { return known &+ 2 }
      if rest < 1000 { return known &+ 3 }
      if rest < 10000 { return known &+ 4 }
      rest /= 10000
      known &+= 4
    }
  }

  /// A number in hexadecimal digits, "0x" in front of all but zero, and spaces up to `width` columns.
  mutating func append(hex value: UInt64, width: Int) {
    let end = count + width
    if value != 0 { append("0x") }
    appendHex(value)
    makeRoom(width)
    while count < end {
      unsafe memory[count] = UInt8(ascii: " ")
      count &+= 1
    }
  }

  private mutating func appendHex(_ value: UInt64) {
    // From the last digit to the first, and then to where they belong.
    let most = 16
    makeRoom(most)
    var rest = value
    var length = 0
    repeat {
      length &+= 1
      let digit = UInt8(truncatingIfNeeded: rest % 16)
      unsafe memory[count &+ most &- length] = digit < 10 ? 0x30 &+ digit : 0x57 &+ digit
      rest /= 16
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
