// Changes of the image as a whole by commands: snapshots, the size of the disk and repair, each one step of
// undo, tried out before, refused with a reason, and saved as the genuine tool would have left the file.

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

@Suite(.tags(.genuine)) struct ImageChangeTests {
  @Test("changes go back and forth byte for byte, and the maps follow")
  func history() throws {
    let folder = try ImageFolder(options: "cluster_size=4k")
    let explorer = try folder.explorer()
    let lines = [
      ":snapshot-create \"before all\"", ":write 0 64k", ":resize 32M", ":write 30M 64k",
      ":snapshot-create two", ":write -P 9 0 16k", ":snapshot-apply \"before all\"", ":write 1M 64k",
      ":snapshot-delete two", ":resize --shrink 8M", ":resize +1M", ":snapshot-apply 1",
      ":snapshot-delete \"before all\"",
    ]
    var states = [try explorer.shownBytes()]
    for line in lines {
      let generation = explorer.session.generation
      try ScriptRunner.run(line, on: explorer)
      #expect(explorer.session.generation == generation + 1, "\(line)")
      #expect(!explorer.messageIsError, "\(line): \(explorer.message ?? "")")
      let step = try #require(explorer.session.done.last)
      #expect(
        ":" + step.title == line || line.contains("write"), "\(line)")
      #expect(!step.narration.lines.isEmpty, "\(line)")
      states.append(try explorer.shownBytes())
      // What the maps show is what a scan from the start shows.
      let fresh = Atlas(explorer.session.image)
      fresh.scanAll()
      #expect(explorer.session.atlas.totals == fresh.totals, "\(line)")
      #expect(explorer.canvas().text().count > 1000)
    }
    try expectHistory(states, of: explorer)
  }

  @Test(
    "what is saved is what the genuine tool leaves",
    arguments: [
      [":snapshot-create one", "snapshot -c one"], [":snapshot-apply base", "snapshot -a base"],
      [":snapshot-delete base", "snapshot -d base"], [":resize 64M", "resize 64M"],
      [":resize +1G", "resize +1G"],
    ])
  func saved(_ pair: [String]) throws {
    let folder = try ImageFolder(options: "cluster_size=4k")
    try folder.image(["snapshot", "-c", "base", folder.path])
    try folder.io(["-c", "write -P 3 0 300k"])
    let genuine = folder.folder.path("genuine.qcow2")
    try FileManager.default.copyItem(atPath: folder.path, toPath: genuine)
    let words = pair[1].split(separator: " ").map(String.init)
    try folder.image(words[0] == "resize" ? ["resize", "-q", genuine, words[1]] : words + [genuine])
    let explorer = try folder.explorer()
    try ScriptRunner.run(pair[0] + "\n:w", on: explorer)
    func timeless(_ path: String) throws -> [UInt8] {
      var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
      var at = Int(BigEndian.u64(bytes, 64))
      for _ in 0..<BigEndian.u32(bytes, 60) {
        let size = SnapshotEntry.size(fixed: Array(bytes[at..<(at + SnapshotEntry.fixedSize)]))
        for index in (at + 16)..<(at + 24) { bytes[index] = 0 }
        at += size
      }
      return bytes
    }
    #expect(sameBytes(try timeless(folder.path), try timeless(genuine)), "\(pair[0])")
  }

  @Test("a dialog tells what would happen and changes nothing before Enter")
  func dialogs() throws {
    let explorer = try ImageFolder().explorer()
    let before = try explorer.shownBytes()
    let picture = try explorer.picture(":resize")
    #expect(explorer.isInDialog && picture.contains("Resize") && picture.contains("16M"))
    try ScriptRunner.run("C-u\ntype 8M", on: explorer)
    #expect(explorer.canvas().text().contains("a smaller disk loses what lies behind its new end"))
    try ScriptRunner.run("C-u\ntype --shrink 8M", on: explorer)
    #expect(explorer.canvas().text().contains("What would happen:"))
    #expect(sameBytes(try explorer.shownBytes(), before))
    try ScriptRunner.run("Esc", on: explorer)
    #expect(explorer.session.generation == 0)
    #expect(sameBytes(try explorer.shownBytes(), before))
    try ScriptRunner.run(":snapshot-create\ntype my disk\nEnter", on: explorer)
    #expect(explorer.session.image.snapshots.map(\.name) == ["my disk"])
    #expect(explorer.session.done.map(\.title) == ["snapshot-create \"my disk\""])
    #expect(try explorer.picture(":snapshot-delete").contains("my disk"))
    try ScriptRunner.run("Enter", on: explorer)
    #expect(explorer.session.image.snapshots.isEmpty)
  }

  @Test("refusals are sentences and change nothing")
  func refusals() throws {
    let explorer = try ImageFolder(options: "data_file=d.raw").explorer()
    func refused(_ line: String) -> String {
      do { try ScriptRunner.run(line, on: explorer) } catch { return explorer.message ?? "" }
      return "not refused"
    }
    #expect(
      refused(":snapshot-create x") == "an image with an external data file cannot have internal snapshots")
    #expect(
      refused(":snapshot-apply x").hasPrefix("no snapshot")
        || refused(":snapshot-apply x").contains("external"))
    #expect(refused(":resize 1M") == "a smaller disk loses what lies behind its new end; --shrink allows it")
    #expect(refused(":resize 1M 2M") == ":resize does not know '2M'; use :resize [--shrink] SIZE")
    #expect(refused(":resize --grow 1M") == ":resize does not know '--grow'; use :resize [--shrink] SIZE")
    #expect(
      refused(":snapshot-create a b") == "too many words for :snapshot-create; use :snapshot-create [NAME]")
    #expect(refused(":pin x") == "too many words for :pin; use :pin")
    #expect(refused(":defrag x") == ":defrag does not know 'x'; use :defrag [--contiguous] [--drop-leaks]")
    #expect(explorer.session.generation == 0)
    let looked = try ImageFolder().explorer(.readOnly)
    for line in [":resize 32M", ":snapshot-create x", ":repair"] {
      #expect(throws: ScriptError.self) { try ScriptRunner.run(line, on: looked) }
      #expect(looked.message == "the image is open read-only; start without --ro to change it")
    }
  }

  @Test("repair gives back what is leaked and clears the dirty bit, and undo takes that back")
  func repair() throws {
    let folder = try ImageFolder(options: "lazy_refcounts=on")
    try folder.change { image in
      // The dirty bit, and the count of a cluster that nobody uses.
      image.bytes[79] |= 1
    }
    let explorer = try folder.explorer()
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":write 0 64k", on: explorer) }
    let before = try explorer.shownBytes()
    try ScriptRunner.run(":repair", on: explorer)
    #expect(explorer.session.refusal == nil)
    try ScriptRunner.run(":write 0 64k", on: explorer)
    let check = try ImageCheck(explorer.session.overlay) { _ in }.run()
    #expect(check.corruptions == 0 && check.leaks == 0)
    try ScriptRunner.run("u\nu", on: explorer)
    #expect(sameBytes(try explorer.shownBytes(), before))
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":write 0 64k", on: explorer) }
  }

  @Test("every change has a row, a help line and words that read back")
  func declarations() throws {
    for type in Changes.all {
      let words = type.words
      let spec = try CommandTable.named(words.name)
      #expect(spec.name == words.name && spec.hint == words.hint)
    }
    let examples: [any Change] = [
      Defrag(isContiguous: true, dropsLeaks: true), Pin(), Unpin(), CreateSnapshot("a \"b\" \\c"),
      ApplySnapshot(""), DeleteSnapshot("x y"), Resize(.larger(by: 3 << 20), maySqueeze: true), Repair(),
      Repair(.leaks, dropsLeaks: true),
    ]
    for change in examples {
      let command = try #require(try CommandParser.parse(change.commandLine))
      let type = try #require(ChangeParser.named(command.id.name))
      let again = try ChangeParser.parse(type, command.arguments)
      #expect(again.commandLine == change.commandLine)
    }
  }
}
