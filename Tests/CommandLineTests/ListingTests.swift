// `layout`, `l2`, `owners`, `map` and `resize` on images that are odd: every value of a run is true of all
// of it, roles and health are two things, and what has no place on the disk is not given one.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct ListingTests {
  private typealias Record = [String: Any]

  private func json(_ judge: Judge, _ arguments: [String]) throws -> Any {
    let printed = try judge.ours(arguments)
    #expect(printed.status == 0, "\(arguments): \(printed)")
    return try JSONSerialization.jsonObject(with: Data(printed.output.utf8))
  }

  private func layout(_ judge: Judge, _ image: String) throws -> (runs: [Record], totals: Record) {
    let whole = try #require(try json(judge, ["layout", "--json", image]) as? Record)
    return (try #require(whole["runs"] as? [Record]), try #require(whole["totals"] as? Record))
  }

  /// Changes bytes of a file.
  private func poke(_ judge: Judge, _ name: String, _ change: (inout [UInt8]) -> Void) throws {
    var bytes = [UInt8](try #require(judge.bytes(name)))
    change(&bytes)
    try Data(bytes).write(to: URL(fileURLWithPath: judge.path(name)))
  }

  private func word(_ bytes: [UInt8], _ at: Int) -> UInt64 {
    bytes[at..<at + 8].reduce(0) { $0 << 8 | UInt64($1) }
  }
  private func put(_ value: UInt64, _ at: Int, _ bytes: inout [UInt8]) {
    for index in 0..<8 { bytes[at + index] = UInt8(truncatingIfNeeded: value >> UInt64(56 - 8 * index)) }
  }
  private let mask: UInt64 = 0x00ff_ffff_ffff_fe00

  /// Where the first L2 table and the first refcount block lie.
  private func places(_ bytes: [UInt8]) -> (l1: Int, l2: Int, block: Int) {
    let l1 = Int(word(bytes, 40))
    return (l1, Int(word(bytes, l1) & mask), Int(word(bytes, Int(word(bytes, 48))) & mask))
  }

  @Test("a run ends where refcount or users change, and the totals tell them apart")
  func runsOfSnapshots() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "256M"])
    try judge.must("qemu-io", ["-c", "write 0 8M", "a.qcow2"])
    try judge.must("qemu-img", ["snapshot", "-c", "s", "a.qcow2"])
    try judge.must("qemu-io", ["-c", "write 2M 2M", "a.qcow2"])
    let (runs, totals) = try layout(judge, "a.qcow2")
    let data = runs.filter { $0["state"] as? String == "data" }
    func clusters(_ users: String, _ refcount: Int) -> Int {
      data.filter { $0["users"] as? String == users && $0["refcount"] as? Int == refcount }
        .reduce(0) { $0 + ($1["clusters"] as? Int ?? 0) }
    }
    #expect(clusters("disk and snapshots", 2) == 96)
    #expect(clusters("snapshots only", 1) == 32)
    #expect(clusters("disk", 1) == 32)
    #expect(data.reduce(0) { $0 + ($1["clusters"] as? Int ?? 0) } == 160)
    #expect(totals["clusters shared with snapshots"] as? Int == 96)
    #expect(totals["clusters of snapshots alone"] as? Int == 32)
    #expect(totals["clusters of the disk alone"] as? Int == 32)
    let text = try judge.ours(["layout", "a.qcow2"]).output
    #expect(
      text.contains("clusters 32  state data  users snapshots only  refcount 1  snapshot \"s\", L2[32]"))
  }

  @Test("refcounts that are not kept up do not hide what clusters are", arguments: [true, false])
  func roles(isDirty: Bool) throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", "a.qcow2", "16M"])
    try judge.must("qemu-io", ["-c", "write 0 256k", "a.qcow2"])
    try poke(judge, "a.qcow2") { bytes in
      if isDirty {
        // As a crash leaves it: the counts of the data never reached the disk.
        bytes[79] |= 1
        let (_, l2, block) = places(bytes)
        for index in 0..<4 {
          let cluster = Int((word(bytes, l2 + index * 8) & mask) >> 16)
          bytes[block + cluster * 2 + 1] = 0
        }
      } else {
        put(0, Int(word(bytes, 48)), &bytes)
      }
    }
    let (runs, totals) = try layout(judge, "a.qcow2")
    let states = runs.map { $0["state"] as? String ?? "" }
    // Without its table nothing leads to the block any more, and nothing counts it: it is free.
    let second = isDirty ? "refc. block" : "free"
    #expect(states == ["header", "refc. table", second, "L1 table", "L2 table", "data"])
    #expect(runs.last?["health"] as? String == "refcount not kept up")
    #expect(totals["bad clusters"] as? Int == 0)
    #expect(totals["uncounted clusters"] as? Int == (isDirty ? 4 : 8))
    #expect(totals["data clusters"] as? Int == 4 << 16)
    let text = try judge.ours(["layout", "a.qcow2"]).output
    #expect(text.contains("refcounts are rebuilt at the next writing open") == isDirty)
    #expect(text.contains("guest  #  data  4 subclusters") && !text.contains("guest  !"))
  }

  @Test("conflicts are told on the guest side, with their reasons")
  func conflicts() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "16M"])
    try judge.must("qemu-io", ["-c", "write 0 192k", "a.qcow2"])
    try poke(judge, "a.qcow2") { bytes in
      let (_, l2, block) = places(bytes)
      let copied: UInt64 = 1 << 63
      put(word(bytes, l2), l2 + 24, &bytes)
      put(UInt64(l2) | copied, l2 + 32, &bytes)
      put(UInt64(block) | copied, l2 + 40, &bytes)
      put(0x700_0000 | copied, l2 + 48, &bytes)
      let second = Int((word(bytes, l2 + 8) & mask) >> 16)
      bytes[block + second * 2 + 1] = 0
    }
    let records = try #require(try json(judge, ["l2", "--json", "a.qcow2"]) as? [Record])
    func text(_ index: Int) -> String {
      records.first { $0["l2"] as? Int == index }?["text"] as? String ?? ""
    }
    let twice = "data, bad: 2 entries share its host cluster, whose refcount is 1"
    #expect(text(0) == twice && text(3) == twice)
    #expect(
      text(1) == "data, bad: the refcount of its host cluster is 0: the next new cluster may take its place")
    #expect(text(2) == "data")
    #expect(text(4) == "data, bad: points into an L2 table")
    #expect(text(5) == "data, bad: points into a refcount block")
    #expect(text(6) == "data, bad: behind the end of the file")
    #expect(records.first?["conflict"] as? String == "an entry for data points into it")
    let (runs, totals) = try layout(judge, "a.qcow2")
    let block = runs.first { $0["state"] as? String == "refc. block" }
    #expect(block?["health"] as? String == "used in two ways")
    #expect(totals["bad clusters"] as? Int == 5 && totals["bad subclusters"] as? Int == 6)
    // The genuine check finds the same number of errors in the clusters.
    let check = try judge.genuine("qemu-img", ["check", "a.qcow2"])
    #expect(check.status == 2)
  }

  @Test("an entry that is not COPIED is not shared for that, with a snapshot it is")
  func copied() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "16M"])
    try judge.must("qemu-io", ["-c", "write 0 192k", "a.qcow2"])
    try poke(judge, "a.qcow2") { bytes in
      let (_, l2, _) = places(bytes)
      for index in 0..<3 { bytes[l2 + index * 8] &= 0x7f }
    }
    let text = try judge.ours(["l2", "--guest", "0", "a.qcow2"]).output
    #expect(text.contains("subclusters #  data, COPIED not set"))
    #expect(text.contains("refcount 1, COPIED not set: the next write copies although nobody shares it"))
    #expect(!text.contains("shared,") && !text.contains("this one is shared"))
    #expect(try judge.ours(["layout", "a.qcow2"]).output.contains("guest  #  data  3 subclusters"))
    try judge.must("qemu-img", ["snapshot", "-c", "s", "a.qcow2"])
    let with = try judge.ours(["l2", "--guest", "0", "a.qcow2"]).output
    #expect(with.contains("subclusters s  data, shared") && with.contains("because this one is shared"))
  }

  @Test("behind the end of the backing file nobody answers")
  func backingEnd() throws {
    let judge = try Judge()
    try Data(repeating: 1, count: 100 << 10).write(to: URL(fileURLWithPath: judge.path("base.raw")))
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "base.raw", "a.qcow2", "1M"])
    try judge.must("qemu-io", ["-c", "write 512k 64k", "a.qcow2"])
    let layout = try judge.ours(["layout", "a.qcow2"]).output
    // 100 KiB reach into the second cluster.
    #expect(layout.contains("guest  :  below  2 subclusters\n") && layout.contains("guest  .  none  13 sub"))
    let l2 = try judge.ours(["l2", "a.qcow2"]).output
    #expect(
      l2.contains(
        "not allocated (the backing file answers up to 0x19000, behind its end the guest reads zeroes"))
    #expect(l2.contains("not allocated (behind the end of the backing file, so the guest reads zeroes)"))
    func cost(_ guest: String) throws -> String {
      try judge.ours(["l2", "--guest", guest, "a.qcow2"]).output
    }
    #expect(try cost("0").contains("a smaller one fills the rest from the backing file"))
    #expect(try cost("768k").contains("a smaller one fills the rest with zeroes"))
  }

  @Test("saved VM state has no place on the disk, and is left over when its snapshot is gone")
  func machineState() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "16M"])
    try judge.must("qemu-io", ["-c", "write 0 64k", "-c", "write -b -P 5 0 200k", "a.qcow2"])
    try judge.must("qemu-img", ["snapshot", "-c", "v", "a.qcow2"])
    func state() throws -> (Record, Record) {
      let (runs, totals) = try layout(judge, "a.qcow2")
      return (try #require(runs.first { $0["state"] as? String == "VM state" }), totals)
    }
    let (run, totals) = try state()
    #expect(run["clusters"] as? Int == 4 && run["refcount"] as? Int == 2)
    #expect(run["guest"] == nil && run["users"] as? String == "disk and snapshots")
    #expect(totals["VM state clusters"] as? Int == 4 && totals["VM state clusters left over"] as? Int == 0)
    #expect(totals["guest data"] as? Int == 1 << 16)
    let l2 = try judge.ours(["l2", "-i", "1", "a.qcow2"]).output
    #expect(l2.contains("state saved VM state") && !l2.contains("guest 0x"))
    try judge.must("qemu-img", ["snapshot", "-d", "v", "a.qcow2"])
    let (left, after) = try state()
    #expect(left["users"] as? String == "left over" && after["VM state clusters left over"] as? Int == 4)
    let owners = try judge.ours(["owners", "a.qcow2", String(try #require(left["host"] as? Int))]).output
    #expect(owners.contains("saved VM state, L1[1] L2[0] of the disk") && !owners.contains("guest"))
    // A larger disk shows it as its bytes; the genuine tool does the same, and says nothing.
    try Data(try #require(judge.bytes("a.qcow2"))).write(to: URL(fileURLWithPath: judge.path("b.qcow2")))
    try judge.must("qemu-img", ["resize", "a.qcow2", "1G"])
    let resized = try judge.ours(["resize", "b.qcow2", "1G"])
    #expect(
      resized.status == 0 && resized.errors.contains("4 clusters are mapped behind the end of the disk"))
    #expect(judge.bytes("a.qcow2") == judge.bytes("b.qcow2"))
    #expect(try judge.ours(["resize", "b.qcow2", "2G"]).errors.isEmpty)
  }

  @Test("owners names everybody who uses a cluster")
  func owners() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "16M"])
    try judge.must("qemu-io", ["-c", "write 0 64k", "a.qcow2"])
    for name in ["one", "two"] { try judge.must("qemu-img", ["snapshot", "-c", name, "a.qcow2"]) }
    try judge.must("qemu-io", ["-c", "write 64k 64k", "a.qcow2"])
    let host = try #require(
      try layout(judge, "a.qcow2").runs.first { $0["state"] as? String == "data" }?["host"] as? Int)
    let found = try #require(try json(judge, ["owners", "a.qcow2", String(host), "--json"]) as? Record)
    #expect(found["refcount"] as? Int == 3 && found["owners"] as? Int == 3)
    let list = try #require(found["list"] as? [Record])
    #expect(list.compactMap { $0["guest"] as? Int } == [0, 0, 0])
    #expect(Set(list.map { $0["snapshot"] as? String ?? "-" }) == ["-", "1", "2"])
    // More owners than anybody wants to read, all of them named.
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "b.qcow2", "1M"])
    try judge.must("qemu-io", ["-c", "write 0 1M", "b.qcow2"])
    try poke(judge, "b.qcow2") { bytes in
      let (l1, l2, _) = places(bytes)
      for table in 0..<30 {
        let at = Int(word(bytes, l1 + table * 8) & mask)
        for entry in 0..<64 { put(word(bytes, l2), at + entry * 8, &bytes) }
      }
    }
    let first = try #require(
      try layout(judge, "b.qcow2").runs.first { $0["health"] as? String == "refcount too low" }?["host"]
        as? Int)
    let lines = try judge.ours(["owners", "b.qcow2", "0x" + String(first, radix: 16)]).output
      .split(separator: "\n").filter { !$0.hasPrefix("which ") }
    #expect(lines.count == 1 + 30 * 64 && lines[0].contains("owners 1920"))
    #expect(try judge.ours(["owners", "b.qcow2", "7E"]).output.contains("owners 0"))
    #expect(try judge.ours(["owners", "b.qcow2", "bogus"]).status == 1)
  }

  @Test(
    "map looks into the holes of an external data file",
    arguments: ["data_file=a.raw,data_file_raw=on", "data_file=a.raw,preallocation=metadata"])
  func dataFile(options: String) throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, "a.qcow2", "64M"])
    try judge.must("qemu-io", ["-c", "write 1M 64k", "-c", "write 63M 100k", "a.qcow2"])
    // The look is taken where the image itself keeps fewer bytes than clusters.
    try judge.must("cp", ["--sparse=always", "a.qcow2", "b.qcow2"])
    for arguments in [["map", "b.qcow2"], ["map", "--output=json", "b.qcow2"]] {
      #expect(try plain(judge.ours(arguments)) == plain(judge.genuine("qemu-img", arguments)))
    }
    #expect(
      try judge.ours(["map", "--output=json", "b.qcow2"]).output.contains("\"zero\": true, \"data\": true"))
  }

  /// Without the member that newer versions print.
  private func plain(_ printed: Printed) -> Printed {
    var printed = printed
    printed.output = printed.output.replacingOccurrences(
      of: #", "compressed": (true|false)"#, with: "", options: .regularExpression)
    return printed
  }
}
