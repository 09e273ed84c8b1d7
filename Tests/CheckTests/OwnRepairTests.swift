// Where the genuine repair gives up, or gives away what may be the last copy of data, ours must do better.

import Foundation
import TestSupport
import Testing

/// What is better than the genuine repair.
@Suite("check -r under our own name", .tags(.genuine))
struct OwnRepairTests {
  private func stage() throws -> (stage: RepairStage, image: RepairImage) {
    let judge = try Judge(inMemory: true)
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", "base", "1M"])
    try judge.must("qemu-io", ["-c", "write -P 1 0 12k", "-c", "write -P 2 64k 4k", "base"])
    return (try RepairStage(judge), RepairImage([UInt8](try #require(judge.bytes("base")))))
  }

  @Test("what may be the last copy of data keeps its count, is named, and goes when asked for")
  func lastCopy() throws {
    let made = try stage()
    var image = made.image
    // The entry of guest 0 is lost; cluster 5 has its data. Cluster 6 counts too much, which loses nothing.
    _ = image.set(0x4000, 0, 8)
    _ = image.setCount(6, 2)
    for scope in ["leaks", "all"] {
      try made.stage.put(image.bytes)
      let ours = try made.stage.ownNotes(["check", "-r", scope, "a"])
      #expect(ours.status == 3, "\(ours)")
      #expect(ours.stderr.contains("note: 1 cluster without an owner holds data (host 0x5000 to 0x5fff)"))
      #expect(ours.stderr.contains("--drop-leaks"))
      let after = RepairImage(try made.stage.bytes(1))
      #expect(after.count(5) == 1 && after.count(6) == 1)
      #expect(isFilled(Array(after.bytes[0x5000..<0x6000]), with: 1))
      #expect(try made.stage.theirs(["check", "-r", scope, "a"]).status == 0)
      #expect(try made.stage.own(["check", "-r", scope, "--drop-leaks", "a"]).status == 0)
      #expect(sameBytes(try made.stage.bytes(0), try made.stage.bytes(1)))
    }
  }

  @Test("new counts keep what may be the last copy of data")
  func rebuilt() throws {
    let made = try stage()
    var image = made.image
    _ = image.set(0x4000, 0, 8)
    _ = image.setCount(6, 0)
    try made.stage.put(image.bytes)
    let ours = try made.stage.own(["check", "-r", "all", "a"])
    #expect(ours.status == 3, "\(ours)")
    let after = RepairImage(try made.stage.bytes(1))
    #expect(after.count(5) == 1 && after.count(6) == 1)
    #expect(isFilled(Array(after.bytes[0x5000..<0x6000]), with: 1))
  }

  @Test("an image with bitmaps keeps its snapshots, which the genuine repair takes away")
  func snapshotsAndBitmaps() throws {
    let judge = try Judge(inMemory: true)
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", "base", "1M"])
    try judge.must("qemu-io", ["-c", "write -P 1 0 12k", "base"])
    try judge.must("qemu-img", ["snapshot", "-c", "one", "base"])
    try judge.must("qemu-img", ["bitmap", "--add", "base", "b0"])
    let stage = try RepairStage(judge)
    try stage.put([UInt8](try #require(judge.bytes("base"))))
    #expect(try stage.ours(["check", "-r", "all", "a"]).status == 0)
    let after = RepairImage(try stage.bytes(1))
    #expect(after.number(60, 4) == 1)
    #expect(try stage.theirsOnOurs(["check", "a"]).status == 0)
    // The genuine tool finds nothing wrong and takes the snapshot away all the same.
    #expect(try stage.theirs(["check", "a"]).status == 0)
    #expect(try stage.theirs(["check", "-r", "all", "a"]).status == 0)
    #expect(RepairImage(try stage.bytes(0)).number(60, 4) == 0)
  }

  @Test("a dry run names places, owners and guest ranges and writes nothing")
  func dryRun() throws {
    let made = try stage()
    var image = made.image
    _ = image.set(0x4000, image.number(0x4008, 8), 8)
    try made.stage.put(image.bytes)
    let dry = try made.stage.ownNotes(["check", "-r", "all", "--dry-run", "--drop-leaks", "a"])
    #expect(dry.status == 0, "\(dry)")
    for part in [
      "Repairing cluster 5 refcount=1 reference=0\n", "Repairing cluster 6 refcount=1 reference=2\n",
      "host 0x5000, no owner", "guest 0x0 to 0xfff", "note: nothing was written",
    ] { #expect(dry.stderr.contains(part), "\(part)") }
    #expect(sameBytes(try made.stage.bytes(1), image.bytes))
  }

  @Test("damaged refcount tables, where the genuine tool gives up", arguments: [512, 1] as [UInt64])
  func damagedTable(bit: UInt64) throws {
    let made = try stage()
    var image = made.image
    _ = image.set(image.table, image.number(image.table, 8) | bit, 8)
    try made.stage.put(image.bytes)
    #expect(try made.stage.theirs(["check", "-r", "all", "a"]).status == 1)
    #expect(try made.stage.own(["check", "-r", "all", "--drop-leaks", "a"]).status == 0)
    let after = RepairImage(try made.stage.bytes(1))
    #expect(isFilled(Array(after.bytes[0x5000..<0x8000]), with: 1))
    try made.stage.put(after.bytes)
    #expect(try made.stage.theirs(["check", "a"]).status == 0)
  }

  @Test("a length that is nonsense costs no snapshot, where the genuine tool marks the image corrupt")
  func extraDataBehindTheEnd() throws {
    let made = try stage()
    var image = made.image
    image.addSnapshotTable([24, 24], lastSaid: 2_000_000_000)
    try made.stage.put(image.bytes)
    #expect(try made.stage.theirs(["check", "-r", "all", "a"]).status == 1)
    #expect(try made.stage.bytes(0)[79] & 2 != 0)
    let ours = try made.stage.own(["check", "-r", "all", "a"])
    #expect(ours.status == 0, "\(ours)")
    let after = RepairImage(try made.stage.bytes(1))
    #expect(after.number(60, 4) == 2)
    #expect(try made.stage.theirsOnOurs(["check", "a"]).status == 0)
  }

  @Test("a snapshot that is refused leaks nothing", arguments: ["1", "2", "4"])
  func refusedSnapshot(bits: String) throws {
    let judge = try Judge(inMemory: true)
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=4096,refcount_bits=\(bits)", "a", "1M"])
    try judge.must("qemu-io", ["-c", "write -P 1 100k 40k", "a"])
    let stage = try RepairStage(judge)
    let most = 1 << (Int(bits) ?? 1) - 2
    for number in 0..<most / 2 { try judge.must("qemu-img", ["snapshot", "-c", "s\(number)", "a"]) }
    // What comes in front of the clusters that refuse is counted, and counted back.
    try judge.must("qemu-io", ["-c", "write -P 2 0 8k", "-c", "write -c -P 3 200k 4k", "a"])
    for number in most / 2..<most { try judge.must("qemu-img", ["snapshot", "-c", "s\(number)", "a"]) }
    try judge.must("qemu-io", ["-c", "write -P 4 4k 4k", "a"])
    try stage.put([UInt8](try #require(judge.bytes("a"))))
    let before = RepairImage(try stage.bytes(1))
    for _ in 0..<3 {
      let words = ["snapshot", "-c", "more", "a"]
      #expect(try stage.theirs(words).status == 1)
      #expect(try stage.own(words).status == 1)
    }
    #expect(try stage.theirs(["check", "a"]).status == 3)
    #expect(try stage.theirsOnOurs(["check", "a"]).status == 0)
    let after = RepairImage(try stage.bytes(1))
    for cluster in 0..<after.clusters { #expect(after.count(cluster) == before.count(cluster)) }
  }
}
