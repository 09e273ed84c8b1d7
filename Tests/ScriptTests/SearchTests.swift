// Searching by bytes, by text and by the names of owners, marks, labels and partition tables.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct SearchTests {
  /// A disk with some bytes at known places.
  private func session(_ writes: [(UInt64, [UInt8])], files: MemoryFiles = MemoryFiles()) throws -> Session {
    let session = try Demo.session(files: files)
    for (offset, bytes) in writes {
      try session.run(Request(.write(pattern: 0), at: offset, length: UInt64(bytes.count)))
      for (index, byte) in bytes.enumerated() where byte != 0 {
        try session.run(Request(.write(pattern: byte), at: offset + UInt64(index), length: 1))
      }
    }
    return session
  }

  private func explorer(_ session: Session, files: MemoryFiles = MemoryFiles()) -> Explorer {
    let explorer = Explorer(session, files: files, width: 120, height: 40, glyphs: .ascii)
    settle(explorer)
    return explorer
  }

  private func expectError(_ script: String, _ explorer: Explorer, _ words: String) {
    do {
      try ScriptRunner.run(script, on: explorer)
      Issue.record("no error")
    } catch { #expect(error.message.contains(words), "\(error)") }
  }

  @Test func patterns() throws {
    #expect(try BytePattern("x 51 46 49fb")?.bytes == [0x51, 0x46, 0x49, 0xfb])
    #expect(try BytePattern("\"text")?.bytes == Array("text".utf8))
    #expect(try BytePattern("\"text\"")?.bytes == Array("text".utf8))
    #expect(try BytePattern("data") == nil && BytePattern("x") == nil)
    for wrong in ["x 5", "x zz", "x ", "\"", "x " + String(repeating: "00", count: 257)] {
      #expect(throws: CommandError.self) { _ = try BytePattern(wrong) }
    }
  }

  /// The search finds what a look at every byte finds, over holes, zeroes and the ends of pieces.
  @Test func bytesOfAFile() throws {
    var random = SplitMix64(seed: 3)
    let storage = MemoryStorage(name: "file")
    try storage.truncate(to: 2 << 20, tag: WriteTag(.file, .repair))
    for _ in 0..<60 {
      let place = random.below(2 << 20 - 8)
      try storage.write((0..<8).map { _ in UInt8(random.below(3)) }, at: place)
    }
    // Across the end of a piece.
    try storage.write([1, 2, 1, 2, 2], at: 1 << 20 - 2)
    let bytes = try storage.contents()
    for pattern in [[1, 2, 1], [1, 0, 0], [0, 1], [0, 0], [2, 2, 2, 2, 2, 2]] as [[UInt8]] {
      let places = (0...bytes.count - pattern.count).filter { bytes[$0] == pattern[0] }.filter { place in
        pattern.indices.allSatisfy { bytes[place + $0] == pattern[$0] }
      }.map { UInt64($0) }
      let sought = try #require(
        try BytePattern("x " + pattern.map { "0" + String($0, radix: 16) }.joined()))
      for start in [0, 1 << 20 - 3, UInt64(bytes.count - 1)] as [UInt64] {
        var search = ByteSearch(sought, in: SearchedBytes(storage))
        let next = places.first { $0 > start }
        let forward = search.next(from: start, forward: true) { _ in false }
        let before = places.last { $0 < start }
        let backward = search.next(from: start, forward: false) { _ in false }
        #expect(forward == outcome(next, places.first), "\(pattern) from \(start)")
        #expect(backward == outcome(before, places.last), "\(pattern) back from \(start)")
      }
    }
  }

  private func outcome(_ place: UInt64?, _ round: UInt64?) -> ByteSearch.Outcome {
    if let place { return .found(place, wrapped: false) }
    return round.map { .found($0, wrapped: true) } ?? .none
  }

  @Test func bytesOfTheDisk() throws {
    let explorer = explorer(try session([(30 << 20 + 0xfffe, Array("needle".utf8))]))
    try ScriptRunner.run("1\n/\ntype \"needle\nEnter", on: explorer)
    #expect(explorer.cursor.guest == 30 << 20 + 0xfffe && explorer.cursor.side == .guest)
    try ScriptRunner.run("n", on: explorer)
    #expect(explorer.cursor.guest == 30 << 20 + 0xfffe)
    try ScriptRunner.run("g\n/\ntype x 03030304\nEsc", on: explorer)
    expectError(":search x 9999", explorer, "was not found on the disk as it is now; the cursor stays")
    #expect(explorer.cursor.guest == 0)
    try ScriptRunner.run("2\n/\ntype x 514649fb\nEnter", on: explorer)
    #expect(explorer.cursor.host == 0 && explorer.cursor.side == .host)
    try ScriptRunner.run("p\n/\ntype \"needle\nEnter", on: explorer)
    #expect(explorer.screen == .hex && explorer.hexOffset > 0)
  }

  @Test func givenUp() throws {
    let files = MemoryFiles()
    let explorer = explorer(try session([], files: files), files: files)
    try ScriptRunner.run("1\n:goto 3M", on: explorer)
    files.cancelAfter = 0
    do {
      try ScriptRunner.run(":search x 00000001", on: explorer)
    } catch { #expect(error.message.contains("given up") || error.message.contains("not found")) }
    #expect(explorer.cursor.guest == 3 << 20)
  }

  @Test func owners() throws {
    let session = try session([])
    try session.run(try ChangeParser.parse(CreateSnapshot.self, ["base"]))
    try session.run(Request(.write(pattern: 9), at: 1 << 20, length: 65536))
    let explorer = explorer(session)
    let bits = UInt64(session.geometry.clusterBits)
    for (words, text) in [("refcount block", "refcount block"), ("snapshot base", "snapshot \"base\"")] {
      try ScriptRunner.run(":goto host 0\n2\n/\ntype \(words)\nEnter", on: explorer)
      let owners = session.owners.owners(of: HostCluster(explorer.cursor.host >> bits)).owners
      #expect(owners.contains { $0.text(snapshots: session.image.snapshots).contains(text) }, "\(words)")
    }
    let before = explorer.cursor
    expectError("/\ntype snapshot nowhere\nEnter", explorer, "is no address and no state")
    #expect(explorer.cursor == before)
  }

  @Test func marks() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(":goto 5M\nm a\n:goto 40M\np\n' a", on: explorer)
    #expect(explorer.screen == .explorer && explorer.cursor.guest == 5 << 20)
    try ScriptRunner.run("' '", on: explorer)
    #expect(explorer.screen == .hex)
    try ScriptRunner.run("' '", on: explorer)
    #expect(explorer.screen == .explorer && explorer.cursor.guest == 5 << 20)
    expectError("' z", explorer, "no place is marked as z")
    expectError("m 1", explorer, "marks are letters")
    try ScriptRunner.run("m Esc", on: explorer)
    #expect(!explorer.isInDialog)
  }

  @Test func labelLines() throws {
    let labels = try GuestLabels(
      parsing: "# disk\n\n0x100000-0x1fffff root of it\r\n2M+64k  swap\n0+1G all\n")
    #expect(
      labels.list == [
        GuestLabel(0..<1 << 30, "all"), GuestLabel(1 << 20..<2 << 20, "root of it"),
        GuestLabel(2 << 20..<2 << 20 + 65536, "swap"),
      ])
    #expect(labels.labels(at: 1 << 20).map(\.name) == ["all", "root of it"])
    for (wrong, line) in [("1M-2M", 1), ("a-b c", 1), ("1-1 x\n5-4 y", 2), ("1+0 x", 1), ("-5 x", 1)] {
      do throws(CommandError) {
        _ = try GuestLabels(parsing: wrong)
        Issue.record("'\(wrong)' was taken")
      } catch { #expect(error.description.hasPrefix("line \(line): "), "\(error)") }
    }
  }

  @Test func labelsAreShownAndFound() throws {
    let explorer = try demoExplorer()
    explorer.show(labels: try GuestLabels(parsing: "1M+1M boot\u{1b}[2J"))
    try ScriptRunner.run(":goto 1M", on: explorer)
    let text = explorer.canvas().text()
    #expect(text.contains("1 Guest map: boot") && text.contains("guest 0x100000 to 0x1fffff"))
    #expect(!text.contains("\u{1b}"))
    try ScriptRunner.run(":goto 40M\n/\ntype boot\nEnter", on: explorer)
    #expect(explorer.cursor.guest == 1 << 20)
  }

  // MARK: Partition tables

  private func put(_ value: UInt64, _ at: Int, _ width: Int, _ bytes: inout [UInt8]) {
    for index in 0..<width { bytes[at + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index)) }
  }

  private func labels(_ disk: [UInt8], size: UInt64? = nil) -> [GuestLabel] {
    PartitionTable.labels(size: size ?? UInt64(disk.count)) { offset, count in
      offset + UInt64(count) <= UInt64(disk.count) ? Array(disk[Int(offset)..<Int(offset) + count]) : nil
    }
  }

  private func master(
    _ entries: [(type: UInt64, start: UInt64, count: UInt64)], _ at: Int, _ disk: inout [UInt8]
  ) {
    for (index, entry) in entries.enumerated() {
      put(entry.type, at + 446 + 16 * index + 4, 1, &disk)
      put(entry.start, at + 446 + 16 * index + 8, 4, &disk)
      put(entry.count, at + 446 + 16 * index + 12, 4, &disk)
    }
    put(0xaa55, at + 510, 2, &disk)
  }

  @Test func masterBootRecord() {
    var disk = [UInt8](repeating: 0, count: 1 << 20)
    master([(0x83, 64, 100), (5, 200, 1000), (0, 0, 0)], 0, &disk)
    master([(0x83, 8, 50), (5, 300, 400)], 200 * 512, &disk)
    // It names itself: the chain ends.
    master([(0x82, 8, 20), (5, 300, 400)], 500 * 512, &disk)
    #expect(
      labels(disk) == [
        GuestLabel(64 * 512..<164 * 512, "partition 1"), GuestLabel(200 * 512..<1200 * 512, "partition 2"),
        GuestLabel(208 * 512..<258 * 512, "partition 5"), GuestLabel(508 * 512..<528 * 512, "partition 6"),
      ])
    // A boot sector of a file system ends like a table.
    disk[446] = 0x33
    #expect(labels(disk).isEmpty)
  }

  private func guidDisk() -> [UInt8] {
    var disk = [UInt8](repeating: 0, count: 1 << 20)
    master([(0xee, 1, 2047)], 0, &disk)
    let entries = 1024
    for (index, name) in ["EFI", "root"].enumerated() {
      let at = entries + 128 * index
      disk[at] = 1
      put(UInt64(64 + 100 * index), at + 32, 8, &disk)
      put(UInt64(163 + 100 * index), at + 40, 8, &disk)
      for (place, unit) in name.utf16.enumerated() { put(UInt64(unit), at + 56 + 2 * place, 2, &disk) }
    }
    disk.replaceSubrange(512..<520, with: Array("EFI PART".utf8))
    put(92, 512 + 12, 4, &disk)
    put(1, 512 + 24, 8, &disk)
    put(2, 512 + 72, 8, &disk)
    put(128, 512 + 80, 4, &disk)
    put(128, 512 + 84, 4, &disk)
    put(checksum(disk[entries..<entries + 128 * 128]), 512 + 88, 4, &disk)
    put(checksum(disk[512..<604]), 512 + 16, 4, &disk)
    return disk
  }

  private func checksum(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    var crc: UInt32 = .max
    for byte in bytes {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xedb8_8320 : crc >> 1 }
    }
    return UInt64(~crc)
  }

  @Test func guidTable() {
    let disk = guidDisk()
    #expect(
      labels(disk) == [
        GuestLabel(64 * 512..<164 * 512, "partition 1 'EFI'"),
        GuestLabel(164 * 512..<264 * 512, "partition 2 'root'"),
      ])
    // One bit is enough for nothing to be believed.
    for place in [512 + 30, 1024 + 33, 1024 + 128 * 100] {
      var damaged = disk
      damaged[place] ^= 1
      #expect(labels(damaged).isEmpty, "\(place)")
    }
  }

  /// Whatever the guest wrote there: no trap, and every label lies on the disk.
  @Test func hostilePartitionTables() {
    var random = SplitMix64(seed: 9)
    let sound = guidDisk()
    for round in 0..<400 {
      var disk = round % 2 == 0 ? sound : [UInt8](repeating: 0, count: 64 << 10)
      if round % 2 == 1 {
        master((0..<4).map { _ in (random.below(16), random.next(), random.next()) }, 0, &disk)
      }
      for _ in 0..<random.below(6) {
        disk[Int(random.below(2048))] = UInt8(truncatingIfNeeded: random.next())
      }
      let size = random.below(UInt64(disk.count)) + 1
      for label in labels(disk, size: size) {
        #expect(label.range.upperBound <= size && !label.range.isEmpty)
      }
    }
  }
}
