// A cluster read as refcounts of the image's width: how many are in use, and whether they are such numbers as
// refcounts are. Of the narrow widths every number can be one, so that there only the order of the bytes speaks.

/// How the refcounts of a cluster look.
package struct RefcountTally: Sendable {
  /// Refcounts that are not 0, of those looked at.
  package private(set) var used = 0
  /// Of these: 1, and more than clusters ever have without snapshots by the hundred.
  package private(set) var ones = 0
  package private(set) var large = 0
  /// Neighbouring bytes, or whole refcounts where they are wider, that differ.
  package private(set) var changes = 0
  /// Bytes or refcounts looked at.
  package private(set) var looked = 0

  /// Bytes or refcounts after which nothing more is learnt, once one is in use.
  private static let enough = 1 << 15

  init() {}

  /// Looks at whole refcounts from the start of `bytes` and gives up when most are too large.
  init(_ bytes: UnsafeRawBufferPointer, order: Int) {
    if order >= 3 {
      unsafe addWide(bytes, RefcountCodec(order: order), 1 << (order - 3))
    } else {
      unsafe addNarrow(bytes, order)
    }
  }

  private mutating func addWide(_ bytes: UnsafeRawBufferPointer, _ codec: RefcountCodec, _ width: Int) {
    // Few clusters have more owners; streams of compressed clusters share one by the dozen.
    let most: UInt64 = 64
    var last: UInt64 = 0
    for index in 0..<bytes.count / width {
      let value = unsafe codec.value(in: bytes, at: index)
      looked += 1
      if value != last { changes += 1 }
      last = value
      guard value != 0 else { continue }
      used += 1
      if value == 1 { ones += 1 } else if value > most { large += 1 }
      if large > 64, large * 2 > used { return }
      if looked >= Self.enough { return }
    }
  }

  private mutating func addNarrow(_ bytes: UnsafeRawBufferPointer, _ order: Int) {
    let one: UInt8 = order == 0 ? 0xff : order == 1 ? 0x55 : 0x11
    var last: UInt8 = 0
    for index in 0..<bytes.count {
      let byte = unsafe bytes[index]
      looked += 1
      if byte != last { changes += 1 }
      last = byte
      guard byte != 0 else { continue }
      used += 1
      if byte == one { ones += 1 }
      if looked >= Self.enough { return }
    }
  }

  /// Every refcount is one that a cluster can have, or all but a few.
  package var isPossible: Bool { large * 10 <= used }
  /// The order of the numbers is that of refcounts: mostly 1, in runs.
  package var isLikely: Bool { used > 0 && isPossible && ones * 2 >= used && changes * 4 <= max(16, looked) }
}
