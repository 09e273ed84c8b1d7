// Entries of the L1 table and of the refcount table: an offset, reserved bits, and the COPIED flag.

/// An L1 table entry ("L1 entry").
package struct L1Entry: Equatable, Sendable {
  package var raw: UInt64
  package init(raw: UInt64) { self.raw = raw }
  /// An entry that points to a table with refcount 1.
  package init(table: HostOffset, copied: Bool) { raw = table.value | (copied ? Self.copiedFlag : 0) }

  package static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00
  package static let reservedMask: UInt64 = 0x7f00_0000_0000_01ff
  package static let copiedFlag: UInt64 = 1 << 63

  /// Host offset of the L2 table; nil if there is none. May be unaligned in a damaged image.
  package var table: HostOffset? {
    let offset = raw & Self.offsetMask
    return offset == 0 ? nil : HostOffset(offset)
  }
  /// The L2 table has refcount exactly 1 and may be changed in place.
  package var isCopied: Bool { raw & Self.copiedFlag != 0 }
  package var reservedBits: UInt64 { raw & Self.reservedMask }
}

/// A refcount table entry ("Refcounts").
package struct RefcountTableEntry: Equatable, Sendable {
  package var raw: UInt64
  package init(raw: UInt64) { self.raw = raw }

  package static let offsetMask: UInt64 = 0xffff_ffff_ffff_fe00

  /// Host offset of the refcount block; nil if all its refcounts are 0. May be unaligned.
  package var block: HostOffset? {
    let offset = raw & Self.offsetMask
    return offset == 0 ? nil : HostOffset(offset)
  }
  package var reservedBits: UInt64 { raw & ~Self.offsetMask }
}
