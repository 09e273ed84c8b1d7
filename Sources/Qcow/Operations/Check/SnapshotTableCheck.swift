// The snapshot table in a check: read here and not at the open, so that its damage is a finding. A repair takes
// what is too much in it upon itself; then it is cut off here, and the repair writes what is left.

import Glibc
import QcowFormat

/// Reads the snapshot table of an image and tells what is wrong with it, unless a repair sets it right
/// (``CheckLog/mend(_:)``).
struct SnapshotTableCheck {
  let image: CheckedImage
  let reader: CheckReader
  let log: CheckLog

  private var start: HostOffset { HostOffset(image.header.snapshotsOffset) }

  /// A table that cannot be read ends the check.
  func read() throws(CheckStop) -> SnapshotTable {
    let count = try count()
    do throws(FormatError) {
      var header = image.header
      header.snapshotCount = UInt32(count)
      try header.checkSnapshotTable()
    } catch {
      try log.tell(CheckFinding(.snapshotTableMisplaced, at: HostOffset(64), .header))
      throw CheckStop(EINVAL)
    }
    let table = try entries(count)
    guard image.header.version >= 3 else { return table }
    var offset = start
    for (index, entry) in table.entries.enumerated() {
      if entry.extraDataSize < 16 {
        let finding = CheckFinding(.snapshotIncomplete(index: index), at: offset, .snapshotEntry(index))
        if !log.mend(finding) { try log.tell(finding) }
      }
      offset = offset + UInt64(entry.entrySize)
    }
    return table
  }

  /// How many entries are to be read.
  private func count() throws(CheckStop) -> Int {
    let count = image.header.snapshotCount
    guard count > UInt32(SnapshotEntry.maximumCount) else { return Int(count) }
    // There is no table but the header.
    let all = CheckFinding(.snapshotTableTooLong(left: Int(count)), at: HostOffset(60), .header)
    if start.value == 0 && log.mend(all) { return 0 }
    try cut(CheckFinding(.snapshotTableTooLarge(count: count), at: HostOffset(60), .header))
    return SnapshotEntry.maximumCount
  }

  /// Returns if a repair cuts off what is too much; else tells it and ends the check.
  private func cut(_ finding: CheckFinding) throws(CheckStop) {
    guard !log.mend(finding) else { return }
    try log.tell(finding)
    throw CheckStop(EFBIG)
  }

  private func entries(_ count: Int) throws(CheckStop) -> SnapshotTable {
    var table = SnapshotTable()
    var offset = start
    // Bytes of the table as it would be written.
    var size: UInt64 = 0
    // Files end before they are addressed so far; the entries behind the end of one are zeroes.
    for index in 0..<count {
      offset = HostOffset((offset.value + 7) & ~7)
      size = (size + 7) & ~7
      var fixed = try bytes(at: offset, SnapshotEntry.fixedSize)
      let extra = BigEndian.u32(fixed, 36)
      let names = Int(BigEndian.u16(fixed, 12)) + Int(BigEndian.u16(fixed, 14))
      let behind = offset + UInt64(SnapshotEntry.fixedSize) + UInt64(extra)
      let isCut = extra > UInt32(SnapshotEntry.maximumExtraData)
      if isCut {
        try cut(
          CheckFinding(
            .snapshotExtraDataTooLarge(index: index, size: extra), at: offset + 36, .snapshotEntry(index)))
        fixed.replaceSubrange(36..<40, with: [0, 0, UInt8(SnapshotEntry.maximumExtraData >> 8), 0])
      }
      let kept = min(Int(extra), SnapshotEntry.maximumExtraData)
      var rest = try bytes(at: offset + UInt64(SnapshotEntry.fixedSize), kept)
      rest += try bytes(at: behind, names)
      var entry: SnapshotEntry
      do throws(FormatError) { entry = try SnapshotEntry(parsing: fixed + rest, index: index) } catch {
        throw CheckStop(EINVAL)
      }
      let end = behind + UInt64(names)
      size += UInt64(entry.sizeInFile)
      guard size <= UInt64(SnapshotEntry.maximumTableSize), end - start <= UInt64(Int32.max) else {
        try cut(CheckFinding(.snapshotTableTooLong(left: count - index), at: start, .snapshotTable))
        return table
      }
      // The next entry lies where it does in the file.
      entry.entrySize = Int(((end.value + 7) & ~7) - offset.value)
      offset = end
      table.entries.append(entry)
      table.size = ByteCount(end - start)
      // A length that was nonsense reaches beyond the file; what is there is not the table's.
      if isCut { table.size = min(table.size, ByteCount(max(start, image.fileEnd) - start)) }
    }
    return table
  }

  private func bytes(at offset: HostOffset, _ count: Int) throws(CheckStop) -> [UInt8] {
    guard count > 0 else { return [] }
    do throws(CheckStop) {
      return unsafe [UInt8](try reader.bytes(at: offset, count: count))
    } catch {
      try log.tell(CheckFinding(.snapshotTableUnreadable(error: error.error), at: offset, .snapshotTable))
      throw error
    }
  }
}
