// The image of the design's own pictures: what they show must come out word for word.

import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@testable import Cartography

/// The image of the pictures and the stories of its six operations.
struct Mockup {
  let bench: Workbench
  var stories: [Narration] = []
  var operations: [StorageOperation] = []

  init() throws {
    bench = try Workbench(Recipe(size: 64 << 20, clusterSize: 65536, extended: true))
    try run { try $0.write(pattern: 1, at: 0, count: 4 << 10) }
    try run { try $0.write(pattern: 2, at: 1 << 20, count: 200 << 10) }
    try run { try $0.writeZeroes(at: GuestOffset(2 << 20), count: ByteCount(8 << 10), mayUnmap: false) }
    try run { try $0.write(pattern: 3, at: 5 << 20, count: 64 << 10) }
    try run { try $0.discard(at: GuestOffset(5 << 20), count: ByteCount(64 << 10)) }
    try run { try $0.write(pattern: 4, at: 40 << 20, count: 130 << 10) }
  }

  private mutating func run(_ body: (Image) throws -> Void) throws {
    bench.overlay.begin("op")
    try body(bench.image)
    try bench.image.flush()
    let operation = try #require(bench.overlay.commit())
    operations.append(operation)
    stories.append(Narration(operation, geometry: bench.image.geometry))
  }
}

extension Image {
  func write(pattern: UInt8, at offset: UInt64, count: Int) throws {
    try [UInt8](repeating: pattern, count: count).withUnsafeBytes { try write($0, at: GuestOffset(offset)) }
  }
}

