// The snapshot table in a check: read here and not at the open, so that its damage is a finding.

import Glibc
import QcowFormat

extension ImageCheck {
  /// Reads the table; a table that cannot be read ends the check.
  func readSnapshotTable() throws(CheckStop) {
    do throws(FormatError) {
      try header.checkSnapshotTable()
    } catch {
      if error.code == .snapshotTableTooLarge {
        try tell(CheckFinding(.snapshotTableTooLarge(count: header.snapshotCount), at: 60, .header))
        throw CheckStop(EFBIG)
      }
      try tell(CheckFinding(.snapshotTableMisplaced, at: 64, .header))
      throw CheckStop(EINVAL)
    }
    do throws(CheckStop) {
      try readSnapshotEntries()
    } catch {
      snapshots = []
      snapshotTableSize = 0
      throw error
    }
    guard header.version >= 3 else { return }
    var offset = header.snapshotsOffset
    for (index, entry) in snapshots.enumerated() {
      if entry.extraDataSize < 16 {
        try tell(CheckFinding(.snapshotIncomplete(index: index), at: offset, .snapshotEntry(index)))
      }
      offset += UInt64(entry.entrySize)
    }
  }

  private func readSnapshotEntries() throws(CheckStop) {
    let start = header.snapshotsOffset
    var offset = start
    // Files end before they are addressed so far; the entries behind the end of one are zeroes.
    for index in 0..<Int(header.snapshotCount) {
      offset = (offset + 7) & ~7
      let fixed = try snapshotBytes(offset, SnapshotEntry.fixedSize)
      let extra = UInt64(BigEndian.u32(fixed, 36))
      guard extra <= UInt64(SnapshotEntry.maximumExtraData) else {
        try tell(
          CheckFinding(.snapshotExtraDataTooLarge(index: index), at: offset + 36, .snapshotEntry(index)))
        throw CheckStop(EFBIG)
      }
      let bytes = try snapshotBytes(offset, SnapshotEntry.size(fixed: fixed))
      let entry: SnapshotEntry
      do throws(FormatError) { entry = try SnapshotEntry(parsing: bytes, index: index) } catch {
        throw CheckStop(EINVAL)
      }
      snapshots.append(entry)
      offset +=
        UInt64(SnapshotEntry.fixedSize) + extra + UInt64(BigEndian.u16(fixed, 12))
        + UInt64(BigEndian.u16(fixed, 14))
      guard offset - start <= UInt64(SnapshotEntry.maximumTableSize) else {
        try tell(CheckFinding(.snapshotTableTooLong, at: start, .snapshotTable))
        throw CheckStop(EFBIG)
      }
    }
    snapshotTableSize = offset - start
  }

  private func snapshotBytes(_ offset: UInt64, _ count: Int) throws(CheckStop) -> [UInt8] {
    do throws(CheckStop) {
      return unsafe [UInt8](try reader.bytes(at: offset, count: count))
    } catch {
      try tell(CheckFinding(.snapshotTableUnreadable(error: error.error), at: offset, .snapshotTable))
      throw error
    }
  }
}
