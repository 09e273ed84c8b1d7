// A saved session: its lines do the same again on a copy of the image that it began with, to the byte, and are refused
// on any other.

import CellScreen
import Explorer
import Foundation
import Qcow
import Storage
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct SessionLinesTests {
  struct Kind: CustomTestStringConvertible, Sendable {
    var options: String
    var backing = false
    var testDescription: String { options + (backing ? ", backing" : "") }
    var hasSnapshots: Bool { !options.contains("data_file") && !options.contains("refcount_bits=1") }
    var hasBitmaps: Bool { !options.contains("compat=0.10") }
  }

  static let kinds = [
    Kind(options: "cluster_size=64k"),
    Kind(options: "cluster_size=4k,refcount_bits=8"),
    Kind(options: "cluster_size=512,refcount_bits=1"),
    Kind(options: "compat=0.10"),
    Kind(options: "extended_l2=on,cluster_size=64k", backing: true),
    Kind(options: "cluster_size=64k,data_file=data.raw"),
    Kind(options: "cluster_size=64k,preallocation=metadata", backing: false),
  ]

  private static let size = 8 << 20

  private static func line(_ kind: Kind, _ random: inout SplitMix64) -> String {
    let offset = Int.random(in: 0..<size / 512, using: &random) * 512
    let length = min(size - offset, Int.random(in: 1...800, using: &random) * 512)
    let range = "0x\(String(offset, radix: 16)) \(length)"
    switch Int.random(in: 0..<22, using: &random) {
    case 0..<8: return ":write -P \(Int.random(in: 1..<250, using: &random)) \(range)"
    case 8..<11: return ":discard \(range)"
    case 11: return ":zero \(range)"
    case 12: return ":zero -u \(range)"
    case 13..<16: return ["u", "u u", "C-r", ":undo 3"].randomElement(using: &random) ?? "u"
    case 16 where kind.hasSnapshots: return ":snapshot-create \"s \(offset)\""
    case 17 where kind.hasBitmaps: return ":bitmap-add b\(offset)"
    case 18 where kind.hasBitmaps:
      return ":policy \(["default", "keep-mapping"].randomElement(using: &random) ?? "")"
    case 19: return ":set discard-\(["cluster", "subcluster"].randomElement(using: &random) ?? "")"
    case 20 where kind.hasSnapshots: return ":defrag!"
    case 21: return ":store-bitmaps"
    default: return ":write 0 1k"
    }
  }

  @Test("a long session done again gives the same bytes", arguments: kinds)
  func again(_ kind: Kind) throws {
    let judge = try Judge()
    var create = [
      "create", "-q", "-f", "qcow2", "-o", kind.options.replacing("data.raw", with: judge.path("data.raw")),
    ]
    if kind.backing {
      try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "base.qcow2", "8M"])
      try judge.must("qemu-io", ["-c", "write -P 9 1M 3M", "base.qcow2"])
      create += ["-b", "base.qcow2", "-F", "qcow2"]
    }
    try judge.must("qemu-img", create + ["a.qcow2", "8M"])
    try judge.must(
      "qemu-io", ["-f", "qcow2", "-c", "write -P 7 512k 3M", "-c", "write -P 8 5M 100k", "a.qcow2"])
    let hasData = kind.options.contains("data_file")
    try judge.must("cp", ["a.qcow2", "before.qcow2"])
    if hasData { try judge.must("cp", ["data.raw", "before.raw"]) }
    var random = SplitMix64(seed: UInt64(kind.testDescription.utf8.count))
    let lines = (0..<120).map { _ in Self.line(kind, &random) }
    let script = lines.joined(separator: "\n") + "\n"
    // Some lines are refused, as those that undo nothing: each is played for itself.
    let explorer = try Self.explorer(judge.path("a.qcow2"))
    for line in lines { try? ScriptRunner.run(line, on: explorer) }
    #expect(explorer.session.generation > 20, "\(script)")
    try ScriptRunner.run(":session save \(judge.path("session"))\n:w", on: explorer)
    let bytes = judge.bytes("a.qcow2")
    let data = hasData ? judge.bytes("data.raw") : nil
    let saved = try String(contentsOf: URL(fileURLWithPath: judge.path("session")), encoding: .utf8)
    try judge.must("cp", ["before.qcow2", "a.qcow2"])
    if hasData { try judge.must("cp", ["before.raw", "data.raw"]) }
    let second = try Self.explorer(judge.path("a.qcow2"))
    try ScriptRunner.run(":session replay \(judge.path("session"))\n:w", on: second)
    #expect(second.session.generation == explorer.session.generation, "\(saved)")
    #expect(judge.bytes("a.qcow2") == bytes, "\(saved)")
    if hasData { #expect(judge.bytes("data.raw") == data) }
    try judge.must("qemu-img", ["check", "-q", "a.qcow2"])
    // The image that is there now is not the one that the session began with.
    let third = try Self.explorer(judge.path("a.qcow2"))
    _ = third.performLine("session replay \(judge.path("session"))")
    #expect(third.message?.contains("is not the image that the session began with") == true)
    #expect(third.session.generation == 0)
  }

  private final class Files: SessionFiles {
    let path: String
    init(_ path: String) { self.path = path }
    func identity() -> FileIdentity? { FileStorage.identity(path: path) }
    func openForSaving() throws(StorageError) -> any Storage { try FileStorage(path: path, mode: .readWrite) }
    func openForSaving(_ file: any Storage, _ kind: FileOpener.Saved) throws(StorageError) -> any Storage {
      try FileStorage(path: file.name, mode: .readWrite)
    }
    func create(_ path: String, replacing: Bool) throws(StorageError) -> any Storage {
      throw StorageError(.open, name: path, detail: "not here")
    }
    func writeText(_ text: String, to path: String) throws(StorageError) {
      let file = try FileOpener().open(path, for: .newText)
      try file.write(ByteText.bytes(text), at: 0)
    }
    func names(beginningWith prefix: String) -> [String] { [] }
    func shouldCancel(_ progress: Double) -> Bool { false }
    func remember(_ line: String) {}
  }

  private static func explorer(_ path: String) throws -> Explorer {
    let files = Files(path)
    let opener = ImageOpening.sessionChain(path, ChainPolicy())
    let session = try Session(
      try opener.openFile(writable: false), title: "a.qcow2", mode: .scratch, files: files, layers: opener)
    return Explorer(session, files: files, width: 80, height: 24, glyphs: .ascii)
  }

  @Test("a stopped defragmentation is done again as far as it came")
  func stoppedDefrag() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "a.qcow2", "64M"])
    let writes = (0..<1500).reversed().flatMap { ["-c", "write -P \($0 % 200 + 1) \($0 * 40)k 4k"] }
    for part in stride(from: 0, to: writes.count, by: 600) {
      try judge.must("qemu-io", ["-f", "qcow2"] + writes[part..<min(writes.count, part + 600)] + ["a.qcow2"])
    }
    let first = try Self.explorer(judge.path("a.qcow2"))
    let session = first.session
    try session.startDefrag(Defrag())
    for _ in 0..<3 { try session.stepDefrag() }
    #expect(session.defrag != nil && session.generation == 3)
    session.stopDefrag()
    try ScriptRunner.run(":write 1M 64k\n:session save \(judge.path("session"))", on: first)
    let second = try Self.explorer(judge.path("a.qcow2"))
    try ScriptRunner.run(":session replay \(judge.path("session"))", on: second)
    #expect(second.session.generation == 4)
    let (one, other) = (first.session.overlay, second.session.overlay)
    #expect(one.length == other.length)
    #expect(
      try sameBytes(
        one.bytes(at: 0, count: Int(one.length)), other.bytes(at: 0, count: Int(other.length))))
    // All of it is taken back as one step, as it was done.
    try ScriptRunner.run("u u", on: second)
    #expect(second.session.generation == 0)
  }
}

extension SessionLinesTests {
  @Test("the program does a saved session again, and tells why it does not")
  func program() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "8M"])
    try judge.must("cp", ["a.qcow2", "b.qcow2"])
    let lines =
      ":write -P 5 0 100k\n:snapshot-create one\n:discard 0 64k\n:session save \(judge.path("s"))\n:w\n"
    try Data(lines.utf8).write(to: URL(fileURLWithPath: judge.path("lines")))
    try Data(":w\n".utf8).write(to: URL(fileURLWithPath: judge.path("w")))
    let saved = try judge.ours(["--script", "lines", "a.qcow2"])
    #expect(saved.status == 0, "\(saved)")
    let replayed = try judge.ours(["--replay", "s", "--script", "w", "b.qcow2"])
    #expect(replayed.status == 0, "\(replayed)")
    #expect(judge.bytes("a.qcow2") == judge.bytes("b.qcow2"))
    let refused = try judge.ours(["--replay", "s", "--script", "w", "b.qcow2"])
    #expect(refused.status == 1 && refused.errors.contains("s, line 2: this is not the image"), "\(refused)")
  }
}