@Suite(.tags(.fast)) struct MockupTests {
  @Test func maps() throws {
    let atlas = Atlas(try Mockup().bench.image)
    atlas.finish()
    let totals = atlas.totals
    #expect(totals.fileLength == 788480 && totals.fileClusters == 13)
    #expect(
      Notation.compact(totals.guestData) == "334K" && Notation.compact(totals.dataClusterBytes) == "512K")
    #expect(Notation.compact(totals.metadata) == "320K")
    #expect(totals.host[.data] == 8 && totals.freeClusters == 0 && totals.leaked == 0 && totals.wrong == 0)
    let host = atlas.hostCells(first: 0, cellClustersLog2: 0, count: 14)
    #expect(
      host.map(\.state) == [.header, .refcountTable, .refcountBlock, .l1Table, .l2Table]
        + [HostState](repeating: .data, count: 8) + [.pastEnd])
    let row = atlas.guestCells(first: 16, cellClustersLog2: 0, count: 17)
    #expect(row.prefix(4).allSatisfy { $0.state == .data && !$0.hasMinority })
    #expect(row.map(\.fill) == [1, 1, 1, 0.125] + [Float](repeating: 0, count: 13))
    #expect(row[16].state == .zero && row[4].state == .none)
    let fine = atlas.guestCells(first: 19 * 32, cellClustersLog2: -5, count: 33)
    #expect(fine.map(\.state) == [.data, .data, .data, .data] + [GuestState](repeating: .none, count: 29))
    let pairs = atlas.guestCells(first: 19 * 8, cellClustersLog2: -3, count: 2)
    #expect(pairs.map(\.fill) == [1, 0])
    #expect(atlas.nextGuest(.zero, from: 0, forward: true) == 32)
    #expect(atlas.nextGuest(.data, from: 1000, forward: false) == 642)
    #expect(atlas.nextHost(.l2Table, from: 12, forward: false) == 4)
    #expect(atlas.nextHost(.leaked, from: 0, forward: true) == nil)
  }

  @Test func whereIsIt() throws {
    let atlas = Atlas(try Mockup().bench.image)
    atlas.finish()
    let place = Place.guest(GuestOffset(0x100000), in: atlas)
    #expect(place.cluster == GuestCluster(16) && place.state == .data)
    #expect(place.l1?.index == 0 && place.l1?.address == HostOffset(0x30000) && place.l1?.targetRefcount == 1)
    #expect(place.l1?.entry.raw == 0x8000_0000_0004_0000)
    #expect(
      place.l2?.index == 16 && place.l2?.address == HostOffset(0x40100) && place.l2?.targetRefcount == 1)
    #expect(
      place.l2?.entry
        == L2Entry(descriptor: 0x8000_0000_0006_0000, bitmap: SubclusterBitmap(allocated: .max, zero: 0)))
    #expect(place.bitmapAddress == HostOffset(0x40108))
    #expect(place.hostRange == HostOffset(0x60000)..<HostOffset(0x70000))
    #expect(place.next == .inOrder(HostOffset(0x70000)))
    #expect(place.bytes == [UInt8](repeating: 2, count: 16))
    let back = Place.host(HostOffset(0x60010), in: Owners(atlas))
    #expect(back.guest == GuestOffset(0x100010) && back.hostState == .data && back.refcount == 1)
    #expect(back.owners.map { $0.text(snapshots: []) } == ["L2[16] of the L2 table at 0x40000"])
    let empty = Place.guest(GuestOffset(0x110000 + 4 << 20), in: atlas)
    #expect(empty.host == nil && empty.bytes.isEmpty && empty.problem == nil)
    #expect(Place.guest(GuestOffset(64 << 20), in: atlas).problem == "the disk ends at 0x4000000")
  }

  @Test func rowsOfTheTable() throws {
    let atlas = Atlas(try Mockup().bench.image)
    let view = try L2View(atlas, l1Index: 0)
    #expect(view.usedCount == 10 && view.entryCount == 4096 && view.entriesOnDisk == 1024)
    let texts = (0..<view.rowCount).compactMap { number -> String? in
      guard let row = view.row(number) else { return nil }
      guard case .entry(let entry) = row else { return "* " + view.text(of: row) }
      let host = entry.host.map { Notation.hex($0.value, width: 6) } ?? "-"
      return
        "\(entry.index) \(host) \(entry.flags) \(entry.allocatedCount) \(entry.zeroCount) \(entry.meaning)"
    }
    let none = "entries, not allocated (no backing file, so the guest reads zeroes)"
    #expect(
      texts == [
        "0 050000 C.. 2 0 partly data", "* 15 \(none)", "16 060000 C.. 32 0 data", "17 070000 C.. 32 0 data",
        "18 080000 C.. 32 0 data", "19 090000 C.. 4 0 partly data", "* 12 \(none)",
        "32 - ... 0 4 partly zero",
        "* 47 \(none)", "80 - ... 0 32 zero", "* 559 \(none)", "640 0a0000 C.. 32 0 data",
        "641 0b0000 C.. 32 0 data",
        "642 0c0000 C.. 1 0 partly data", "* 381 \(none)", "* 3072 entries past the end of the virtual disk",
      ])
    for number in 0..<view.rowCount {
      switch view.row(number) {
      case .entry(let entry): #expect(view.rowNumber(ofEntry: entry.index) == number)
      case .unused(let first, let count), .pastEnd(let first, let count):
        #expect(
          view.rowNumber(ofEntry: first) == number && view.rowNumber(ofEntry: first + count - 1) == number)
      case nil: Issue.record("row \(number) is missing")
      }
    }
    #expect(view.nextUsed(from: 19, forward: true) == 32 && view.nextUsed(from: 642, forward: true) == nil)
    #expect(view.nextUsed(from: 16, forward: false) == 0 && view.nextUsed(from: 4095, forward: false) == 642)
    let detail = view.detail(of: 19, subcluster: 4)
    #expect(detail.title == "entry 19 at host 0x40130")
    #expect(
      detail.lines.map { "\($0.label) \($0.value) \($0.text)" } == [
        "descriptor 8000000000090000 bit 63 COPIED = 1   bit 62 compressed = 0   bits 55-9 host 0x90000",
        "alloc bits 0000000f subclusters 0-3 at host 0x90000 .. 0x91fff",
        "zero bits 00000000 subclusters: none",
        "unset bits fffffff0 no backing file, reads zeroes: subclusters 4-31",
        "cost  a 2K write to subcluster 4 needs no copy and no new cluster: it sets alloc bit 4",
      ])
  }

  @Test func stories() throws {
    let mockup = try Mockup()
    #expect(
      mockup.stories.map(\.lines) == [
        [
          "L1[0] -> 0x40000, new L2 table", "L2[0] -> 0x50000, new cluster", "refcount[4..5] 0 -> 1",
          "file +132K",
        ],
        ["L2[16..19] -> 0x60000..0x90000, 4 new clusters", "refcount[6..9] 0 -> 1", "file +260K"],
        ["L2[32] zero 00000000 -> 0000000f"],
        ["L2[80] -> 0xa0000, new cluster", "refcount[10] 0 -> 1", "file +120K"],
        ["L2[80] -> reads zero, 0xa0000 freed", "refcount[10] 1 -> 0"],
        [
          "L2[640..642] -> 0xa0000..0xc0000, 3 new clusters", "refcount[10..12] 0 -> 1",
          "0xa0000 reused, file +66K",
        ],
      ])
    let last = mockup.stories[5]
    #expect(
      last.numbers.guestBytes == 130 << 10 && last.numbers.clustersTaken == 3
        && last.numbers.clustersFreed == 0)
    #expect(last.guestClusters == [640..<643] && last.changed(host: 10) && last.changed(guest: 641))
    #expect(!last.changed(guest: 639) && last.changed(guest: 600..<641) && !last.changed(guest: 643..<900))
    #expect(last.entryBefore(640) == .empty && last.refcountBefore(12) == 0)
    let back = Narration(mockup.operations[5], geometry: mockup.bench.image.geometry, undone: true)
    #expect(
      back.lines == [
        "L2[640..642] -> not allocated, 0xa0000..0xc0000 freed", "refcount[10..12] 1 -> 0", "file -66K",
      ])
  }

  /// The fields of all bytes tile the file without gaps, and say what lies where.
  @Test func namesForBytes() throws {
    let atlas = Atlas(try Mockup().bench.image)
    atlas.finish()
    let map = ByteMap(Owners(atlas))
    let fields = map.fields(from: HostOffset(0), count: 788480, limit: .max)
    var end: UInt64 = 0
    for field in fields {
      #expect(field.range.lowerBound.value == end && field.range.upperBound.value > end, "\(field)")
      end = field.range.upperBound.value
    }
    #expect(end >= 788480)
    func text(_ offset: UInt64) -> String {
      let field = map.field(at: HostOffset(offset))
      return "\(field.structure) | \(field.name) | \(field.value)"
    }
    #expect(text(21) == "header | cluster_bits | 16: clusters of 64 KiB")
    #expect(text(72) == "header | incompatible_features | extended L2 entries")
    #expect(text(0x10000) == "refcount table | refcount table[0] | refcount block at 0x20000")
    #expect(text(0x2001b) == "refcount block | refcount[13] | 0")
    #expect(text(0x30000) == "L1 table | L1[0] | L2 table at 0x40000, COPIED")
    #expect(
      text(0x40101) == "L2 table of L1[0] | L2[16] descriptor | guest 0x100000: data at 0x60000, COPIED")
    #expect(text(0x40108) == "L2 table of L1[0] | L2[16] bitmap | alloc ffffffff zero 00000000")
    #expect(text(0x60801) == "data | subcluster 1 | guest 0x100800")
  }
}
