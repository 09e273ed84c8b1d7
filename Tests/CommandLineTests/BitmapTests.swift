// Persistent bitmaps beside the genuine tools: every request is recorded, and every session that may write
// leaves the same bytes; bitmaps that cannot be trusted stay what they are.

import Foundation
import TestSupport
import Testing

/// Two copies of one image, one for each tool.
private struct Copies {
  let folder: TemporaryDirectory
  var genuine: String { folder.path("genuine") }
  var ours: String { folder.path("ours") }

  init(_ options: String, _ size: String, _ bitmaps: [[String]]) throws {
    folder = try TemporaryDirectory(inMemory: true)
    for tool in ["qemu-img", "qemu-io"] {
      try FileManager.default.createSymbolicLink(
        atPath: folder.path(tool), withDestinationPath: try builtProduct("qatlas"))
    }
    try succeed("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, genuine, size])
    for words in bitmaps {
      try succeed("qemu-img", ["bitmap", "--add"] + words.dropLast() + [genuine, words.last ?? ""])
    }
    try copy()
  }

  func copy() throws {
    try Data(contentsOf: URL(fileURLWithPath: genuine)).write(to: URL(fileURLWithPath: ours))
  }

  /// Lets both tools do a line on their copies; the last word of a line is the file.
  func both(_ tool: String, _ words: [String]) throws -> (theirs: ProcessResult, ours: ProcessResult) {
    (try run(tool, words + [genuine], timeout: 60), try run(folder.path(tool), words + [ours], timeout: 60))
  }

  /// Changes bytes of both copies.
  func poke(_ change: (inout [UInt8]) -> Void) throws {
    var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: genuine)))
    change(&bytes)
    try Data(bytes).write(to: URL(fileURLWithPath: genuine))
    try copy()
  }
}

