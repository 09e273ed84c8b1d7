// A page: 4 KiB that never change once made. Pages of one repeated byte share one object per byte,
// so that gigabytes of zeroes or of a pattern cost no memory. Pages of numbers that grow by equal steps, as entries of
// tables whose clusters lie in a row, are kept as the first number and the step. A page that differs from an older one
// in few words is kept as those.

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
    case changed(Page, Words)
  }
  private let content: Content

  /// Words of eight bytes that differ from those of another page.
  private struct Words: Sendable {
    /// More than this are not kept one by one.
    static let most = 96
    /// Five each: the place of the word, and its bytes as they lie there.
    private var values: [UInt16] = []

    /// Nil if more words differ than are worth it.
    init?(_ bytes: UnsafeRawBufferPointer, differingFrom other: UnsafeRawBufferPointer) {
      guard let one = bytes.baseAddress, let two = other.baseAddress else { return nil }
      for offset in stride(from: 0, to: Page.size, by: 8) {
        let word = unsafe one.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
        guard unsafe word != two.loadUnaligned(fromByteOffset: offset, as: UInt64.self) else { continue }
        guard values.count < Self.most * 5 else { return nil }
        values.append(UInt16(offset / 8))
        for part in 0..<4 { values.append(UInt16(truncatingIfNeeded: word >> UInt64(16 * part))) }
      }
      values = Array(values)
    }

    /// Memory in bytes for them.
    var bytes: Int { values.count * 2 }

    /// Puts them into a whole page.
    func put(into target: UnsafeMutableRawBufferPointer) {
      for at in stride(from: 0, to: values.count, by: 5) {
        var word: UInt64 = 0
        for part in 0..<4 { word |= UInt64(values[at + 1 + part]) << UInt64(16 * part) }
        unsafe target.storeBytes(of: word, toByteOffset: Int(values[at]) * 8, as: UInt64.self)
      }
    }
  }

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
  private init(_ words: Words, in root: Page) { content = .changed(root, words) }

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

  /// A page of ``size`` bytes that takes the place of `old`: that page itself if nothing differs, and only what does
  /// if that is little.
  static func holding(_ bytes: UnsafeRawBufferPointer, insteadOf old: Page) -> Page {
    if unsafe old.holds(bytes) { return old }
    let new = unsafe holding(bytes)
    guard case .bytes = new.content else { return new }
    let root: Page
    if case .changed(let first, _) = old.content { root = first } else { root = old }
    let words = unsafe root.withBytes { unsafe Words(bytes, differingFrom: $0) }
    return words.map { Page($0, in: root) } ?? new
  }

  /// Calls `body` with all bytes of the page.
  private func withBytes<T>(_ body: (UnsafeRawBufferPointer) -> T) -> T {
    if case .bytes(let bytes) = content { return unsafe bytes.withUnsafeBytes { unsafe body($0) } }
    return unsafe withUnsafeTemporaryAllocation(byteCount: Page.size, alignment: 16) { whole in
      unsafe copy(from: 0, into: whole)
      return unsafe body(UnsafeRawBufferPointer(whole))
    }
  }

  /// Whether the page is these bytes.
  private func holds(_ bytes: UnsafeRawBufferPointer) -> Bool {
    unsafe withBytes { own in
      guard let one = own.baseAddress, let two = bytes.baseAddress else { return false }
      return unsafe memcmp(one, two, Page.size) == 0
    }
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
    case (.changed, _), (_, .changed): return unsafe other.withBytes { unsafe holds($0) }
    default: return false
    }
  }

  /// Memory the page keeps for itself alone.
  package var ownBytes: Int {
    switch content {
    case .fill, .steps: return 0
    case .bytes: return Page.size
    case .changed(_, let words): return words.bytes
    }
  }

  /// Copies `target.count` bytes from `start` within the page.
  package func copy(from start: Int, into target: UnsafeMutableRawBufferPointer) {
    guard start >= 0, start + target.count <= Page.size, let base = target.baseAddress else { return }
    switch content {
    case .fill(let byte): unsafe memset(base, Int32(byte), target.count)
    case .steps, .changed:
      if target.count == Page.size { return unsafe make(target) }
      unsafe withUnsafeTemporaryAllocation(byteCount: Page.size, alignment: 16) { whole in
        unsafe make(whole)
        if let from = whole.baseAddress { unsafe memcpy(base, from + start, target.count) }
      }
    case .bytes(let bytes):
      unsafe bytes.withUnsafeBytes { source in
        if let from = source.baseAddress { unsafe memcpy(base, from + start, target.count) }
      }
    }
  }

  /// All of a page that is not kept as its bytes.
  private func make(_ target: UnsafeMutableRawBufferPointer) {
    switch content {
    case .steps(let steps): unsafe steps.fill(target)
    case .changed(let root, let words):
      unsafe root.copy(from: 0, into: target)
      unsafe words.put(into: target)
    case .fill, .bytes: break
    }
  }

  /// This page with some of its bytes replaced.
  package func replacing(from start: Int, with bytes: UnsafeRawBufferPointer) -> Page {
    unsafe replacing(from: start, with: bytes) { unsafe Page.holding($0) }
  }

  /// The same as a page that takes the place of this one; see ``holding(_:insteadOf:)``.
  func succeeded(from start: Int, by bytes: UnsafeRawBufferPointer) -> Page {
    if bytes.count == Page.size { return unsafe Page.holding(bytes, insteadOf: self) }
    return unsafe replacing(from: start, with: bytes) { unsafe Page.holding($0, insteadOf: self) }
  }

  private func replacing(
    from start: Int, with bytes: UnsafeRawBufferPointer, _ made: (UnsafeRawBufferPointer) -> Page
  ) -> Page {
    guard start >= 0, start + bytes.count <= Page.size else { return self }
    return unsafe withUnsafeTemporaryAllocation(byteCount: Page.size, alignment: 16) { whole in
      unsafe copy(from: 0, into: whole)
      unsafe UnsafeMutableRawBufferPointer(rebasing: whole[start..<(start + bytes.count)]).copyMemory(
        from: bytes)
      return unsafe made(UnsafeRawBufferPointer(whole))
    }
  }
}
