// Damaged accessories on the command line: commands that look at an image open it without them and say what
// is wrong. What they print of the disk is what they print of the image without its accessory.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct AccessoryTests {
  /// A field of the header, or of the bitmaps extension, and the value that damages it.
  struct Damage: CustomTestStringConvertible, Sendable {
    var name: String
    var isBitmap: Bool
    /// Bytes from the start of the field's structure.
    var field: Int
    var bytes: [UInt8]
    var reason: String
    var testDescription: String { name }
  }

  static let damages = [
    Damage(
      name: "snapshots at an impossible place", isBitmap: false, field: 64,
      bytes: [0, 0, 0, 0, 0, 0, 0x10, 8],
      reason: "snapshot table: Snapshot table offset invalid"),
    Damage(
      name: "too many snapshots", isBitmap: false, field: 60, bytes: [0xff, 0xff, 0xff, 0xff],
      reason: "snapshot table: Snapshot table too large"),
    Damage(
      name: "snapshots behind the end", isBitmap: false, field: 64, bytes: [0, 0, 1, 0, 0, 0, 0, 0],
      reason: "the snapshot table: "),
    Damage(
      name: "a directory of exabytes", isBitmap: true, field: 8, bytes: [0x40, 0, 0, 0, 0, 0, 0, 0],
      reason: "the bitmaps: bitmaps_ext: "),
    Damage(
      name: "too many bitmaps", isBitmap: true, field: 0, bytes: [0, 1, 0x11, 0x70],
      reason: "the bitmaps: bitmaps_ext: "),
    Damage(
      name: "a directory off its boundary", isBitmap: true, field: 16, bytes: [0, 0, 0, 0, 0, 0, 0x12, 3],
      reason: "the bitmaps: bitmaps_ext: "),
  ]

  private func change(_ judge: Judge, _ at: Int, _ bytes: [UInt8]) throws {
    let file = try #require(FileHandle(forWritingAtPath: judge.path("a.qcow2")))
    defer { try? file.close() }
    try file.seek(toOffset: UInt64(at))
    try file.write(contentsOf: Data(bytes))
  }

  @Test("looking goes on without what is damaged, and says what it is", arguments: damages)
  func looking(_ damage: Damage) throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "16M"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 0 192k", "-c", "write 1M 64k", "a.qcow2"])
    let map = try judge.must("qemu-img", ["map", "--output=json", "a.qcow2"])
    if damage.isBitmap {
      try judge.must("qemu-img", ["bitmap", "--add", "a.qcow2", "b"])
    } else {
      try judge.must("qemu-img", ["snapshot", "-c", "one", "a.qcow2"])
    }
    let header = try #require(judge.bytes("a.qcow2")).prefix(4096)
    let mark = header.firstRange(of: Data([0x23, 0x85, 0x28, 0x75]))?.lowerBound
    try change(judge, damage.field + (damage.isBitmap ? try #require(mark) + 8 : 0), damage.bytes)
    let damaged = judge.bytes("a.qcow2")

    // The genuine tool reads zeroes behind the end, and opens none of the others.
    let isRefused = damage.name != "snapshots behind the end"
    #expect(try (judge.genuine("qemu-img", ["info", "a.qcow2"]).status != 0) == isRefused)
    for command in [
      ["info"], ["info", "--output=json"], ["map", "--output=json"], ["l2"], ["layout"], ["frag"],
      ["owners", "a.qcow2", "0x50000"],
    ] {
      let words = command.contains("a.qcow2") ? command : command + ["a.qcow2"]
      let result = try judge.ours(words)
      #expect(result.status == 0, "\(command): \(result)")
      #expect(result.errors.contains("note: damaged: "), "\(command): \(result)")
      #expect(result.errors.contains(damage.reason), "\(command): \(result)")
    }
    let ours = try judge.ours(["map", "--output=json", "a.qcow2"]).output
    #expect(try Self.runs(ours) == Self.runs(map))
    // Nothing writes to it, and what stands in for the genuine tool refuses as that does.
    if isRefused { #expect(try judge.ours(["io", "-c", "write 0 4k", "a.qcow2"]).status != 0) }
    #expect(judge.bytes("a.qcow2") == damaged)
    try FileManager.default.createSymbolicLink(
      atPath: judge.path("qemu-img"), withDestinationPath: judge.qatlas)
    let standIn = try run(judge.path("qemu-img"), ["info", "a.qcow2"], directory: judge.folder.path)
    #expect(
      (standIn.status == 1 && standIn.stdout.isEmpty) == isRefused, "\(standIn.stdout)\(standIn.stderr)")
  }

  /// Start, length, kind and place of every run.
  private static func runs(_ json: String) throws -> [[Int]] {
    let runs = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [[String: Any]])
    return runs.map { run in
      ["start", "length", "data", "zero", "offset"].map { (run[$0] as? NSNumber)?.intValue ?? -1 }
    }
  }

  @Test("an image marked as corrupt is opened by the explorer, which says that it only looks")
  func corrupt() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "16M"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 0 64k", "a.qcow2"])
    try change(judge, 79, [2])
    let before = judge.bytes("a.qcow2")
    try Data(":read -P 0xcd 0 64k\n:save-screen screen.txt\n".utf8).write(
      to: URL(fileURLWithPath: judge.path("keys")))
    for option in [[], ["--ro"], ["--rw"]] {
      let result = try judge.ours(["explore"] + option + ["--script", "keys", "a.qcow2"])
      #expect(result.status == 0, "\(option): \(result)")
      let screen = String(decoding: try #require(judge.bytes("screen.txt")), as: UTF8.self)
      #expect(screen.contains("[ro]") && screen.contains("CORRUPT"), "\(screen)")
    }
    try Data(":write 0 64k\n".utf8).write(to: URL(fileURLWithPath: judge.path("keys")))
    let refused = try judge.ours(["explore", "--script", "keys", "a.qcow2"])
    #expect(refused.status == 1 && refused.errors.contains("Image is corrupt"), "\(refused)")
    #expect(judge.bytes("a.qcow2") == before)
  }

  @Test("names in an image and on the command line do not turn text around")
  func names() throws {
    let judge = try Judge()
    let evil = "\u{202e}\u{2066}\u{200f}\u{2028}\u{feff}\u{ad}"
    let name = "b\(evil)c.raw"
    try Data(repeating: 1, count: 65536).write(to: URL(fileURLWithPath: judge.path(name)))
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-b", name, "-F", "raw", "a.qcow2"])
    try judge.must("qemu-img", ["snapshot", "-c", "s\(evil)t", "a.qcow2"])
    var lines = [
      ["info", "a.qcow2"], ["info", "--output=json", "a.qcow2"], ["info", "--backing-chain", "a.qcow2"],
    ]
    for verb in ["info", "map", "check", "l2", "layout", "frag", "explore"] {
      lines.append([verb, "no\(evil).qcow2"])
    }
    lines += [
      ["io", "-c", "read 0 4k", name], ["io", "-c", "bogus\(evil)", "a.qcow2"],
      ["snapshot", "-l", "a.qcow2"],
      ["create", "-q", "-b", "no\(evil).qcow2", "-F", "qcow2", "n.qcow2"],
      ["map", "-f", "x\(evil)", "a.qcow2"],
      ["resize", "no\(evil)", "1G"], ["bogus\(evil)"], ["explore", "--lesson", "x\(evil)"],
    ]
    var printed = 0
    for words in lines {
      let result = try run(judge.qatlas, words, directory: judge.folder.path)
      let text = result.stdout + result.stderr
      printed += text.isEmpty ? 0 : 1
      #expect(result.signal == 0)
      #expect(!text.unicodeScalars.contains { evil.unicodeScalars.contains($0) }, "\(words): \(text)")
    }
    #expect(printed == lines.count)
  }
}
