// Damage that a request meets: the same sentence, the same mark in the header and the same bytes in
// the file as the genuine tool leaves.

import Foundation
import Storage
import TestSupport
import Testing

@Suite("Runtime corruption", .tags(.genuine))
struct RuntimeCorruptionTests {
  /// Bytes to put into an image with guest cluster 0 in host cluster 5, and what then runs on it.
  struct Damage: CustomTestStringConvertible {
    var name: String
    var offset: UInt64
    var value: UInt64
    var width = 8
    var commands: [String]
    var readOnly = false
    var options = ""
    var size = "1M"
    /// Run before the damage, in place of a write of guest cluster 0.
    var prepare = ["write 0 64k"]
    var testDescription: String { name }
  }

  static let cases = [
    Damage(
      name: "data on the refcount table", offset: 0x40000, value: 0x8000_0000_0001_0000,
      commands: ["write 0 4k", "write 64k 4k"]),
    Damage(
      name: "data on a refcount block", offset: 0x40000, value: 0x8000_0000_0002_0000,
      commands: ["write 0 4k"]),
    Damage(
      name: "data on the L1 table", offset: 0x40000, value: 0x8000_0000_0003_0000,
      commands: ["write 0 4k", "read 0 4k"]),
    Damage(
      name: "data on an L2 table", offset: 0x40000, value: 0x8000_0000_0004_0000, commands: ["write 0 4k"]),
    Damage(name: "offset 0", offset: 0x40000, value: 0x8000_0000_0000_0000, commands: ["write 0 4k"]),
    Damage(name: "header free", offset: 0x20000, value: 0, width: 2, commands: ["write 64k 64k"]),
    Damage(name: "L1 free", offset: 0x20006, value: 0, width: 2, commands: ["write 64k 4k"]),
    Damage(name: "L2 free", offset: 0x20008, value: 0, width: 2, commands: ["write 64k 4k"]),
    Damage(name: "no refcount block", offset: 0x10000, value: 0, commands: ["write 64k 4k"]),
    Damage(name: "misaligned refcount block", offset: 0x10000, value: 0x20200, commands: ["write 64k 4k"]),
    Damage(
      name: "misaligned data, read", offset: 0x40000, value: 0x8000_0000_0005_0200,
      commands: ["read 0 4k", "read 0 4k"]),
    Damage(
      name: "misaligned data, read-only", offset: 0x40000, value: 0x8000_0000_0005_0200,
      commands: ["read 0 4k", "read 0 4k"], readOnly: true),
    Damage(
      name: "misaligned data, write", offset: 0x40000, value: 0x8000_0000_0005_0200, commands: ["write 0 4k"]),
    Damage(
      name: "misaligned data, discard", offset: 0x40000, value: 0x8000_0000_0005_0200,
      commands: ["discard 0 64k"]),
    Damage(
      name: "misaligned L2 table", offset: 0x30000, value: 0x8000_0000_0004_0200, commands: ["read 0 4k"]),
    Damage(
      name: "zero flag in version 2", offset: 0x40000, value: 1, commands: ["read 0 4k"],
      options: "compat=0.10"),
    Damage(
      name: "allocated and zero", offset: 0x40008, value: 0x0000_0001_ffff_ffff, commands: ["write 4k 4k"],
      options: "extended_l2=on"),
    // A table that is used as another one must not be written.
    Damage(
      name: "refcount block used as an L2 table", offset: 0x30000, value: 0x20000,
      commands: ["write -P 3 64k 64k", "write -P 4 3M 64k"], size: "16M", prepare: ["write 0 1M"]),
    Damage(
      name: "L1 table used as an L2 table", offset: 0x30000, value: 0x8000_0000_0003_0000,
      commands: ["write 0 4k", "write 512k 4k"]),
    Damage(
      name: "refcount table used as an L2 table", offset: 0x30000, value: 0x8000_0000_0001_0000,
      commands: ["write 512k 4k", "discard 0 1M"]),
    Damage(
      name: "L1 table used as an L2 table, zeroes", offset: 0x30000, value: 0x8000_0000_0003_0000,
      commands: ["write -z 512k 64k"]),
    Damage(
      name: "L2 table used as a refcount block", offset: 0x10000, value: 0x40000,
      commands: ["write 512k 4k", "write 0 64k"]),
    Damage(
      name: "L1 table used as a refcount block", offset: 0x10000, value: 0x30000,
      commands: ["write 512k 4k", "write 0 64k"]),
    Damage(
      name: "longer refcount table", offset: 56, value: 4, width: 4,
      commands: ["write 512k 4k", "write 0 64k"]),
    Damage(name: "longer L1 table", offset: 36, value: 0x4000, width: 4, commands: ["write 512k 4k"]),
    // Data that cannot be read is no damage of the tables.
    Damage(
      name: "stream, read", offset: 0x50000, value: .max,
      commands: ["read 0 4k", "write 512k 64k", "read 512k 64k"], prepare: ["write -c -P 7 0 64k"]),
    Damage(
      name: "stream, copied by a write", offset: 0x50000, value: .max,
      commands: ["write 4k 4k", "write 512k 64k", "write 0 64k", "read 0 64k"],
      prepare: ["write -c -P 7 0 64k"]),
    Damage(
      name: "stream, read-only", offset: 0x50000, value: .max, commands: ["read 0 4k", "read 64k 4k"],
      readOnly: true, prepare: ["write -c -P 7 0 64k"]),
    // Bitmaps that no writer makes: a write refuses them, whole zero-writes and discards mend them.
    Damage(
      name: "bad bitmap in the middle of a write", offset: 0x40018, value: 1, width: 4,
      commands: ["write 0 192k"], options: "extended_l2=on", prepare: ["write 32k 128k"]),
    Damage(
      name: "bad bitmap, zeroes", offset: 0x40018, value: 1, width: 4,
      commands: ["write -z 64k 64k", "read 64k 64k"], options: "extended_l2=on", prepare: ["write 32k 128k"]),
    Damage(
      name: "bad bitmap, zeroes in a part", offset: 0x40018, value: 1, width: 4,
      commands: ["write -z 66k 4k", "write -z 96k 32k"], options: "extended_l2=on",
      prepare: ["write 32k 128k"]),
    Damage(
      name: "bad bitmap, discard", offset: 0x40018, value: 1, width: 4,
      commands: ["discard 64k 64k", "read 64k 64k", "write 64k 64k"], options: "extended_l2=on",
      prepare: ["write 32k 128k"]),
    Damage(
      name: "zero flag in version 2, discard", offset: 0x40000, value: 1, commands: ["discard 0 64k"],
      options: "compat=0.10"),
  ]

