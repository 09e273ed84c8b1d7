// New files from what a session shows: they are what the genuine tool makes of the saved image, none is left when the
// work is given up, none is overwritten unasked, and a dialog says before what would be written. Questions about the
// disk change nothing.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct NewFileTests {
  /// A session on an image over another one, with a change that is not saved.
  fileprivate final class Case {
    let folder: TemporaryDirectory
    let files: MemoryFiles
    let explorer: Explorer

    init() throws {
      folder = try TemporaryDirectory()
      try Self.must("qemu-img", ["create", "-q", "-f", "qcow2", "base", "4M"], folder)
      try Self.must(
        "qemu-io", ["-f", "qcow2", "-c", "write -P 1 0 1M", "-c", "write -P 2 3M 100k", "base"], folder)
      try Self.must(
        "qemu-img", ["create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top", "4M"], folder)
      try Self.must("qemu-io", ["-f", "qcow2", "-c", "write -P 3 1M 300k", "top"], folder)
      files = MemoryFiles(image: try FileStorage(path: folder.path("top"), mode: .readWrite))
      explorer = try Self.open(folder, files)
      try ScriptRunner.run(":write -P 7 512k 64k", on: explorer)
    }

    static func open(_ folder: TemporaryDirectory, _ files: MemoryFiles) throws -> Explorer {
      var policy = ChainPolicy()
      policy.takesLocks = false
      policy.allowsMissing = true
      let opener = ImageOpening.sessionChain(folder.path("top"), policy)
      let session = try Session(
        try opener.openFile(writable: false), title: "top", mode: .scratch, files: files, layers: opener)
      let explorer = Explorer(session, files: files, width: 120, height: 40, glyphs: .ascii)
      settle(explorer)
      return explorer
    }

    static func must(_ tool: String, _ words: [String], _ folder: TemporaryDirectory) throws {
      let result = try run(try requireTool(tool), words, directory: folder.path)
      guard result.status == 0 else {
        throw TestFailure("\(tool) \(words): \(result.stderr)\(result.stdout)")
      }
    }

    func play(_ lines: String) throws { try ScriptRunner.run(lines, on: explorer) }
    var message: String { explorer.message ?? "" }

    func disk() throws -> [UInt8] {
      let image = explorer.session.image
      var bytes = [UInt8](repeating: 0, count: Int(image.virtualSize))
      try bytes.withUnsafeMutableBytes { try image.read(at: GuestOffset(0), into: $0) }
      return bytes
    }

    func copy(_ name: String) throws -> [UInt8] { try #require(files.copies[name]).contents() }

    /// Writes a copy to the folder.
    func store(_ name: String) throws {
      try Data(try copy(name)).write(to: URL(fileURLWithPath: folder.path(name)))
    }

    func refused(_ line: String) -> String {
      do {
        try play(line)
        return "done"
      } catch { return explorer.message ?? "" }
    }
  }

  @Test(
    "a copy is what the genuine tool makes of the saved image",
    arguments: ["-O qcow2", "-O raw", "-c -O qcow2", "-O qcow2 -o cluster_size=4096,extended_l2=off"])
  func converts(_ words: String) throws {
    let test = try Case()
    let bytes = try test.disk()
    try test.play(":convert \(words) out")
    #expect(test.message.contains("wrote 'out'"), "\(test.message)")
    #expect(try test.disk() == bytes && test.explorer.session.generation == 1)
    try test.store("out")
    try test.play(":w")
    try Case.must(
      "qemu-img", ["convert"] + words.split(separator: " ").map(String.init) + ["top", "theirs"], test.folder)
    let theirs = [UInt8](try Data(contentsOf: URL(fileURLWithPath: test.folder.path("theirs"))))
    #expect(sameBytes(try test.copy("out"), theirs))
    try Case.must("qemu-img", ["compare", "top", "out"], test.folder)
  }

  @Test("a part of the disk, the tables alone, and what is left of a disk")
  func others() throws {
    let test = try Case()
    let bytes = try test.disk()
    try test.play(":dd 500k 1001 part\n:dehydrate tables\n:salvage all")
    #expect(try test.copy("part") == Array(bytes[500 << 10..<(500 << 10) + 1001]))
    #expect(try test.copy("all") == bytes)
    try test.play(":w")
    try test.store("tables")
    try Case.must("qemu-img", ["check", "tables"], test.folder)
    // A seven may be part of a place; bytes of the guest are many.
    #expect(try test.copy("tables").split { $0 != 7 }.allSatisfy { $0.count < 8 })
    #expect(test.refused(":dd 4M 1 more").contains("behind the end"))
    #expect(test.refused(":dd 0 0 more").contains("at least 1"))
    #expect(test.refused(":convert more").contains("-O qcow2 or -O raw"))
    #expect(test.refused(":convert -c more.raw").contains("raw"))
    #expect(test.refused(":convert -O vdi more").contains("vdi"))
    #expect(test.files.copies["more"] == nil)
    // Without its layer the disk cannot be copied, but for what is left of it.
    try FileManager.default.removeItem(atPath: test.folder.path("base"))
    let lone = MemoryFiles(image: test.files.image)
    let explorer = try Case.open(test.folder, lone)
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":convert -O raw out", on: explorer) }
    #expect(lone.copies["out"] == nil)
    try ScriptRunner.run(":salvage out", on: explorer)
    #expect(explorer.message?.contains("could not be read") == true)
    let left = try #require(lone.copies["out"]).contents()
    #expect(left[512 << 10] == 7 && left[1 << 20] == 3 && left[0] == 0)
  }

  @Test(
    "nothing is left of what is given up, and nothing is overwritten unasked",
    arguments: [":convert -O qcow2", ":convert -O raw", ":salvage", ":dehydrate"])
  func givenUp(_ line: String) throws {
    let test = try Case()
    test.files.cancelAfter = test.files.questions + 1
    let told = test.refused(line + " out")
    #expect(told.contains("given up; the new file was removed again"), "\(told)")
    #expect(test.files.copies["out"] == nil)
    test.files.cancelAfter = nil
    try test.play(line + " out")
    let first = try test.copy("out")
    #expect(test.refused(line + " out").contains("exists"))
    #expect(try test.copy("out") == first)
    let parts = line.split(separator: " ", maxSplits: 1)
    try test.play(parts[0] + "! " + (parts.count > 1 ? parts[1] + " " : "") + "out")
    #expect(try test.copy("out") == first)
  }

  @Test("a dialog says what would be written, and writes nothing before Enter")
  func dialog() throws {
    let test = try Case()
    try test.play(":convert -O qcow2 out ?")
    let picture = test.explorer.canvas().text()
    #expect(picture.contains("a qcow2 image of a disk of 4M") && picture.contains("Enter write it"))
    #expect(test.files.copies.isEmpty)
    try test.play("Enter")
    #expect(test.message.contains("wrote 'out'"))
    #expect(try test.copy("out").count > 1 << 20)
    for (line, words) in [
      (":dehydrate t ?", "of tables"), (":dd 64k 64k p ?", "65536 bytes"), (":salvage s ?", "4194304 bytes"),
      (":convert ?", "say what"),
    ] {
      try test.play(line)
      #expect(test.explorer.canvas().text().contains(words), "\(line)")
      try test.play("Esc")
    }
    #expect(test.files.copies.count == 1)
  }

  @Test("questions are answered and change nothing")
  func answers() throws {
    let test = try Case()
    try test.storeDisk("same")
    try test.play(":compare \(test.folder.path("same"))")
    #expect(test.message.contains("hold the same bytes"), "\(test.message)")
    try test.play(":compare \(test.folder.path("base"))")
    #expect(test.message.contains("differ from 'base' first at guest 0x80000"), "\(test.message)")
    #expect(test.explorer.canvas().text().contains("512 KiB"))
    #expect(test.refused(":compare nowhere").contains("Could not open"))
    #expect(test.refused(":compare").contains("needs FILE"))
    try test.play(":measure")
    #expect(test.message.contains("a copy as qcow2 takes") && test.message.contains("4M long"))
    try test.play(":goto host 0\n:looks-like")
    #expect(test.message.contains("header"), "\(test.message)")
    try test.play(":du")
    #expect(test.explorer.canvas().text().contains("What the image could do without"))
    try test.play("Esc")
    #expect(!test.explorer.canvas().text().contains("What the image could do without"))
    test.files.cancelAfter = test.files.questions
    #expect(test.refused(":compare \(test.folder.path("same"))").contains("given up"))
    #expect(test.explorer.session.generation == 1)
  }
}

extension NewFileTests.Case {
  /// The disk as it is shown, as a raw file in the folder.
  fileprivate func storeDisk(_ name: String) throws {
    try Data(try disk()).write(to: URL(fileURLWithPath: folder.path(name)))
  }
}
