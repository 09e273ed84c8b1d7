// Big-endian integers in raw bytes. Every access states its bounds once, by a guard, and reads
// zero outside, so that no input can trap.

/// Reads and writes big-endian integers in an array of bytes.
package enum BigEndian {
  /// The number in 2 bytes from `at` on, which must be there.
  package static func u16(_ bytes: [UInt8], _ at: Int) -> UInt16 {
    UInt16(truncatingIfNeeded: read(bytes, at, 2))
  }
  /// The number in 4 bytes from `at` on, which must be there.
  package static func u32(_ bytes: [UInt8], _ at: Int) -> UInt32 {
    UInt32(truncatingIfNeeded: read(bytes, at, 4))
  }
  /// The number in 8 bytes from `at` on, which must be there.
  package static func u64(_ bytes: [UInt8], _ at: Int) -> UInt64 { read(bytes, at, 8) }

  private static func read(_ bytes: [UInt8], _ at: Int, _ width: Int) -> UInt64 {
    guard at >= 0, at <= bytes.count - width else { return 0 }
    var value: UInt64 = 0
    for i in 0..<width { value = value << 8 | UInt64(bytes[at + i]) }
    return value
  }

  /// Writes the low `width` bytes of `value`; outside the array nothing happens.
  package static func put(_ value: UInt64, width: Int, into bytes: inout [UInt8], at: Int) {
    guard at >= 0, at <= bytes.count - width else { return }
    for i in 0..<width { bytes[at + i] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - 1 - i))) }
  }

  /// Adds the last `width` bytes of a number, 1 to 8, the highest first.
  package static func append(_ value: UInt64, width: Int, to bytes: inout [UInt8]) {
    for i in 0..<width { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - 1 - i)))) }
  }
}