  @Test("damage met by a request", arguments: cases)
  func damage(_ damage: Damage) throws {
    for tool in ["qemu-img", "qemu-io"] { try requireTool(tool) }
    let folder = try TemporaryDirectory()
    let genuine = folder.path("genuine.qcow2")
    let ours = folder.path("ours.qcow2")
    let options = damage.options.isEmpty ? [] : ["-o", damage.options]
    try succeed("qemu-img", ["create", "-q", "-f", "qcow2"] + options + [genuine, damage.size])
    try succeed("qemu-io", ["-f", "qcow2"] + damage.prepare.flatMap { ["-c", $0] } + [genuine])
    let file = try FileStorage(path: genuine, mode: .readWrite)
    let bytes = (0..<damage.width).map {
      UInt8(truncatingIfNeeded: damage.value >> UInt64(8 * (damage.width - 1 - $0)))
    }
    try file.write(bytes, at: damage.offset)
    try FileManager.default.copyItem(atPath: genuine, toPath: ours)
    let commands = damage.commands.flatMap { ["-c", $0] }
    let flags = damage.readOnly ? ["-r"] : []
    let theirs = try run("qemu-io", flags + ["-f", "qcow2", genuine] + commands)
    let own = try run(builtProduct("qatlas"), ["io"] + flags + [ours] + commands)
    #expect(own.stderr == theirs.stderr)
    #expect(Self.withoutTimes(own.stdout) == Self.withoutTimes(theirs.stdout))
    #expect(own.status == theirs.status)
    #expect(try firstDifference(genuine, ours) == nil)
  }

  /// Lines with a duration are cut at it.
  private static func withoutTimes(_ text: String) -> [Substring] {
    text.split(separator: "\n").map { line in line.range(of: " ops; ").map { line[..<$0.lowerBound] } ?? line
    }
  }
}
