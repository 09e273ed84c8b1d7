// `qatlas salvage`: the disk of an image without header or L1 table is exported as it was, the report says what was
// done and why, and neither the image nor a file that is there is ever written.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct SalvageCommandTests {
  typealias Record = [String: Any]

  /// An image of three L2 tables with its disk as a raw file.
  private func make(_ judge: Judge) throws {
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a", "1536M"])
    try judge.must(
      "qemu-io",
      [
        "-f", "qcow2", "-c", "write -P 7 0 3M", "-c", "write -P 9 512M 1M", "-c", "write -P 8 1400M 640k",
        "a",
      ])
    try judge.must("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", "a", "disk"])
  }

  private func destroy(_ judge: Judge, at offset: Int) throws {
    let file = try #require(FileHandle(forUpdatingAtPath: judge.path("a")))
    defer { try? file.close() }
    try file.seek(toOffset: UInt64(offset))
    var random = SplitMix64(seed: 5)
    try file.write(contentsOf: Data((0..<65536).map { _ in UInt8(truncatingIfNeeded: random.next()) }))
  }

  private func json(_ printed: Printed) throws -> Record {
    try #require(try JSONSerialization.jsonObject(with: Data(printed.output.utf8)) as? Record)
  }

  @Test("the disk is exported as it was", arguments: [0, 0x10000, 0x30000])
  func exported(offset: Int) throws {
    let judge = try Judge()
    try make(judge)
    try destroy(judge, at: offset)
    let before = judge.bytes("a")
    let printed = try judge.ours(["salvage", "--json", "--export", "out", "a"])
    #expect(printed.status == 0, "\(printed)")
    let report = try json(printed)
    let header = try #require(report["header"] as? Record)
    #expect(header["cluster size"] as? Int == 65536 && header["size"] as? Int == 1536 << 20)
    #expect(header["source"] as? String == (offset == 0 ? "rebuilt" : "as in the file"))
    let tables = try #require(report["L2 tables"] as? Record)
    #expect(
      tables as? [String: Int] == (offset == 0x30000 ? ["order of the file, complete": 3] : ["L1 entry": 3]))
    try judge.must("cmp", ["out", "disk"])
    #expect(judge.bytes("a") == before)
    let again = try judge.ours(["salvage", "--export", "out", "a"])
    #expect(
      again.status == 1 && again.errors == "TOOL: 'out' is there already and stays as it is\n", "\(again)")
  }

  /// A header that cannot be read leads on; who stands in for the genuine tools says their words alone.
  @Test func theWayFromABrokenHeader() throws {
    let judge = try Judge()
    try make(judge)
    try destroy(judge, at: 0)
    let note = "note: 'qatlas salvage FILE' looks for what is left of an image.\n"
    try "i\n".write(toFile: judge.path("keys"), atomically: true, encoding: .utf8)
    let refused = try judge.ours(["explore", "--script", "keys", "a"])
    #expect(refused.status == 1 && refused.errors.contains("not in qcow2 format"), "\(refused)")
    #expect(refused.errors.hasSuffix(note), "\(refused)")
    // A script that reads the words gets those of the genuine tool alone.
    #expect(
      try judge.ours(["map", "-f", "qcow2", "a"]) == judge.genuine("qemu-img", ["map", "-f", "qcow2", "a"]))
    try FileManager.default.createSymbolicLink(
      atPath: judge.path("qemu-img"), withDestinationPath: judge.qatlas)
    let standIn = try run(
      judge.path("qemu-img"), ["check", "-f", "qcow2", "a"], directory: judge.folder.path)
    #expect(standIn.status == 1 && !standIn.stderr.contains("note:"), "\(standIn.stderr)")
    let genuine = try run(
      try requireTool("qemu-img"), ["check", "-f", "qcow2", "a"], directory: judge.folder.path)
    #expect(standIn.stderr == genuine.stderr)
  }

  @Test func lostTable() throws {
    let judge = try Judge()
    try make(judge)
    try destroy(judge, at: 0x40000)
    let printed = try judge.ours(["salvage", "a"])
    #expect(printed.status == 2)
    #expect(printed.output.contains("\nL2 tables  L1 entry 2\n"), "\(printed)")
    #expect(printed.output.contains("\nlost  guest 0x0  length 536870912  its L2 table was overwritten\n"))
    #expect(printed.output.hasSuffix("\nlost bytes  536870912 (512 MiB)\n"))
  }

  @Test func headerIsShownAndWritten() throws {
    let judge = try Judge()
    try make(judge)
    let sound = try #require(judge.bytes("a"))
    try destroy(judge, at: 0)
    let printed = try judge.ours(["salvage", "--show", "--header-to", "first", "a"])
    #expect(
      printed.output.contains("\nbytes  0x0000  51 46 49 fb 00 00 00 03 00 00 00 00 00 00 00 00\n"),
      "\(printed)")
    let first = try #require(judge.bytes("first"))
    #expect(first.count == 65536 && first.prefix(4) == sound.prefix(4))
    // Cluster size, L1 table.
    #expect(first[20..<24] == sound[20..<24] && first[40..<48] == sound[40..<48])
  }

  @Test("the explorer opens what is left, and saves nothing")
  func explored() throws {
    let judge = try Judge()
    try make(judge)
    try destroy(judge, at: 0)
    try destroy(judge, at: 0x30000)
    let before = judge.bytes("a")
    try Data(":read -P 7 0 3M\n:read -P 9 512M 1M\n".utf8).write(to: URL(fileURLWithPath: judge.path("keys")))
    let read = try judge.ours(["explore", "--salvage", "--script", "keys", "a"])
    #expect(read.status == 0, "\(read)")
    try Data(":write 0 64k\n:w\n".utf8).write(to: URL(fileURLWithPath: judge.path("keys")))
    let written = try judge.ours(["explore", "--salvage", "--script", "keys", "a"])
    #expect(written.status == 1, "\(written)")
    #expect(judge.bytes("a") == before)
    #expect(try judge.ours(["explore", "--script", "keys", "a"]).status == 1)
  }

  @Test func noImage() throws {
    let judge = try Judge()
    try Data(repeating: 7, count: 1 << 20).write(to: URL(fileURLWithPath: judge.path("a")))
    let printed = try judge.ours(["salvage", "a"])
    #expect(printed.status == 1)
    #expect(printed.errors == "TOOL: a: nothing in the file looks like a table of an image\n", "\(printed)")
  }
}
