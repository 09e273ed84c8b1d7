// Snapshot table entries and bitmap directory entries: genuine bytes both ways, old entries with less
// extra data and new ones with more, and entries that reach behind the table.

import QcowFormat
import TestSupport
import Testing

@Suite(.tags(.fast)) struct SnapshotTests {
  /// `snapshot -c first` and `snapshot -c "second one"` on an image of 1 MiB.
  static let table = bytes(
    """
    000000000000600000000001000100056b065d25109d30680000000000000000
    0000000000000018000000000000000000000000001000000000000000000000
    31666972737400000000000000008000000000010001000a6b065d2511e256b0
    0000000000000000000000000000001800000000000000000000000000100000
    0000000000000000327365636f6e64206f6e65
    """)

  @Test("a genuine table, both ways")
  func genuine() throws {
    let first = try SnapshotEntry(parsing: Self.table, at: 0, index: 0)
    #expect(first.id == "1" && first.name == "first" && first.l1TableOffset == 0x6000 && first.l1Size == 1)
    #expect(first.seconds == 0x6b06_5d25 && first.nanoseconds == 0x109d_3068 && first.vmClock == 0)
    #expect(first.vmStateSize == 0 && first.diskSize == 1 << 20 && first.icount == 0)
    #expect(first.extraDataSize == 24 && first.unknownExtraData.isEmpty && first.entrySize == 72)
    let second = try SnapshotEntry(parsing: Self.table, at: first.entrySize, index: 1)
    #expect(second.id == "2" && second.name == "second one" && second.l1TableOffset == 0x8000)
    #expect(SnapshotEntry.size(fixed: Array(Self.table.prefix(40))) == 72)
    #expect(try hex(first.encoded()) == hex(Self.table[0..<70]))
    #expect(try hex(second.encoded()) == hex(Self.table[72...]))
    let made = SnapshotEntry(
      l1TableOffset: 0x8000, l1Size: 1, id: "2", name: "second one", seconds: second.seconds,
      nanoseconds: second.nanoseconds, diskSize: 1 << 20)
    #expect(made == second)
  }

  /// The fixed part with a given length of extra data, then that data, the ID `7` and the name `ab`.
  private func entry(extra: [UInt8], state: String = "00000005") -> [UInt8] {
    var fixed = bytes("0000000000030000 00000002 0001 0002 00000009 00000008 0000000000000007" + state)
    BigEndian.append(UInt64(extra.count), width: 4, to: &fixed)
    return fixed + extra + Array("7ab".utf8)
  }

  @Test("extra data of every length", arguments: [0, 1, 7, 8, 15, 16, 23, 24, 25, 32, 1000, 1024])
  func extraData(_ count: Int) throws {
    let extra = (0..<count).map { UInt8(truncatingIfNeeded: $0 + 1) }
    let parsed = try SnapshotEntry(parsing: entry(extra: extra), index: 0)
    #expect(
      parsed.id == "7" && parsed.name == "ab" && parsed.seconds == 9 && parsed.nanoseconds == 8
        && parsed.vmClock == 7)
    #expect(parsed.vmStateSize == (count >= 8 ? 0x0102_0304_0506_0708 : 5))
    #expect(parsed.diskSize == (count >= 16 ? 0x090a_0b0c_0d0e_0f10 : nil))
    #expect(parsed.icount == (count >= 24 ? 0x1112_1314_1516_1718 : nil))
    #expect(parsed.unknownExtraData == Array(extra.dropFirst(24)))
    #expect(parsed.entrySize == (43 + count + 7) & ~7)
    // Written again, it has what this program knows and what it does not, and says the same.
    let again = try SnapshotEntry(parsing: parsed.encoded(), index: 0)
    #expect(again.extraDataSize == UInt32(max(24, count)))
    #expect(again.unknownExtraData == parsed.unknownExtraData && again.vmStateSize == parsed.vmStateSize)
    #expect(again.storedID == parsed.storedID && again.storedName == parsed.storedName)
    // A state that does not fit into the old field leaves it 0.
    if count >= 24 {
      #expect(try hex(parsed.encoded()) == hex(entry(extra: extra, state: "00000000")))
    }
  }

  @Test("bytes that are no text stay what they are")
  func names() throws {
    var bytes = entry(extra: [])
    bytes.replaceSubrange((bytes.count - 3)..., with: [0xff, 0xfe, 0x00])
    let parsed = try SnapshotEntry(parsing: bytes, index: 0)
    #expect(parsed.storedID == [0xff] && parsed.storedName == [0xfe, 0])
    #expect(try SnapshotEntry(parsing: parsed.encoded(), index: 0).storedName == [0xfe, 0])
  }

  @Test("entries that reach behind the table, or hold too much, are refused")
  func refused() throws {
    for count in 0..<Self.table.count {
      let cut = Array(Self.table.prefix(count))
      if count < 70 {
        #expect(
          code { _ = try SnapshotEntry(parsing: cut, at: 0, index: 0) } == .snapshotTableTooLarge,
          "\(count) bytes")
      } else {
        #expect(
          code { _ = try SnapshotEntry(parsing: cut, at: 72, index: 1) } == .snapshotTableTooLarge,
          "\(count) bytes")
      }
    }
    for at in [-1, Int.min, Int.max, 1 << 40] {
      #expect(code { _ = try SnapshotEntry(parsing: Self.table, at: at, index: 0) } == .snapshotTableTooLarge)
    }
    var large = padded(Self.table, to: 70_000)
    large.replaceSubrange(36..<40, with: bytes("00000401"))
    #expect(code { _ = try SnapshotEntry(parsing: large, index: 3) } == .snapshotExtraDataTooLarge)
    large.replaceSubrange(36..<40, with: bytes("ffffffff"))
    #expect(code { _ = try SnapshotEntry(parsing: large, index: 3) } == .snapshotExtraDataTooLarge)
    #expect(SnapshotEntry.size(fixed: Array(large.prefix(40))) == (40 + Int(UInt32.max) + 6 + 7) & ~7)
    #expect(SnapshotEntry.size(fixed: []) == 40)
    large.replaceSubrange(36..<40, with: bytes("00000000"))
    large.replaceSubrange(12..<16, with: bytes("ffffffff"))
    #expect(code { _ = try SnapshotEntry(parsing: large, index: 3) } == .snapshotTableTooLarge)
    var long = try SnapshotEntry(parsing: Self.table, index: 0)
    long.storedName = [UInt8](repeating: 1, count: 65536)
    #expect(code { _ = try long.encoded() } == .snapshotTableTooLarge)
  }

  /// The directory of two bitmaps, one of them switched off.
  static let directory = bytes(
    """
    000000000000a0000000000100000002010c0003000000006f6e650000000000
    000000000000b000000000010000000001100006000000007365636f6e640000
    """)

  @Test("a genuine bitmap directory")
  func bitmaps() throws {
    let first = try #require(BitmapDirectoryEntry(parsing: Self.directory, at: 0))
    #expect(
      first.name == "one" && first.tableOffset.value == 0xa000 && first.tableSize == 1 && first.flags == 2)
    #expect(first.type == 1 && first.granularityBits == 12 && first.entrySize == 32)
    let second = try #require(BitmapDirectoryEntry(parsing: Self.directory, at: 32))
    #expect(second.name == "second" && second.flags == 0 && second.granularityBits == 16)
    for count in 0..<62 {
      #expect(BitmapDirectoryEntry(parsing: Array(Self.directory.prefix(count)), at: 32) == nil)
    }
    for at in [-1, Int.min, Int.max, 41] {
      #expect(BitmapDirectoryEntry(parsing: Self.directory, at: at) == nil)
    }
    var damaged = Self.directory
    damaged.replaceSubrange(20..<24, with: bytes("ffffffff"))
    #expect(BitmapDirectoryEntry(parsing: damaged, at: 0) == nil)
  }

  @Test("random tables give entries or errors", arguments: 0..<8)
  func hostile(_ seed: Int) {
    var random = SplitMix64(seed: UInt64(seed))
    for _ in 0..<2000 {
      var table = padded(Self.table, to: 200)
      for _ in 0..<(1 + random.below(6)) {
        table[Int(random.below(90))] = UInt8(truncatingIfNeeded: random.next())
      }
      table.removeLast(Int(random.below(120)))
      let at = Int(random.below(80))
      if let entry = try? SnapshotEntry(parsing: table, at: at, index: 0) {
        #expect(entry.entrySize >= 40 && entry.entrySize <= table.count - at + 7, "seed \(seed)")
        #expect((try? entry.encoded()) != nil)
      }
      _ = BitmapDirectoryEntry(parsing: table, at: at)
    }
  }
}
