// Saved machine state, which lies behind the disk: `read -b` and `write -b` beside the genuine tools, between
// snapshots and changes of the disk. After every step both files have the same bytes.

import Foundation
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite("Machine state", .tags(.genuine))
struct StateTests {
  private static let recipes = [
    "cluster_size=4k", "extended_l2=on,cluster_size=16k", "cluster_size=64k",
    "cluster_size=512,refcount_bits=8",
    "extended_l2=on", "compat=0.10,cluster_size=4k", "cluster_size=4k,lazy_refcounts=on", "cluster_size=2M",
  ]

  /// QATLAS_STATES changes how many sequences there are, QATLAS_SEED where they begin.
  @Test("is written, read, kept by snapshots and brought back as there")
  func sequences() throws {
    let seed = try environmentNumber("QATLAS_SEED", default: 0)
    for number in seed..<seed + (try environmentNumber("QATLAS_STATES", default: 2)) {
      try sequence(number)
    }
  }

  private func sequence(_ number: UInt64) throws {
    var random = SplitMix64(seed: number)
    let recipe = Self.recipes[Int(number) % Self.recipes.count]
    let pair = try LastingPair()
    try pair.make(["create", "-q", "-f", "qcow2", "-o", recipe, "a", "\(1 + random.below(5))M"])
    for step in 0..<8 {
      let tool: String
      let words: [String]
      switch random.below(8) {
      case 0: (tool, words) = ("qemu-img", ["snapshot", "-c", "s\(random.below(3))", "a"])
      case 1: (tool, words) = ("qemu-img", ["snapshot", "-a", "s\(random.below(3))", "a"])
      case 2: (tool, words) = ("qemu-img", ["snapshot", "-d", "s\(random.below(3))", "a"])
      default:
        tool = "qemu-io"
        words =
          ["-f", "qcow2"] + (0...random.below(4)).flatMap { _ in ["-c", Self.command(&random)] } + ["a"]
      }
      try pair.run(tool, words, "\(recipe), \(number), step \(step)")
    }
    try pair.run("qemu-img", ["snapshot", "-l", "a"], "\(number)")
    try succeed("qemu-img", ["check", pair.ours("a")])
  }

  private static func command(_ random: inout SplitMix64) -> String {
    // The area is mapped by a table for every so many clusters, and what lies far off makes the L1 table grow.
    let far = [0, 0, 0, 4 << 20, 96 << 20, 3 << 30][Int(random.below(6))] as UInt64
    let offset = far + random.below(300) * 512
    let count = (1 + random.below(300)) * 512
    switch random.below(8) {
    case 0: return "read -b -P \(random.below(4)) \(offset) \(count)"
    case 1: return "read -b -v \(offset) 1k"
    case 2: return "write -P \(1 + random.below(3)) \(random.below(500) * 512) \(count)"
    case 3: return "discard 0 1M"
    case 4: return "write -b \(offset + random.below(2)) \(count)"
    default: return "write -b -P \(1 + random.below(3)) \(offset) \(count)"
    }
  }

  @Test("its size stands in the list of snapshots, and going back brings it back")
  func sizeInList() throws {
    let pair = try LastingPair()
    try pair.make(["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "a", "3M"])
    try pair.run("qemu-io", ["-c", "write -b -P 7 0 200k", "-c", "write -P 1 0 8k", "a"])
    try pair.run("qemu-img", ["snapshot", "-c", "running", "a"])
    for file in [pair.genuine("a"), pair.ours("a")] {
      var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: file)))
      let entry = Int(BigEndian.u64(bytes, 64))
      for (place, width) in [(entry + 32, 4), (entry + 40, 8)] {
        for index in 0..<width {
          bytes[place + index] = UInt8(truncatingIfNeeded: 204_800 >> (8 * (width - 1 - index)))
        }
      }
      try Data(bytes).write(to: URL(fileURLWithPath: file))
    }
    try pair.run("qemu-img", ["snapshot", "-l", "a"])
    try pair.run("qemu-img", ["info", "a"])
    try pair.run("qemu-io", ["-c", "write -b -P 8 0 64k", "-c", "write -P 2 0 4k", "a"])
    try pair.run("qemu-img", ["check", "a"])
    try pair.run("qemu-img", ["snapshot", "-a", "running", "a"])
    try pair.run("qemu-io", ["-c", "read -b -P 7 0 200k", "-c", "read -P 1 0 8k", "a"])
    try pair.run("qemu-img", ["snapshot", "-d", "running", "a"])
    try pair.run("qemu-io", ["-c", "read -b -P 7 0 200k", "a"])
  }

  @Test("what cannot be is said as there, and a place that only wraps there is refused")
  func refusals() throws {
    let pair = try LastingPair()
    try pair.make(["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "a", "3M"])
    try pair.make(["create", "-q", "-f", "raw", "r", "1M"])
    let commands = [
      "write -b 1 512", "read -b 512 1", "write -b -z 0 512", "write -b -f 0 512", "write -b -c 0 512",
      "write -b 0 0", "read -b 0 0", "write -b 9E 512", "read -b 1T 512",
    ].flatMap { ["-c", $0] }
    try pair.run("qemu-io", commands + ["a"])
    try pair.run("qemu-io", ["-f", "raw"] + commands + ["r"])
    try pair.run("qemu-io", ["-r", "-c", "write -b 0 512", "-c", "read -b -P 0 0 512", "a"])
    // No L1 table reaches so far.
    let far = try run(pair.program("qemu-io"), ["-c", "write -b 1P 512", pair.ours("a")])
    #expect(far.status == 1 && far.stdout == "write failed: File too large\n")
    // The genuine tool writes to the start of the area then.
    let wrapped = try run(pair.program("qemu-io"), ["-c", "write -b 7E 512", pair.ours("a")])
    #expect(wrapped.status == 1 && wrapped.stdout == "write failed: File too large\n")
  }
}
