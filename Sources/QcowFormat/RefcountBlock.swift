// Refcounts of all widths, 1 to 64 bits, packed in a refcount block. Widths below a byte put the
// first entry into the lowest bits, wider ones are big-endian.

/// Reads and writes single refcounts of a block in memory ("Refcounts").
///
/// Indices outside the buffer read as 0 and are not written.
package struct RefcountCodec: Equatable, Sendable {
  /// Width as a power of two, 0 to 6.
  package let order: Int
  package init(order: Int) { self.order = order }

  /// The refcount at an index, which must lie in the block.
  @inline(__always)
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
  @inline(__always)
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
