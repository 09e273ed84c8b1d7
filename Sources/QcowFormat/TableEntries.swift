// Entries of the L1 table and of the refcount table: an offset, reserved bits, and the COPIED flag.

/// An L1 table entry ("L1 entry").
package struct L1Entry: Equatable, Sendable {
  /// The entry as stored.
  package var raw: UInt64
  package init(raw: UInt64) { self.raw = raw }
  /// An entry that points to a table with refcount 1.
  package init(table: HostOffset, copied: Bool) { raw = table.value | (copied ? Self.copiedFlag : 0) }

  /// Entries of the largest L1 table, of 32 MiB.
  package static let maximumCount = 4 << 20
  /// Bits 9 to 55: where the L2 table begins.
  package static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00
  /// Bits that must be 0.
  package static let reservedMask: UInt64 = 0x7f00_0000_0000_01ff
  /// Bit 63 (COPIED): the refcount of the L2 table is 1.
  package static let copiedFlag: UInt64 = 1 << 63

  /// Host offset of the L2 table; nil if there is none. May be unaligned in a damaged image.
  package var table: HostOffset? {
    let offset = raw & Self.offsetMask
    return offset == 0 ? nil : HostOffset(offset)
  }
  /// The L2 table has refcount exactly 1 and may be changed in place.
  package var isCopied: Bool { raw & Self.copiedFlag != 0 }
  /// Those of the bits that must be 0 and are not.
  package var reservedBits: UInt64 { raw & Self.reservedMask }
}

/// A refcount table entry ("Refcounts").
package struct RefcountTableEntry: Equatable, Sendable {
  /// The entry as stored.
  package var raw: UInt64
  package init(raw: UInt64) { self.raw = raw }

  /// Bits 9 to 63: where the refcount block begins.
  package static let offsetMask: UInt64 = 0xffff_ffff_ffff_fe00

  /// Host offset of the refcount block; nil if all its refcounts are 0. May be unaligned.
  package var block: HostOffset? {
    let offset = raw & Self.offsetMask
    return offset == 0 ? nil : HostOffset(offset)
  }
  /// Those of the bits that must be 0 and are not.
  package var reservedBits: UInt64 { raw & ~Self.offsetMask }
}