@Suite(.tags(.genuine)) struct BitmapTests {
  @Test("sessions leave the bytes of the genuine tool, whatever they write, zero, discard and resize")
  func sessions() throws {
    let seed = try environmentNumber("QATLAS_BITMAP_SEED", default: 1)
    let count = try environmentNumber("QATLAS_BITMAPS", default: 12)
    for seed in seed..<seed + count { try session(seed) }
  }

  private func session(_ seed: UInt64) throws {
    var words = SeededWords(random: SplitMix64(seed: seed))
    let isSmall = words.isOne(in: 2)
    let clusterSize = UInt64(words.one(isSmall ? ["512", "4096", "65536"] : ["65536", "2097152"])) ?? 65536
    let isExtended = clusterSize >= 16384 && words.isOne(in: 3)
    var size: UInt64 = (UInt64(words.one(isSmall ? ["1", "3"] : ["64", "1024", "40960"])) ?? 1) << 20
    var bitmaps: [[String]] = []
    for name in 0...words.random.below(3) {
      let granularity = UInt64(1) << (UInt64(words.one(["9", "12", "16", "20", "31"])) ?? 16)
      bitmaps.append((words.isOne(in: 4) ? ["--disable"] : []) + ["-g", "\(granularity)", "b\(name)"])
    }
    let copies = try Copies(
      "cluster_size=\(clusterSize),extended_l2=\(isExtended ? "on" : "off")", "\(size)", bitmaps)
    for number in 0...words.random.below(3) {
      var line = ["-f", "qcow2"]
      var tool = "qemu-io"
      if words.isOne(in: 6), size < 1 << 30 {
        tool = "qemu-img"
        size = words.isOne(in: 2) ? size + 1 << 20 : size / 2
        let theirs = try run(tool, ["resize", "-q", "--shrink", copies.genuine, "\(size)"], timeout: 60)
        let ours = try run(
          copies.folder.path(tool), ["resize", "-q", "--shrink", copies.ours, "\(size)"], timeout: 60)
        #expect(theirs.status == ours.status, "seed \(seed), session \(number): resize to \(size)")
      } else {
        for _ in 0...words.random.below(5) {
          var length = words.isOne(in: 2) ? 65536 : 1 + words.random.below(1 << 19)
          length = min(length, size)
          var offset = words.random.below(size - length + 1)
          if words.isOne(in: 2) { offset = offset / 65536 * 65536 }
          length = min(length, size - offset)
          var verb = words.one(["write -P 7", "write -z", "write -z -u", "discard", "read", "write -c -P 3"])
          if verb.hasPrefix("write -c") {
            offset = offset / clusterSize * clusterSize
            length = min(clusterSize, size - offset)
          }
          if length == 0 { verb = "read" }
          line += ["-c", "\(verb) \(offset) \(length)"]
        }
        let (theirs, ours) = try copies.both(tool, line)
        #expect(theirs.status == ours.status, "seed \(seed), session \(number): \(line)\n\(ours.stderr)")
      }
      let difference = try firstDifference(copies.genuine, copies.ours)
      #expect(difference == nil, "seed \(seed), session \(number): \(line)")
      guard difference == nil else { return }
    }
    let check = try run("qemu-img", ["check", "-f", "qcow2", copies.ours], timeout: 60)
    #expect(check.status == 0, "seed \(seed): \(check.stdout)\(check.stderr)")
  }

  private static func directory(_ bytes: [UInt8]) -> Int {
    // The extension's last word is the place of the directory.
    for at in stride(from: 104, to: 1024, by: 8)
    where bytes[at..<at + 4].elementsEqual([0x23, 0x85, 0x28, 0x75]) {
      return bytes[at + 24..<at + 32].reduce(0) { $0 << 8 | Int($1) }
    }
    return 0
  }

  @Test("a bitmap that was in use is never trusted, and keeps the disk at its size")
  func inUse() throws {
    let copies = try Copies("cluster_size=65536", "4M", [["lost"], ["-g", "4096", "kept"]])
    try copies.poke { $0[Self.directory($0) + 15] |= 1 }
    for words in [["-c", "write -P 1 1M 64k"], ["-c", "discard 0 1M"]] {
      let (theirs, ours) = try copies.both("qemu-io", words)
      #expect(theirs.status == ours.status)
      #expect(try firstDifference(copies.genuine, copies.ours) == nil, "\(words)")
    }
    let theirs = try run("qemu-img", ["resize", copies.genuine, "8M"], timeout: 60)
    let ours = try run(copies.folder.path("qemu-img"), ["resize", copies.ours, "8M"], timeout: 60)
    #expect(theirs.status == 1 && ours.status == 1)
    #expect(ours.stderr.contains("Bitmap 'lost' is inconsistent and cannot be used"))
    #expect(try firstDifference(copies.genuine, copies.ours) == nil)
  }

  @Test("a directory with a name that ends at a zero byte cannot be written back whole, and is left alone")
  func zeroByte() throws {
    let copies = try Copies("cluster_size=65536", "4M", [["first-of-two-bitmaps"], ["second"]])
    try copies.poke { $0[Self.directory($0) + 24 + 2] = 0 }
    let before = try Data(contentsOf: URL(fileURLWithPath: copies.ours))
    for (words, status): ([String], Int32) in [
      (["-c", "write -P 1 1M 64k"], 1), (["-c", "discard 0 1M"], 1), (["-c", "read 0 4k"], 0),
    ] {
      let result = try run(copies.folder.path("qemu-io"), words + [copies.ours], timeout: 60)
      #expect(result.status == status, "\(words)")
      #expect((result.stdout + result.stderr).contains("has names that cannot be written back"), "\(words)")
      #expect(try Data(contentsOf: URL(fileURLWithPath: copies.ours)) == before, "\(words)")
    }
    // Who only reads sees the disk.
    let read = try run(
      copies.folder.path("qemu-io"), ["-r", "-c", "read -P 0 0 4k", copies.ours], timeout: 60)
    #expect(read.status == 0, "\(read.stderr)")
  }

  @Test("bitmaps that are out of date are told by every opening and dropped by one that may write")
  func stale() throws {
    let copies = try Copies("cluster_size=65536", "4M", [["old"]])
    try copies.poke { for at in 88..<96 { $0[at] = 0 } }
    let warning = "a program lacking bitmap support modified this file"
    for (tool, words) in [
      ("qemu-img", ["info"]), ("qemu-io", ["-r", "-c", "read 0 4k"]), ("qemu-img", ["map"]),
    ] {
      let (theirs, ours) = try copies.both(tool, words)
      #expect(theirs.stderr.contains(warning) && ours.stderr.contains(warning), "\(words) \(ours.stderr)")
    }
    let (theirs, ours) = try copies.both("qemu-io", ["-c", "write -P 1 0 4k"])
    #expect(theirs.stderr.contains(warning) && ours.stderr.contains(warning))
    #expect(try firstDifference(copies.genuine, copies.ours) == nil)
  }

  @Test("the explorer saves what a session of the genuine tool leaves", arguments: [[], ["--rw"]])
  func explorer(_ mode: [String]) throws {
    let copies = try Copies(
      "cluster_size=65536", "8M", [["-g", "4096", "fine"], ["coarse"], ["--disable", "off"]])
    let original = try Data(contentsOf: URL(fileURLWithPath: copies.ours))
    func explore(_ lines: [String]) throws -> ProcessResult {
      let script = copies.folder.path("keys")
      try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: script))
      return try run(
        builtProduct("qatlas"), ["explore"] + mode + ["--script", script, copies.ours], timeout: 60)
    }
    func bits(_ path: String) throws -> String {
      let info = try run("qemu-img", ["info", "-f", "qcow2", path], timeout: 60).stdout
      let words = info.components(separatedBy: "bitmaps:").last ?? ""
      return words.components(separatedBy: "refcount bits").first ?? ""
    }
    if mode.isEmpty {
      #expect(try explore([":write -P 1 0 64k", ":q!"]).status == 0)
      #expect(try Data(contentsOf: URL(fileURLWithPath: copies.ours)) == original)
    }
    let lines = ["write -P 1 1M 100k", "discard 0 1M", "write -z 3M 64k"]
    let result = try explore(
      // Where every operation is saved, nothing is left to repair.
      [":write -P 9 5M 64k", ":repair", ":undo"] + (mode.isEmpty ? [":undo"] : []) + [":repair"]
        + lines.map { ":" + $0 } + [
          ":write -P 9 6M 64k", ":w", ":undo", ":w", ":q",
        ])
    #expect(result.status == 0, "\(result)")
    try succeed("qemu-io", ["-f", "qcow2"] + lines.flatMap { ["-c", $0] } + [copies.genuine])
    #expect(try bits(copies.ours) == bits(copies.genuine))
    for path in [copies.ours, copies.genuine] {
      #expect(try run("qemu-img", ["check", "-f", "qcow2", path], timeout: 60).status == 0)
    }
    // The bits themselves, as the genuine tool merges them into a new one and exports them.
    #expect(try dirty(copies.ours, copies.folder) == dirty(copies.genuine, copies.folder))
    guard mode.isEmpty else { return }
    // One save of one row of operations has the bytes of one session.
    try original.write(to: URL(fileURLWithPath: copies.ours))
    #expect(try explore(lines.map { ":" + $0 } + [":w", ":q"]).status == 0)
    #expect(try firstDifference(copies.genuine, copies.ours) == nil)
  }

  @Test("no way back to a snapshot while there is a bitmap, and the image stays as it is")
  func jump() throws {
    let copies = try Copies("cluster_size=65536", "8M", [["--disable", "off"]])
    try succeed("qemu-img", ["snapshot", "-c", "one", copies.genuine])
    try copies.copy()
    let before = try sha256(ofFile: copies.ours)
    for name in ["one", "none"] {
      let (theirs, ours) = try copies.both("qemu-img", ["snapshot", "-a", name])
      #expect(ours.status == 1 && ours.status == theirs.status && ours.stderr == theirs.stderr)
    }
    #expect(try sha256(ofFile: copies.ours) == before)
  }

  /// The changed ranges that a copy of the bitmaps in a new image has.
  private func dirty(_ path: String, _ folder: TemporaryDirectory) throws -> [UInt8] {
    let target = folder.path("exported")
    try succeed("qemu-img", ["convert", "-f", "qcow2", "-O", "qcow2", "--bitmaps", path, target])
    return [UInt8](try Data(contentsOf: URL(fileURLWithPath: target)))
  }
}
