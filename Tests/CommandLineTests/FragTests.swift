// `qatlas frag`: its percentage is the one that the genuine check prints, its text and its JSON say the same,
// and its figures are right for images whose order is known.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct FragTests {
  /// Images with and without compressed clusters, snapshots and a data file, all made by the genuine tools.
  enum Source: CustomTestStringConvertible, Sendable {
    case recipe(Int)
    case compressed, rewritten, snapshot, dataFile, extendedCompressed

    static let all: [Source] =
      Recipe.all.indices.map { .recipe($0) } + [
        .compressed, .rewritten, .snapshot, .dataFile, .extendedCompressed,
      ]

    var testDescription: String {
      if case .recipe(let index) = self { return Recipe.all[index].testDescription }
      return "\(self)"
    }

    func make(_ judge: Judge, _ name: String) throws {
      let source = Recipe(options: "", size: "64M", requests: 300, seed: 21)
      func write(_ commands: [String]) throws {
        try judge.must("qemu-io", ["-f", "qcow2", name], stdin: commands.joined(separator: "\n") + "\n")
      }
      func compress(_ options: String) throws {
        try source.make(judge, "source")
        try judge.must(
          "qemu-img", ["convert", "-q", "-c", "-f", "qcow2", "-O", "qcow2", "-o", options, "source", name])
      }
      switch self {
      case .recipe(let index): try Recipe.all[index].make(judge, name)
      case .compressed: try compress("cluster_size=64k")
      case .extendedCompressed: try compress("cluster_size=32k,extended_l2=on")
      case .rewritten:
        try compress("cluster_size=4k,compression_type=zstd")
        try write([
          "write 1M 200k", "write 5M 8k", "write -c 6M 4k", "write -z 7M 64k", "discard 8M 100k",
          "write 30M 1M",
        ])
      case .snapshot:
        try source.make(judge, name)
        try judge.must("qemu-img", ["snapshot", "-c", "s", name])
        try write(["write 1M 200k", "write 5M 8k", "write 40M 5M"])
      case .dataFile:
        try judge.must(
          "qemu-img", ["create", "-q", "-f", "qcow2", "-o", "data_file=\(name).data", name, "64M"])
        try write(["write 5M 1M", "write 1M 200k", "write 30M 64k"])
      }
    }
  }

  private func json(_ text: String) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
  }

  @Test("the percentage of qemu-img check", arguments: Source.all)
  func percentage(_ source: Source) throws {
    let judge = try Judge()
    try source.make(judge, "image")
    let check = try json(judge.must("qemu-img", ["check", "--output=json", "image"]))
    let printed = try judge.must("qemu-img", ["check", "image"])
    let frag = try json(judge.must(judge.qatlas, ["frag", "--json", "image"]))
    let tally = try #require(frag["qemu-img-check"] as? [String: Any])
    for (ours, theirs) in [
      ("allocated", "allocated-clusters"), ("fragmented", "fragmented-clusters"),
      ("compressed", "compressed-clusters"),
    ] {
      #expect(tally[ours] as? Int == check[theirs] as? Int ?? 0, "\(theirs)")
    }
    let text = try judge.must(judge.qatlas, ["frag", "image"])
    if let match = printed.firstMatch(of: /allocated, ([0-9.]+)% fragmented/) {
      #expect(text.contains("percent fragmented \(match.1)  "), "\(match.1)\n\(text)")
    }
    // What the check counts is what the runs are made of, unless it lies behind the end of the disk.
    let disk = try #require(frag["disk"] as? [String: Any])
    #expect(disk["allocated"] as? Int == tally["allocated"] as? Int)
    #expect(disk["compressed"] as? Int == tally["compressed"] as? Int)
    #expect(frag["note"] == nil || disk["compressed"] as? Int != 0)
  }

  @Test("text and JSON say the same")
  func twoForms() throws {
    let judge = try Judge()
    try Source.rewritten.make(judge, "image")
    let lines = try judge.must(judge.qatlas, ["frag", "image"]).split(separator: "\n").map(String.init)
    let frag = try json(judge.must(judge.qatlas, ["frag", "--json", "image"]))
    for choice in ["all", "standard", "compressed"] {
      let section = try #require(frag[choice] as? [String: Any])
      let guest = try #require(section["guest-order"] as? [String: Any])
      let line = try #require(lines.first { $0.hasPrefix("\(choice)  guest order  ") })
      #expect(line.contains("runs \(guest["runs"] ?? "")  best possible \(guest["best-possible"] ?? "")  "))
      let lengths = try #require(section["run-lengths"] as? [[String: Any]])
      #expect(lengths.count == 6)
      #expect(lengths.reduce(0) { $0 + ($1["runs"] as? Int ?? 0) } == guest["runs"] as? Int)
      #expect((section["sequential-reads"] as? [Any])?.count == 3)
      #expect(lines.count { $0.hasPrefix("\(choice)  run lengths  ") } == 6)
    }
    #expect(lines.contains { $0.hasPrefix("note  compressed clusters always count as fragmented") })
    #expect(lines.allSatisfy { !$0.hasSuffix(" ") && !$0.isEmpty })
  }

  @Test("clusters written in order, and backwards")
  func knownOrders() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "image", "64M"])
    try judge.must("qemu-io", ["-f", "qcow2", "image"], stdin: "write 0 4M\n")
    var text = try judge.must(judge.qatlas, ["frag", "image"])
    #expect(text.contains("all  guest order  runs 1  best possible 1  mean 64.0  median 64.0  longest 64\n"))
    #expect(text.contains("request 1048576  requests 4  host reads 4  extra 0  avoidable 0\n"))
    #expect(text.contains("percent fragmented 0.00"))
    let backwards = (0..<16).map { "write \((31 - $0) * 65536 + (8 << 20)) 64k" }.joined(separator: "\n")
    try judge.must("qemu-io", ["-f", "qcow2", "image"], stdin: backwards + "\n")
    text = try judge.must(judge.qatlas, ["frag", "image"])
    #expect(text.contains("all  guest order  runs 17  best possible 2  "))
    #expect(text.contains("all  jumps backward  count 15  mean distance 131072\n"))
    #expect(
      text.contains(
        "all  worst regions  guest 0x900000  length 1048576  clusters 16  runs 16  best possible 1  "))
    #expect(text.contains("request 1048576  requests 5  host reads 20  extra 15  avoidable 15\n"))
  }

  @Test("an image in order has as many runs as the best order has", arguments: [false, true])
  func inOrder(_ contiguous: Bool) throws {
    let judge = try Judge()
    try Source.rewritten.make(judge, "image")
    try judge.must(judge.qatlas, ["defrag", "-q"] + (contiguous ? ["--contiguous"] : []) + ["image"])
    let frag = try json(judge.must(judge.qatlas, ["frag", "--json", "image"]))
    for choice in ["all", "standard", "compressed"] {
      let section = try #require(frag[choice] as? [String: Any])
      for order in ["guest-order", "host-order"] {
        let runs = try #require(section[order] as? [String: Any])
        #expect(runs["runs"] as? Int == runs["best-possible"] as? Int, "\(choice) \(order): \(runs)")
      }
      #expect((section["worst-regions"] as? [Any] ?? []).isEmpty)
    }
  }

  @Test("a sparse tail costs what its tables hold, not what they count")
  func sparseTail() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "image", "1M"])
    // One block with one count, named for all of 15 TiB.
    var bytes = try #require(judge.bytes("image"))
    bytes.append(Data(count: max(0, 0x60000 - bytes.count)))
    bytes.replaceSubrange(0x50000..<0x50006, with: [0, 0, 0, 1, 0, 0])
    for index in 1..<7680 {
      bytes.replaceSubrange(0x10000 + 8 * index..<0x10008 + 8 * index, with: [0, 0, 0, 0, 0, 5, 0, 0])
    }
    try bytes.write(to: URL(fileURLWithPath: judge.path("image")))
    try judge.must("truncate", ["-s", "15T", "image"])
    let start = ContinuousClock.now
    let text = try judge.must(judge.qatlas, ["frag", "image"])
    #expect(ContinuousClock.now - start < .seconds(8))
    // All clusters but the header, the tables, the block and one in each of 7679 ranges.
    let free = 15 << 24 - 5 - 7679
    #expect(text.contains("free space  clusters \(free)  runs 7681  "), "\(text)")
  }

  @Test("what is no image is refused, and a damaged one is not")
  func refusals() throws {
    let judge = try Judge()
    try Data("no image".utf8).write(to: URL(fileURLWithPath: judge.path("raw")))
    let refused = try judge.ours(["frag", "raw"])
    #expect(
      refused.status == 1 && refused.errors.hasPrefix("TOOL: Could not open 'raw'") && refused.output.isEmpty)
    try Recipe.all[0].make(judge, "image")
    var bytes = try #require(judge.bytes("image"))
    // The table of the first L1 entry.
    bytes.replaceSubrange(0x30000..<0x30008, with: [0x80, 0, 0, 0xff, 0xff, 0xff, 0, 0])
    try bytes.write(to: URL(fileURLWithPath: judge.path("image")))
    let damaged = try judge.ours(["frag", "image"])
    #expect(damaged.status == 0 && damaged.output.contains("note  1 L2 table could not be read\n"))
  }
}
