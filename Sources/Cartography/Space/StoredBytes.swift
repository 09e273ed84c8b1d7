// What the host stores of a range of a file, and whether it is all zero.

import Qcow
import Storage

/// Looks at ranges of files.
final class StoredBytes {
  private static let largestRead = 1 << 20
  private let buffer = CopyBuffer(largestRead)

  /// Bytes of a range that the host stores; where it does not tell, it may store all of them.
  static func count(_ range: Range<UInt64>, in storage: any Storage) -> UInt64 {
    let length = storage.length
    return storage.keptBytes(in: range) ?? min(range.upperBound, length) - min(range.lowerBound, length)
  }

  /// Every byte of a range is zero; ends with the first that is not. What cannot be read is not.
  func areZero(_ range: Range<UInt64>, in storage: any Storage) -> Bool {
    var at = range.lowerBound
    // What a cluster with data holds mostly begins with it.
    var step: UInt64 = 4096
    while at < range.upperBound {
      let extent = storage.extent(at: at)
      if extent.isHole {
        at = min(range.upperBound, max(extent.end, at + 1))
        continue
      }
      let count = Int(min(step, min(extent.end, range.upperBound) - at))
      let bytes = unsafe buffer.part(0, count)
      do throws(StorageError) { unsafe try storage.read(at: at, into: bytes) } catch { return false }
      guard UnsafeRawBufferPointer(bytes).isZero else { return false }
      at += UInt64(count)
      step = UInt64(Self.largestRead)
    }
    return true
  }
}
