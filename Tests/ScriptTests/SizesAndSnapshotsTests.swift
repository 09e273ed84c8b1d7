// The screens of sizes, snapshots and bitmaps: their numbers are those of the image, and what they offer works.

@testable import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct SizesAndSnapshotsTests {
  private func explorer(width: Int = 120, height: Int = 40) throws -> Explorer {
    let base = MemoryStorage()
    var create = Image.CreateOptions(size: 4 << 20)
    create.clusterSize = 4096
    try Image.create(on: base, create)
    let files = MemoryFiles(image: base)
    let explorer = Explorer(
      try Session(base, title: "a.qcow2", mode: .scratch, files: files), files: files, width: width,
      height: height, glyphs: .ascii)
    settle(explorer)
    return explorer
  }

  private func script(_ lines: String, _ explorer: Explorer) throws {
    try ScriptRunner.run(lines, on: explorer)
    settle(explorer)
  }

  private func line(_ explorer: Explorer, _ text: String) throws -> String {
    let lines = explorer.canvas().text().split(separator: "\n").map(String.init)
    return try #require(lines.first { $0.contains(text) }, "\(text) in\n\(lines.joined(separator: "\n"))")
  }

  private func totals(_ explorer: Explorer) -> Totals { explorer.session.scene.atlas.totals }

  @Test func snapshotsAreCounted() throws {
    let explorer = try explorer()
    // 4 KiB clusters: 512 entries in a table. 20 clusters in the first, 4 in the second.
    try script(
      ":write 0 80k\n:write 2M 16k\n:snapshot-create one\n:write 0 8k\n:snapshot-create two\nS", explorer)
    // One L1 cluster, two tables and 24 clusters. "one" has the old first table and two clusters alone.
    let one = try line(explorer, "   1 one")
    #expect(one.contains(" 27 ") && one.contains(" 23 ") && one.contains(" 4 "), "\(one)")
    let two = try line(explorer, "   2 two")
    #expect(two.contains(" 27 ") && two.contains(" 26 ") && two.contains(" 1 "), "\(two)")
    // What comes back is what the deletion gives back.
    let free = totals(explorer).freeClusters
    try script("j\nd", explorer)
    // The table of snapshots is written anew besides.
    #expect(
      explorer.canvas().text().contains("1 cluster new, 5 clusters freed"), "\(explorer.canvas().text())")
    try script("Enter", explorer)
    #expect(totals(explorer).freeClusters == free + 4)
    try script("u", explorer)
    #expect(totals(explorer).freeClusters == free)
  }

  @Test("a row is explored, and the way back is said")
  func exploring() throws {
    let explorer = try explorer()
    try script(":write 0 80k\n:snapshot-create one\n:discard 0 4M\nS\nj\nEnter", explorer)
    #expect(explorer.canvas().text().contains("[snapshot one]"))
    try script("S", explorer)
    #expect(try line(explorer, "1 *one").contains("*one"))
    try script("g g\nEnter", explorer)
    #expect(!explorer.canvas().text().contains("[snapshot one]"))
  }

  @Test("the parts of the file add up to its length, and Enter goes where they are")
  func ladder() throws {
    let explorer = try explorer()
    try script(
      ":write 0 80k\n:snapshot-create one\n:write 0 8k\n:bitmap-add b\n:write 1M 256k\n:discard 1M 128k\ni",
      explorer)
    let ladder = SizeLadder(explorer.session.scene.atlas, blocks: nil)
    let length = try #require(ladder[.length]).bytes
    #expect(ladder.parts.reduce(0) { $0 + $1.bytes } == length && length > 300 << 10)
    #expect(ladder[.shared]?.bytes == 18 << 12 && ladder[.snapshots]?.bytes == 2 << 12)
    #expect(ladder[.bitmaps].map { $0.bytes > 0 } == true && ladder[.mapped]?.bytes == (80 + 128) << 10)
    try script("j j j\nEnter", explorer)
    // What the disk has alone begins with the first cluster that was written after the snapshot.
    #expect(try line(explorer, "host    0x").contains("host    0x01c000"))
  }

  /// A file of preallocated clusters that were never written.
  private func preallocated() throws -> Explorer {
    let base = MemoryStorage()
    var create = Image.CreateOptions(size: 4 << 20)
    create.preallocation = .metadata
    try Image.create(on: base, create)
    let files = MemoryFiles(image: base)
    let explorer = Explorer(
      try Session(base, title: "a.qcow2", mode: .scratch, files: files), files: files, width: 120, height: 40,
      glyphs: .ascii)
    settle(explorer)
    return explorer
  }

  @Test("clusters that were never written are named, and a discard of them gives nothing back")
  func neverWritten() throws {
    let explorer = try preallocated()
    let ladder = SizeLadder(explorer.session.scene.atlas, blocks: nil)
    #expect(ladder[.holes]?.bytes == 4 << 20 && ladder[.mapped]?.bytes == 4 << 20)
    #expect(ladder[.mapped]?.meaning.contains("never written") == true)
    let scan = SpaceScan(explorer.session.scene.atlas, blocks: nil)
    Scheduler.finish(scan)
    let zeroes = scan.result[.zeroData]
    #expect(zeroes.clusters == 64 && zeroes.bytes == 4 << 20 && zeroes.stored == 0)
    try script(":goto 0\nD", explorer)
    #expect(try line(explorer, "given back").contains("nothing, the file has a hole there already"))
    try script("Esc\n:write 0 64k\n:goto 0\nD", explorer)
    #expect(try line(explorer, "given back").contains("64K (a hole"))
    try script("C-u\n1\n2\n8\nk", explorer)
    #expect(try line(explorer, "given back").contains("64K of 128K"))
    // Sizes after an edit are those of what is shown; what the host keeps is that of the file.
    try script("Esc\ni\n/\ntype host blocks\nEnter", explorer)
    #expect(explorer.canvas().text().contains("of the file as saved"), "\(explorer.canvas().text())")
  }

  @Test("a search for bytes does not read holes")
  func holesAreNotRead() throws {
    let explorer = try preallocated()
    try script(":write -P 7 3M 64k", explorer)
    let image = explorer.session.scene.image
    let source = SearchedBytes(image)
    #expect(source.zeroEnd(0) == 3 << 20 && source.zeroEnd(3 << 20) == nil)
    #expect(source.zeroEnd(3 << 20 + 65536) == 4 << 20)
    var search = ByteSearch(try #require(try BytePattern("x 0707")), in: source)
    #expect(search.next(from: 0, forward: true) { _ in false } == .found(3 << 20, wrapped: false))
    var zeroes = ByteSearch(try #require(try BytePattern("x 0000")), in: source)
    #expect(zeroes.next(from: 0, forward: true) { _ in false } == .found(1, wrapped: false))
  }

  @Test("the remedies are commands in the explorer, and lines of a shell elsewhere")
  func remedies() throws {
    let explorer = try explorer()
    try script("i\n/\ntype free inside\nEnter", explorer)
    #expect(try line(explorer, "moved by").contains("moved by: :defrag"))
    // Each names a command that there is.
    for kind in SizeLadder.Kind.allCases {
      guard let remedy = SizeLadder(explorer.session.scene.atlas, blocks: nil)[kind]?.remedy else { continue }
      let name = remedy.explorer().dropFirst().prefix { $0 != " " }
      #expect(CommandTable.all.contains { $0.id.name == name }, "\(name)")
    }
    for remedy in [
      SpaceRemedy.copy, .copyCompressed, .deleteSnapshot, .removeBitmap, .removeBitmaps, .repairLeaks,
    ] {
      let name = remedy.explorer().dropFirst().prefix { $0 != " " }
      #expect(CommandTable.all.contains { $0.id.name == name }, "\(name)")
    }
  }

  @Test("a bitmap is counted, found in the file byte by byte, and stopped")
  func bitmaps() throws {
    let explorer = try explorer()
    try script(":bitmap-add daily\n:write 64k 64k\n:write 1M 128k\nM", explorer)
    #expect(try line(explorer, "records").contains("192K"), "\(explorer.canvas().text())")
    try script("E", explorer)
    #expect(explorer.canvas().text().contains("name    daily"))
    try script("Enter", explorer)
    #expect(try line(explorer, "stopped").contains("192K"))
    // Stored by the verb: directory, table and bits lie in the file.
    let scene = explorer.session.scene
    let table = try #require(BitmapPlaces(scene.image).places.first)
    func field(_ offset: HostOffset) -> ByteField { scene.byteMap.field(at: offset) }
    #expect(field(table.offset).name == "bitmap_table_offset")
    #expect(field(table.offset + 17).value == "\(table.entry.granularityBits)")
    #expect(field(table.offset + 24).value == "daily")
    let entry = field(table.entry.tableOffset)
    #expect(entry.structure == "table of bitmap \"daily\"" && entry.value.hasPrefix("guest 0x0: bits at 0x"))
    let bits = try #require(entry.value.split(separator: "x").last.flatMap { UInt64($0, radix: 16) })
    #expect(field(HostOffset(bits)).value == "guest 0x0: 16 of 64 bits set")
    #expect(field(HostOffset(bits) + 128).value == "behind the disk")
    let owner = scene.owners.owners(of: HostCluster(bits >> 12)).owners.first
    #expect(owner?.text(snapshots: []) == "bitmap \"daily\", bits of its table's entry 0")
    try script("Enter", explorer)
    #expect(explorer.cursor.host == table.entry.tableOffset.value)
  }

  @Test("refcount blocks say what the check counts, behind the end of the file too")
  func refcounts() throws {
    let explorer = try explorer()
    try script(":write 0 80k\n:snapshot-create one\n:write 0 8k\nR", explorer)
    let image = explorer.session.scene.image
    let survey = RefcountSurvey(image, 0..<1 << 20, parts: 5)
    Scheduler.finish(survey)
    #expect(survey.rows.count == image.refcountTableCount)
    var expected: [UInt64: UInt64] = [:]
    let clusters = (image.storage.length + 4095) / 4096
    for cluster in 0..<clusters {
      expected[min(2, try image.refcount(of: HostCluster(cluster))), default: 0] += 1
    }
    #expect(survey.rows.reduce(0) { $0 + $1.once } == expected[1] && expected[2] == 18)
    #expect(survey.rows.reduce(0) { $0 + $1.shared } == 18)
    let row = try #require(survey.rows.first)
    #expect(row.parts.reduce(0, +) == row.once + row.shared && row.wholes.reduce(0, +) == clusters)
    #expect(row.free == clusters - row.once - row.shared && row.behind == 0 && row.highest == 2)
    #expect(try line(explorer, "have one owner").contains("18 have more"))
    try script("Enter", explorer)
    #expect(explorer.cursor.host == row.block?.value)
  }

  @Test(
    "every size of the terminal shows the row that has the cursor",
    arguments: [(40, 12), (80, 24), (120, 40), (200, 60)])
  func sizes(_ width: Int, _ height: Int) throws {
    let explorer = try explorer(width: width, height: height)
    try script((0..<40).map { ":snapshot-create s\($0)" }.joined(separator: "\n") + "\nS\nG", explorer)
    #expect(try line(explorer, "s39").contains(">"))
    #expect(explorer.canvas().cursor != nil)
    try script("q\ni\nG", explorer)
    #expect(try line(explorer, "L2 cache").contains(">"))
    #expect(explorer.canvas().cursor != nil)
    try script("q\n:bitmap-add one\n:bitmap-add two\nM\nG", explorer)
    #expect(try line(explorer, "two").contains(">"))
    #expect(explorer.canvas().cursor != nil)
  }
}
