// The fields and extensions of cluster 0 as the stream of events names them: two states of the cluster are
// compared, and what differs is told.

import QcowFormat

/// A part of cluster 0 that a note on the header names in its `index`: the byte offset of a fixed field, or
/// an extension by its type.
package enum HeaderField {
  /// Byte ranges of the fields that are written alone.
  static let size = 24..<32
  static let l1Table = 36..<48
  static let refcountTable = 48..<60
  /// The place of the L1 table, and both fields of the refcount table.
  static let tables = 40..<60
  static let snapshots = 60..<72
  static let incompatible = 72..<80
  static let autoclear = 88..<96

  /// The size of the disk in bytes.
  package static let diskSize: UInt64 = 24
  /// How many snapshots there are.
  package static let snapshotCount: UInt64 = 60
  /// The byte offset of the incompatible features; the note's words are the bits.
  package static let incompatibleFeatures: UInt64 = 72
  /// The byte offset of the autoclear features; the note's words are the bits.
  package static let autoclearFeatures: UInt64 = 88
  /// The pin; the note's words are its shift and its reserve, 0 without one.
  package static var pin: UInt64 { extensions(of: HeaderExtension.pinType) }
  /// What says that clusters are being moved; the second word is 0 without it.
  package static var relocation: UInt64 { extensions(of: HeaderExtension.relocationType) }
  /// All extensions of a type; the note's words are a sum over their bytes and how many bytes they are.
  package static func extensions(of type: UInt32) -> UInt64 { 1 << 32 | UInt64(type) }
  /// The name of the backing file, as a sum and its length.
  package static let backingName: UInt64 = 2 << 32

  /// Offset and width of the fixed fields, versions 2 and 3.
  private static let fixed: [(offset: Int, width: Int)] = [
    (4, 4), (8, 8), (16, 4), (20, 4), (24, 8), (32, 4), (36, 4), (40, 8), (48, 8), (56, 4), (60, 4), (64, 8),
    (72, 8), (80, 8), (88, 8), (96, 4), (100, 4), (104, 1),
  ]

  /// What differs between two states of cluster 0, in the order of their names.
  package static func changes(
    from old: [UInt8], to new: [UInt8]
  ) -> [(field: UInt64, before: (UInt64, UInt64), after: (UInt64, UInt64))] {
    let before = values(old)
    let after = values(new)
    var names = Set(before.keys)
    names.formUnion(after.keys)
    return names.sorted().compactMap { name in
      let was = before[name] ?? (0, 0)
      let now = after[name] ?? (0, 0)
      return was == now ? nil : (name, was, now)
    }
  }

  /// All parts that are there. Whatever the bytes are, every one of them is looked at once.
  static func values(_ cluster: [UInt8]) -> [UInt64: (UInt64, UInt64)] {
    var found: [UInt64: (UInt64, UInt64)] = [:]
    let isOld = BigEndian.u32(cluster, 4) < 3
    for field in fixed where !isOld || field.offset < Header.version2Length {
      let value = cluster[min(cluster.count, field.offset)..<min(cluster.count, field.offset + field.width)]
        .reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      if value != 0 { found[UInt64(field.offset)] = (value, 0) }
    }
    let nameStart = Int(clamping: BigEndian.u64(cluster, 8))
    let nameEnd = min(cluster.count, nameStart &+ Int(clamping: BigEndian.u32(cluster, 16)))
    if nameStart > 0, nameStart < nameEnd {
      found[backingName] = (sum(cluster[nameStart..<nameEnd]), UInt64(nameEnd - nameStart))
    }
    var at = isOld ? Header.version2Length : Int(BigEndian.u32(cluster, 100))
    while at <= cluster.count - 8 {
      let type = BigEndian.u32(cluster, at)
      let length = Int(BigEndian.u32(cluster, at + 4))
      at += 8
      guard type != HeaderExtension.endType, length <= cluster.count - at else { break }
      let data = cluster[at..<at + length]
      if type == HeaderExtension.pinType, length == PinExtension.byteCount {
        found[pin] = (BigEndian.u64(cluster, at + 8), BigEndian.u64(cluster, at + 16))
      } else {
        let before = found[extensions(of: type)] ?? (0, 0)
        found[extensions(of: type)] = (
          sum(data, from: before.1 == 0 ? basis : before.0), before.1 + UInt64(length)
        )
      }
      at += (length + 7) & ~7
    }
    return found
  }

  private static let basis: UInt64 = 0xcbf2_9ce4_8422_2325

  /// The 64-bit FNV-1a sum of some bytes.
  private static func sum(_ bytes: ArraySlice<UInt8>, from start: UInt64 = basis) -> UInt64 {
    bytes.reduce(start) { ($0 ^ UInt64($1)) &* 0x0000_0100_0000_01b3 }
  }
}
