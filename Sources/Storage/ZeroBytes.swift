// Telling zeroes, and bytes of any one value, from other data, at the speed of the C library.

import Glibc

extension UnsafeRawBufferPointer {
  /// Every byte is zero.
  package var isZero: Bool {
    guard let base = baseAddress, count > 0 else { return true }
    // Every byte equals the one before it, and the first is zero.
    return unsafe self[0] == 0 && memcmp(base, base + 1, count - 1) == 0
  }

  /// Every byte equals the one at its place in `other`, which is as long.
  package func isSame(_ other: UnsafeRawBufferPointer) -> Bool {
    guard let base = baseAddress, let start = other.baseAddress, count == other.count else {
      return count == other.count
    }
    return unsafe memcmp(base, start, count) == 0
  }

  /// The index of the first byte that has another value; blocks of one value are compared at once.
  package func firstIndex(otherThan value: UInt8) -> Int? {
    var at = 0
    while at < count {
      let block = unsafe UnsafeRawBufferPointer(rebasing: self[at..<Swift.min(at + 4096, count)])
      guard let start = block.baseAddress else { return nil }
      if unsafe block[0] != value || memcmp(start, start + 1, block.count - 1) != 0 {
        for index in 0..<block.count where unsafe block[index] != value { return at + index }
      }
      at += block.count
    }
    return nil
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Every byte is zero.
  package var isZero: Bool { UnsafeRawBufferPointer(self).isZero }
}
