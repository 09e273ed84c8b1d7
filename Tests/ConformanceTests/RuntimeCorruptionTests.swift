// Damage that a request meets: the same sentence, the same mark in the header and the same bytes in
// the file as the genuine tool leaves.

import Foundation
import Storage
import TestSupport
import Testing

@Suite("Runtime corruption")
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
  ]

  @Test("damage met by a request", arguments: cases)
  func damage(_ damage: Damage) throws {
    for tool in ["qemu-img", "qemu-io"] { try requireTool(tool) }
    let folder = try TemporaryDirectory()
    let genuine = folder.path("genuine.qcow2")
    let ours = folder.path("ours.qcow2")
    let options = damage.options.isEmpty ? [] : ["-o", damage.options]
    _ = try run("qemu-img", ["create", "-q", "-f", "qcow2"] + options + [genuine, "1M"])
    _ = try run("qemu-io", ["-f", "qcow2", "-c", "write 0 64k", genuine])
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
