// The snapshot table in a check: read here and not at the open, so that its damage is a finding.

import Glibc
import QcowFormat

/// Reads the snapshot table of an image and tells what is wrong with it.
struct SnapshotTableCheck {
  let image: CheckedImage
  let reader: CheckReader
  let log: CheckLog

  /// What was read.
  struct Table {
    var entries: [SnapshotEntry] = []
    /// Bytes up to the end of the last name.
    var size: ByteCount = 0
  }

  /// A table that cannot be read ends the check.
  func read() throws(CheckStop) -> Table {
    let header = image.header
    do throws(FormatError) {
      try header.checkSnapshotTable()
    } catch {
      if error.code == .snapshotTableTooLarge {
        try log.tell(
          CheckFinding(.snapshotTableTooLarge(count: header.snapshotCount), at: HostOffset(60), .header))
        throw CheckStop(EFBIG)
      }
      try log.tell(CheckFinding(.snapshotTableMisplaced, at: HostOffset(64), .header))
      throw CheckStop(EINVAL)
    }
    let start = HostOffset(header.snapshotsOffset)
    let table = try entries(from: start, count: Int(header.snapshotCount))
    guard header.version >= 3 else { return table }
    var offset = start
    for (index, entry) in table.entries.enumerated() {
      if entry.extraDataSize < 16 {
        try log.tell(CheckFinding(.snapshotIncomplete(index: index), at: offset, .snapshotEntry(index)))
      }
      offset = offset + UInt64(entry.entrySize)
    }
    return table
  }

  private func entries(from start: HostOffset, count: Int) throws(CheckStop) -> Table {
    var table = Table()
    var offset = start
    // Files end before they are addressed so far; the entries behind the end of one are zeroes.
    for index in 0..<count {
      offset = HostOffset((offset.value + 7) & ~7)
      let fixed = try bytes(at: offset, SnapshotEntry.fixedSize)
      let extra = UInt64(BigEndian.u32(fixed, 36))
      guard extra <= UInt64(SnapshotEntry.maximumExtraData) else {
        try log.tell(
          CheckFinding(.snapshotExtraDataTooLarge(index: index), at: offset + 36, .snapshotEntry(index)))
        throw CheckStop(EFBIG)
      }
      let bytes = try bytes(at: offset, SnapshotEntry.size(fixed: fixed))
      let entry: SnapshotEntry
      do throws(FormatError) { entry = try SnapshotEntry(parsing: bytes, index: index) } catch {
        throw CheckStop(EINVAL)
      }
      table.entries.append(entry)
      let names = UInt64(BigEndian.u16(fixed, 12)) + UInt64(BigEndian.u16(fixed, 14))
      offset = offset + (UInt64(SnapshotEntry.fixedSize) + extra + names)
      guard offset - start <= UInt64(SnapshotEntry.maximumTableSize) else {
        try log.tell(CheckFinding(.snapshotTableTooLong, at: start, .snapshotTable))
        throw CheckStop(EFBIG)
      }
    }
    table.size = ByteCount(offset - start)
    return table
  }

  private func bytes(at offset: HostOffset, _ count: Int) throws(CheckStop) -> [UInt8] {
    do throws(CheckStop) {
      return unsafe [UInt8](try reader.bytes(at: offset, count: count))
    } catch {
      try log.tell(CheckFinding(.snapshotTableUnreadable(error: error.error), at: offset, .snapshotTable))
      throw error
    }
  }
}
