// An entry of the snapshot table: a name, a time, an L1 table of its own, and extra data that
// grew over the years.

import Storage

/// One internal snapshot ("Snapshot table").
public struct SnapshotEntry: Equatable, Sendable {
  /// Where its L1 table begins.
  package var l1TableOffset: UInt64
  /// Entries of its L1 table.
  package var l1Size: UInt32
  /// The bytes of its ID and name, which nothing forces to be text.
  package var storedID: [UInt8]
  /// The bytes of its name.
  package var storedName: [UInt8]
  /// Seconds since 1970 when it was taken.
  public package(set) var seconds: UInt32
  /// Nanoseconds behind ``seconds``, 0 to 999999999 in a sound image.
  public package(set) var nanoseconds: UInt32
  /// Nanoseconds the guest had run.
  public package(set) var vmClock: UInt64
  /// Bytes of saved machine state; 0 if there is none.
  public package(set) var vmStateSize: UInt64
  /// Virtual size when the snapshot was taken; nil in old images.
  public package(set) var diskSize: UInt64?
  /// Instructions the guest had run; nil where it is not stored.
  package var icount: UInt64?
  /// Length of the extra data as stored.
  package var extraDataSize: UInt32
  /// Extra data behind the 24 bytes that are known, kept as it is.
  package var unknownExtraData: [UInt8] = []
  /// Bytes of the whole entry, padding to the next one included.
  package var entrySize: Int

  /// Bytes of the fixed part.
  package static let fixedSize = 40
  /// More extra data is refused.
  package static let maximumExtraData = 1024
  /// More snapshots are refused.
  package static let maximumCount = 65536
  /// The longest table that is read.
  package static let maximumTableSize = 64 << 20

  /// Bytes of the entry that starts with `fixed` (40 bytes or more), padding included.
  package static func size(fixed: [UInt8]) -> Int {
    let id = Int(BigEndian.u16(fixed, 12))
    let name = Int(BigEndian.u16(fixed, 14))
    return (fixedSize + Int(BigEndian.u32(fixed, 36)) + id + name + 7) & ~7
  }

  /// Reads the entry at `at`; `index` is for the message.
  ///
  /// - Throws: ``FormatError`` for an entry that reaches behind `bytes` or has too much extra data.
  package init(parsing bytes: [UInt8], at: Int = 0, index: Int) throws(FormatError) {
    guard at >= 0, at <= bytes.count - Self.fixedSize else {
      throw FormatError(.snapshotTableTooLarge, "Snapshot table is too big")
    }
    extraDataSize = BigEndian.u32(bytes, at + 36)
    guard extraDataSize <= Self.maximumExtraData else {
      throw FormatError(
        .snapshotExtraDataTooLarge, "Too much extra metadata in snapshot table entry \(index)")
    }
    let extra = at + Self.fixedSize
    let idStart = extra + Int(extraDataSize)
    let nameStart = idStart + Int(BigEndian.u16(bytes, at + 12))
    let end = nameStart + Int(BigEndian.u16(bytes, at + 14))
    guard end <= bytes.count else {
      throw FormatError(.snapshotTableTooLarge, "Snapshot table is too big")
    }
    l1TableOffset = BigEndian.u64(bytes, at)
    l1Size = BigEndian.u32(bytes, at + 8)
    seconds = BigEndian.u32(bytes, at + 16)
    nanoseconds = BigEndian.u32(bytes, at + 20)
    vmClock = BigEndian.u64(bytes, at + 24)
    vmStateSize = extraDataSize >= 8 ? BigEndian.u64(bytes, extra) : UInt64(BigEndian.u32(bytes, at + 32))
    diskSize = extraDataSize >= 16 ? BigEndian.u64(bytes, extra + 8) : nil
    icount = extraDataSize >= 24 ? BigEndian.u64(bytes, extra + 16) : nil
    if extraDataSize > 24 { unknownExtraData = Array(bytes[(extra + 24)..<idStart]) }
    storedID = Array(bytes[idStart..<nameStart])
    storedName = Array(bytes[nameStart..<end])
    entrySize = (end - at + 7) & ~7
  }
}

extension SnapshotEntry {
  /// Its ID as text that keeps every byte.
  public var id: String { ByteText.text(storedID) }
  /// Its name as text that keeps every byte.
  public var name: String { ByteText.text(storedName) }

  /// A snapshot taken now, without machine state.
  package init(
    l1TableOffset: UInt64, l1Size: UInt32, id: String, name: String, seconds: UInt32, nanoseconds: UInt32,
    diskSize: UInt64
  ) {
    self.l1TableOffset = l1TableOffset
    self.l1Size = l1Size
    storedID = ByteText.bytes(id)
    storedName = ByteText.bytes(name)
    self.seconds = seconds
    self.nanoseconds = nanoseconds
    self.diskSize = diskSize
    vmClock = 0
    vmStateSize = 0
    icount = 0
    extraDataSize = 24
    entrySize = 0
    entrySize = (storedSize + 7) & ~7
  }

  /// Bytes of the entry without padding, as it was read.
  package var sizeInFile: Int {
    Self.fixedSize + Int(extraDataSize) + storedID.count + storedName.count
  }

  /// Bytes of the entry without padding, with extra data of at least 24 bytes, as it is written.
  package var storedSize: Int {
    Self.fixedSize + max(24, Int(extraDataSize)) + storedID.count + storedName.count
  }

  /// The entry as it is written, without padding.
  ///
  /// - Throws: ``FormatError`` for an ID or a name of more than 65535 bytes.
  package func encoded() throws(FormatError) -> [UInt8] {
    guard storedID.count <= 65535, storedName.count <= 65535 else {
      throw FormatError(.snapshotTableTooLarge, "a snapshot's ID and name have at most 65535 bytes each")
    }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(storedSize)
    BigEndian.append(l1TableOffset, width: 8, to: &bytes)
    BigEndian.append(UInt64(l1Size), width: 4, to: &bytes)
    BigEndian.append(UInt64(storedID.count), width: 2, to: &bytes)
    BigEndian.append(UInt64(storedName.count), width: 2, to: &bytes)
    BigEndian.append(UInt64(seconds), width: 4, to: &bytes)
    BigEndian.append(UInt64(nanoseconds), width: 4, to: &bytes)
    BigEndian.append(vmClock, width: 8, to: &bytes)
    // The old field holds the size where it fits.
    BigEndian.append(vmStateSize <= UInt64(UInt32.max) ? vmStateSize : 0, width: 4, to: &bytes)
    BigEndian.append(UInt64(24 + unknownExtraData.count), width: 4, to: &bytes)
    BigEndian.append(vmStateSize, width: 8, to: &bytes)
    BigEndian.append(diskSize ?? 0, width: 8, to: &bytes)
    BigEndian.append(icount ?? 0, width: 8, to: &bytes)
    return bytes + unknownExtraData + storedID + storedName
  }
}

extension [SnapshotEntry] {
  /// The place of the first one with that ID or, if none has it, with that name; nil if there is neither.
  package func index(idOrName word: String) -> Int? { index(id: word) ?? index(name: word) }

  /// The place of the first one with that ID and that name, as far as they are given. Names are bytes.
  package func index(id: String? = nil, name: String? = nil) -> Int? {
    let bytes = name.map { ByteText.bytes($0) }
    return firstIndex { (id == nil || $0.id == id) && (bytes == nil || $0.storedName == bytes) }
  }
}
