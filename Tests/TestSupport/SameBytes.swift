// Comparing and filling long rows of bytes. The operators of arrays take seconds a megabyte without
// optimization, which is how tests are built.

import Glibc

/// Whether two rows of bytes are equal.
package func sameBytes(_ a: [UInt8], _ b: [UInt8]) -> Bool {
  guard a.count == b.count else { return false }
  return a.withUnsafeBytes { a in
    b.withUnsafeBytes { b in
      guard let first = a.baseAddress, let second = b.baseAddress else { return true }
      return memcmp(first, second, a.count) == 0
    }
  }
}

/// Whether a row holds one byte again and again, or nothing.
package func isFilled(_ bytes: [UInt8], with byte: UInt8) -> Bool {
  guard let first = bytes.first else { return true }
  return first == byte
    && bytes.withUnsafeBytes { bytes in
      // Every byte is the one before it.
      bytes.baseAddress.map { memcmp($0, $0 + 1, bytes.count - 1) == 0 } ?? true
    }
}
