// Refcounts of all widths, 1 to 64 bits, packed in a refcount block. Widths below a byte put the
// first entry into the lowest bits, wider ones are big-endian.

/// Reads and writes single refcounts of a block in memory ("Refcounts").
///
/// Indices outside the buffer read as 0 and are not written.
@usableFromInline
package struct RefcountCodec: Equatable, Sendable {
  /// Width as a power of two, 0 to 6.
  @usableFromInline package let order: Int
  package init(order: Int) { self.order = order }

  /// The refcount at an index, which must lie in the block.
  @inlinable @inline(__always)
  package func value(in block: UnsafeRawBufferPointer, at index: Int) -> UInt64 {
    let byte = order >= 3 ? index << (order - 3) : index >> (3 - order)
    let width = order >= 3 ? 1 << (order - 3) : 1
    guard index >= 0, byte <= block.count - width, let base = block.baseAddress else { return 0 }
    switch order {
    case 4: return unsafe UInt64(UInt16(bigEndian: base.loadUnaligned(fromByteOffset: byte, as: UInt16.self)))
    case 3: return unsafe UInt64(base.load(fromByteOffset: byte, as: UInt8.self))
    case 5: return unsafe UInt64(UInt32(bigEndian: base.loadUnaligned(fromByteOffset: byte, as: UInt32.self)))
    case 6: return unsafe UInt64(bigEndian: base.loadUnaligned(fromByteOffset: byte, as: UInt64.self))
    default:
      let bits = 1 << order
      let shift = bits * (index % (8 / bits))
      return unsafe UInt64(base.load(fromByteOffset: byte, as: UInt8.self)) >> UInt64(shift)
        & ((1 << UInt64(bits)) - 1)
    }
  }

  /// Stores the low bits of `value`; the caller has checked that it fits.
  @inlinable @inline(__always)
  package func store(_ value: UInt64, in block: UnsafeMutableRawBufferPointer, at index: Int) {
    let byte = order >= 3 ? index << (order - 3) : index >> (3 - order)
    let width = order >= 3 ? 1 << (order - 3) : 1
    guard index >= 0, byte <= block.count - width, let base = block.baseAddress else { return }
    switch order {
    case 4:
      unsafe base.storeBytes(
        of: UInt16(truncatingIfNeeded: value).bigEndian, toByteOffset: byte, as: UInt16.self)
    case 3: unsafe base.storeBytes(of: UInt8(truncatingIfNeeded: value), toByteOffset: byte, as: UInt8.self)
    case 5:
      unsafe base.storeBytes(
        of: UInt32(truncatingIfNeeded: value).bigEndian, toByteOffset: byte, as: UInt32.self)
    case 6: unsafe base.storeBytes(of: value.bigEndian, toByteOffset: byte, as: UInt64.self)
    default:
      let bits = 1 << order
      let shift = UInt8(bits * (index % (8 / bits)))
      let mask = UInt8((1 << bits) - 1) << shift
      let old = unsafe base.load(fromByteOffset: byte, as: UInt8.self)
      let new = old & ~mask | UInt8(truncatingIfNeeded: value) << shift & mask
      unsafe base.storeBytes(of: new, toByteOffset: byte, as: UInt8.self)
    }
  }

  /// The first index of `range` whose refcount is not 0; the end if all are 0.
  package func firstUsed(in block: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int {
    var index = range.lowerBound
    let perWord = 64 >> order
    while index < range.upperBound {
      if let word = unsafe word(in: block, at: index, range), word == 0 {
        index &+= perWord
        continue
      }
      if unsafe value(in: block, at: index) != 0 { return index }
      index += 1
    }
    return index
  }

  /// The first index of `range` whose refcount is 0; the end if none is.
  package func firstFree(in block: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int {
    var index = range.lowerBound
    let perWord = 64 >> order
    // The lowest and the highest bit of each count. Whether one of them is 0 needs not know which bytes come first.
    let lowest = order == 6 ? 1 : UInt64.max / ((1 << UInt64(1 << order)) - 1)
    let highest = lowest << UInt64((1 << order) - 1)
    while index < range.upperBound {
      // Four words at a time, for as long as all counts of them are in use.
      while let words = unsafe words(in: block, at: index, range) {
        let free = (words &- SIMD4(repeating: lowest)) & ~words & SIMD4(repeating: highest)
        guard free == .zero else { break }
        index &+= 4 &* perWord
      }
      if let word = unsafe word(in: block, at: index, range), (word &- lowest) & ~word & highest == 0 {
        index &+= perWord
        continue
      }
      guard index < range.upperBound else { break }
      if unsafe value(in: block, at: index) == 0 { return index }
      index += 1
    }
    return index
  }

  /// The counts from `index` on as they lie in the block, where a word of eight bytes begins; nil elsewhere, and where
  /// the range or the block ends in front of its end.
  @inline(__always)
  private func word(in block: UnsafeRawBufferPointer, at index: Int, _ range: Range<Int>) -> UInt64? {
    let perWord = 64 >> order
    guard order <= 6, index & (perWord - 1) == 0, range.upperBound - index >= perWord else { return nil }
    let byte = (index << order) >> 3
    guard index >= 0, byte <= block.count - 8 else { return nil }
    return unsafe block.loadUnaligned(fromByteOffset: byte, as: UInt64.self)
  }

  /// The same, four words of them.
  @inline(__always)
  private func words(in block: UnsafeRawBufferPointer, at index: Int, _ range: Range<Int>) -> SIMD4<UInt64>? {
    let perWord = 64 >> order
    guard order <= 6, index & (perWord - 1) == 0, range.upperBound - index >= 4 * perWord else { return nil }
    let byte = (index << order) >> 3
    guard index >= 0, byte <= block.count - 32 else { return nil }
    return unsafe block.loadUnaligned(fromByteOffset: byte, as: SIMD4<UInt64>.self)
  }

  /// The index of the last refcount in front of `end` that is not 0; nil if all are.
  package func lastUsed(in block: UnsafeRawBufferPointer, below end: Int) -> Int? {
    var index = end
    while index > 0 {
      // Free clusters are passed by the word.
      if order <= 6, index << order & 63 == 0, index << order >= 64, (index << order) >> 3 <= block.count {
        let word = unsafe block.loadUnaligned(fromByteOffset: (index << order) >> 3 - 8, as: UInt64.self)
        if word == 0 {
          index -= 64 >> order
          continue
        }
      }
      if unsafe value(in: block, at: index - 1) != 0 { return index - 1 }
      index -= 1
    }
    return nil
  }
}
