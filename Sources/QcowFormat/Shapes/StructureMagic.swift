// Structures of an image that are told by their own fields: the header, the snapshot table, the bitmap directory
// and the header of LUKS. Each is looked at in bounded time, and no field is believed before it was compared
// with the sizes of the file.

import Storage

extension ShapeLimits {
  /// The start of `bytes` is the header of an image of these sizes.
  package func isHeader(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard bytes.count >= 104, unsafe bytes.word32(0) == Header.magic else { return false }
    let version = unsafe bytes.word32(4)
    return unsafe (version == 2 || version == 3) && bytes.word32(20) == UInt32(geometry.clusterBits)
      && geometry.isAligned(bytes.word64(40)) && geometry.isAligned(bytes.word64(48))
  }

  /// The bytes of the header of LUKS begin there.
  func isEncryptionHeader(_ bytes: UnsafeRawBufferPointer) -> Bool {
    unsafe bytes.count >= 8 && bytes.word32(0) == 0x4c55_4b53 && bytes[4] == 0xba && bytes[5] == 0xbe
  }

  /// Entries of a snapshot table, up to 64, that follow each other from the start of `bytes`; 0 if it is none.
  func snapshots(_ bytes: UnsafeRawBufferPointer) -> Int {
    var at = 0
    var count = 0
    while count < 64, at + SnapshotEntry.fixedSize <= bytes.count {
      guard let size = unsafe snapshotSize(bytes, at) else {
        // What follows the last entry is zeroes.
        let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[at...])
        let isEnd = unsafe UnsafeRawBufferPointer(rebasing: rest.prefix(40)).isZero
        return isEnd ? count : 0
      }
      count += 1
      at += size
    }
    return count
  }

  /// Bytes of a snapshot entry that can be one; nil for others.
  private func snapshotSize(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> Int? {
    let l1 = unsafe bytes.word64(at)
    let entries = unsafe UInt64(bytes.word32(at + 8))
    let id = unsafe Int(bytes.word32(at + 12) >> 16)
    let name = unsafe Int(bytes.word32(at + 12) & 0xffff)
    let extra = unsafe bytes.word32(at + 36)
    guard entries == 0 ? geometry.isAligned(l1) && l1 < end : isPlace(l1) && entries * 8 <= end &- l1 else {
      return nil
    }
    guard extra <= UInt32(SnapshotEntry.maximumExtraData), id > 0, id <= 255, name <= 1024,
      unsafe bytes.word32(at + 20) < 1_000_000_000
    else { return nil }
    let start = at + SnapshotEntry.fixedSize + Int(extra)
    // An ID is a number in decimal digits for every program that makes snapshots.
    for index in start..<min(bytes.count, start + id) {
      guard unsafe bytes[index] >= 0x20, unsafe bytes[index] < 0x7f else { return nil }
    }
    return (SnapshotEntry.fixedSize + Int(extra) + id + name + 7) & ~7
  }

  /// Entries of a bitmap directory, up to 64, from the start of `bytes`; 0 if it is none.
  func bitmaps(_ bytes: UnsafeRawBufferPointer) -> Int {
    var at = 0
    var count = 0
    while count < 64, at + BitmapDirectoryEntry.fixedSize <= bytes.count {
      let place = unsafe bytes.word64(at)
      let kind = unsafe bytes.word32(at + 16)
      let name = Int(kind & 0xffff)
      let extra = unsafe bytes.word32(at + 20)
      let isEntry =
        unsafe isPlace(place) && bytes.word32(at + 8) > 0 && bytes.word32(at + 12) < 8 && kind >> 24 == 1
        && (9...31).contains(kind >> 16 & 0xff) && name > 0 && name <= 1023 && extra == 0
      guard isEntry else {
        let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[at...])
        let isEnd = unsafe UnsafeRawBufferPointer(rebasing: rest.prefix(24)).isZero
        return isEnd ? count : 0
      }
      count += 1
      at += (BitmapDirectoryEntry.fixedSize + name + 7) & ~7
    }
    return count
  }
}

extension UnsafeRawBufferPointer {
  /// The big-endian numbers at `at`; 0 where they are not whole.
  @inline(__always)
  func word32(_ at: Int) -> UInt32 {
    guard at >= 0, at <= count - 4 else { return 0 }
    return unsafe UInt32(bigEndian: loadUnaligned(fromByteOffset: at, as: UInt32.self))
  }

  @inline(__always)
  func word64(_ at: Int) -> UInt64 {
    guard at >= 0, at <= count - 8 else { return 0 }
    return unsafe UInt64(bigEndian: loadUnaligned(fromByteOffset: at, as: UInt64.self))
  }

  /// The ASCII letters of `text` stand at `at`.
  func holds(_ text: StaticString, at: Int) -> Bool {
    guard at >= 0, at <= count - text.utf8CodeUnitCount else { return false }
    for index in 0..<text.utf8CodeUnitCount {
      guard unsafe self[at + index] == text.utf8Start[index] else { return false }
    }
    return true
  }
}
