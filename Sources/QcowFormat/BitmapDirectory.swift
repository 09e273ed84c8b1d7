// Persistent bitmaps as they lie in the file: the directory, one entry per bitmap, and the entries of a
// bitmap's table ("Bitmaps extension").

import Storage

/// An entry of the bitmap directory ("Bitmap directory").
package struct BitmapDirectoryEntry: Equatable, Sendable {
  /// Host offset of the bitmap table.
  package var tableOffset: HostOffset
  /// Entries of its table.
  package var tableSize: UInt32
  /// ``inUseFlag``, ``autoFlag`` and bits that are reserved.
  package var flags: UInt32
  /// 1 for a bitmap of changed ranges.
  package var type: UInt8
  /// One bit stands for 2^n bytes of the disk; 9 ... 31 where the entry is sound.
  package var granularityBits: UInt8
  /// Bytes of the disk that a bit stands for.
  package var granularity: UInt64 { 1 << UInt64(granularityBits) }
  /// The name as ``ByteText`` shows its bytes.
  package var name: String
  /// Bytes of the whole entry, padding included.
  package var entrySize: Int

  /// Bytes of the fixed part.
  package static let fixedSize = 24
  /// A program has the image open, or did not close it: the bits cannot be trusted.
  package static let inUseFlag: UInt32 = 1 << 0
  /// The bitmap records what is written.
  package static let autoFlag: UInt32 = 1 << 1
  /// The only type there is: ranges that were changed.
  package static let changedRanges: UInt8 = 1

  /// See ``inUseFlag``.
  package var isInUse: Bool { flags & Self.inUseFlag != 0 }
  /// See ``autoFlag``.
  package var recordsWrites: Bool { flags & Self.autoFlag != 0 }

  /// Entries that the table of such a bitmap of the whole disk has: its bits in whole 64-bit words, in clusters.
  /// The granularity must be sound.
  package func wantedTableSize(_ geometry: Geometry) -> UInt64 {
    let size = geometry.virtualSize
    let bits = size / granularity + (size % granularity == 0 ? 0 : 1)
    return geometry.clustersCovering((bits + 63) / 64 * 8)
  }

  /// A bitmap that the file does not name yet: without a table.
  package init(name: String, granularityBits: UInt8, recordsWrites: Bool) {
    tableOffset = HostOffset(0)
    tableSize = 0
    flags = recordsWrites ? Self.autoFlag : 0
    type = Self.changedRanges
    self.granularityBits = granularityBits
    self.name = name
    entrySize = 0
    entrySize = encoded.count
  }

  /// Reads the entry at `at`; nil if it does not fit into `bytes`.
  package init?(parsing bytes: [UInt8], at: Int) {
    guard at >= 0, at <= bytes.count - Self.fixedSize else { return nil }
    tableOffset = HostOffset(BigEndian.u64(bytes, at))
    tableSize = BigEndian.u32(bytes, at + 8)
    flags = BigEndian.u32(bytes, at + 12)
    type = bytes[at + 16]
    granularityBits = bytes[at + 17]
    let nameStart = at + Self.fixedSize + Int(BigEndian.u32(bytes, at + 20))
    let end = nameStart + Int(BigEndian.u16(bytes, at + 18))
    guard end <= bytes.count else { return nil }
    name = ByteText.text(bytes[nameStart..<end])
    entrySize = (end - at + 7) & ~7
  }

  /// The entry as it is written, without extra data, padding included.
  package var encoded: [UInt8] {
    let stored = ByteText.bytes(name).prefix(Int(UInt16.max))
    var bytes: [UInt8] = []
    BigEndian.append(tableOffset.value, width: 8, to: &bytes)
    BigEndian.append(UInt64(tableSize), width: 4, to: &bytes)
    BigEndian.append(UInt64(flags), width: 4, to: &bytes)
    bytes.append(type)
    bytes.append(granularityBits)
    BigEndian.append(UInt64(stored.count), width: 2, to: &bytes)
    BigEndian.append(0, width: 4, to: &bytes)
    bytes += stored
    bytes.append(contentsOf: repeatElement(0, count: (8 - bytes.count % 8) % 8))
    return bytes
  }
}

/// An entry of a bitmap table: where one cluster of bits lies, or what all of them are ("Bitmap table").
package struct BitmapTableEntry: Equatable, Sendable {
  /// As it is in the file.
  package var raw: UInt64

  private static let reserved: UInt64 = 0xff00_0000_0000_01fe

  package init(_ raw: UInt64) { self.raw = raw }

  /// Host offset of the cluster of bits; nil for none.
  package var cluster: HostOffset? {
    let offset = raw & L1Entry.offsetMask
    return offset == 0 ? nil : HostOffset(offset)
  }
  /// No cluster is needed: all bits are set.
  package var isAllOnes: Bool { cluster == nil && raw & 1 != 0 }

  /// The entry has no reserved bits and a place at a cluster's start.
  package func isSound(_ geometry: Geometry) -> Bool {
    guard let cluster else { return raw & Self.reserved == 0 }
    return raw & Self.reserved == 0 && geometry.isAligned(cluster.value) && raw & 1 == 0
  }
}
