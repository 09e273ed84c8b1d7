// Telling zeroes from data, at the speed of the C library.

import Glibc

extension UnsafeRawBufferPointer {
  /// Every byte is zero.
  package var isZero: Bool {
    guard let base = baseAddress, count > 0 else { return true }
    // Every byte equals the one before it, and the first is zero.
    return unsafe self[0] == 0 && memcmp(base, base + 1, count - 1) == 0
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Every byte is zero.
  package var isZero: Bool { UnsafeRawBufferPointer(self).isZero }
}
