// Memory for the bytes of a copy: taken once, used for every request, aligned as the host likes it best.

/// A piece of memory of its own.
@safe package final class CopyBuffer {
  private let bytes: UnsafeMutableRawBufferPointer
  /// Bytes.
  package let count: Int

  /// `count` bytes, all zero.
  package init(_ count: Int) {
    self.count = count
    unsafe bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 4096)
    unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit { unsafe bytes.deallocate() }

  /// The bytes from `start` to `end`.
  package func part(_ start: Int, _ end: Int) -> UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[start..<end])
  }
}
