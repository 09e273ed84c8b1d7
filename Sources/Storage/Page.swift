// A page: 4 KiB that never change once made. Pages of one repeated byte share one object per byte,
// so that gigabytes of zeroes or of a pattern cost no memory. Pages of numbers that grow by equal steps, as entries of
// tables whose clusters lie in a row, are kept as the first number and the step.

import Glibc

/// An immutable block of ``size`` bytes.
package final class Page: Sendable {
  /// Bytes of a page.
  package static let size = 4096
  private static let fills: [Page] = (0...255).map { Page(fill: UInt8($0)) }

  private enum Content: Sendable {
    case fill(UInt8)
    case steps(Steps)
    case bytes([UInt8])
  }
  private let content: Content

  /// Big-endian words, of which those at even and those at odd places each grow by a step of their own: entries of one
  /// word, and of two.
  private struct Steps: Equatable {
    var first: SIMD2<UInt64>
    var step: SIMD2<UInt64>

    /// Nil for bytes that are no such words.
    init?(_ bytes: UnsafeRawBufferPointer) {
      func pair(_ offset: Int) -> SIMD2<UInt64> {
        func word(_ offset: Int) -> UInt64 {
          UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
        }
        return SIMD2(word(offset), word(offset + 8))
      }
      first = pair(0)
      var now = pair(16)
      step = now &- first
      for offset in stride(from: 32, to: Page.size, by: 16) {
        now &+= step
        guard pair(offset) == now else { return nil }
      }
    }

    /// All of the page.
    func fill(_ target: UnsafeMutableRawBufferPointer) {
      var now = first
      for offset in stride(from: 0, to: Page.size, by: 16) {
        unsafe target.storeBytes(of: now.x.bigEndian, toByteOffset: offset, as: UInt64.self)
        unsafe target.storeBytes(of: now.y.bigEndian, toByteOffset: offset + 8, as: UInt64.self)
        now &+= step
      }
    }
  }

  private init(fill: UInt8) { content = .fill(fill) }
  private init(bytes: [UInt8]) { content = .bytes(bytes) }
  private init(steps: Steps) { content = .steps(steps) }

  /// The page of nothing but zeroes.
  package static var zero: Page { filled(0) }

  /// A page of one byte; pages of the same byte share their memory.
  package static func filled(_ byte: UInt8) -> Page { fills[Int(byte)] }

  /// A page with the given bytes; short input is followed by zeroes.
  package static func holding(_ bytes: UnsafeRawBufferPointer) -> Page {
    if bytes.count == size, let base = bytes.baseAddress,
      unsafe memcmp(base, base + 1, size - 1) == 0
    {
      return unsafe filled(bytes[0])
    }
    if bytes.count == size, let steps = unsafe Steps(bytes) { return Page(steps: steps) }
    var copy = unsafe [UInt8](bytes.prefix(size))
    if copy.count < size { copy.append(contentsOf: repeatElement(0, count: size - copy.count)) }
    return Page(bytes: copy)
  }

  /// The byte all of the page repeats, if there is one.
  package var fillByte: UInt8? {
    if case .fill(let byte) = content { return byte }
    return nil
  }

  /// Whether both hold the same bytes.
  package func holdsSame(as other: Page) -> Bool {
    if self === other { return true }
    switch (content, other.content) {
    case (.fill(let a), .fill(let b)): return a == b
    case (.steps(let a), .steps(let b)): return a == b
    case (.bytes(let a), .bytes(let b)): return a == b
    default: return false
    }
  }

  /// Memory the page keeps for itself alone.
  package var ownBytes: Int {
    if case .bytes = content { return Page.size }
    return 0
  }

  /// Copies `target.count` bytes from `start` within the page.
  package func copy(from start: Int, into target: UnsafeMutableRawBufferPointer) {
    guard start >= 0, start + target.count <= Page.size, let base = target.baseAddress else { return }
    switch content {
    case .fill(let byte): unsafe memset(base, Int32(byte), target.count)
    case .steps(let steps):
      if target.count == Page.size { return unsafe steps.fill(target) }
      unsafe withUnsafeTemporaryAllocation(byteCount: Page.size, alignment: 16) { whole in
        unsafe steps.fill(whole)
        if let from = whole.baseAddress { unsafe memcpy(base, from + start, target.count) }
      }
    case .bytes(let bytes):
      unsafe bytes.withUnsafeBytes { source in
        if let from = source.baseAddress { unsafe memcpy(base, from + start, target.count) }
      }
    }
  }

  /// This page with some of its bytes replaced.
  package func replacing(from start: Int, with bytes: UnsafeRawBufferPointer) -> Page {
    guard start >= 0, start + bytes.count <= Page.size else { return self }
    return unsafe withUnsafeTemporaryAllocation(byteCount: Page.size, alignment: 16) { whole in
      unsafe copy(from: 0, into: whole)
      unsafe UnsafeMutableRawBufferPointer(rebasing: whole[start..<(start + bytes.count)]).copyMemory(
        from: bytes)
      return unsafe Page.holding(UnsafeRawBufferPointer(whole))
    }
  }
}
