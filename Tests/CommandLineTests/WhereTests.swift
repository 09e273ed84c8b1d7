// `qatlas where`: whatever `qemu-img map` says of a place, the way to it says too; from the host side the way
// leads back; text and JSON are one report; and what is wrong at a place is told there.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct WhereTests {
  typealias Record = [String: Any]

  private func place(_ judge: Judge, _ words: [String]) throws -> Record {
    let printed = try judge.ours(["where", "--json"] + words)
    #expect(printed.status == 0, "\(words): \(printed)")
    return try #require(try JSONSerialization.jsonObject(with: Data(printed.output.utf8)) as? Record)
  }

  private func step(_ place: Record, _ name: String) throws -> Record {
    try #require(place[name] as? Record, "no \(name)")
  }

  /// Images of every kind of place, the last one with two layers below it.
  enum Source: CustomTestStringConvertible, Sendable {
    case plain, subclusters, compressed, dataFile, chain

    static let all: [Source] = [.plain, .subclusters, .compressed, .dataFile, .chain]
    var testDescription: String { "\(self)" }

    func make(_ judge: Judge) throws {
      switch self {
      case .plain: try Recipe(options: "", size: "16M", requests: 60, seed: 101).make(judge, "a")
      case .subclusters:
        try Recipe(options: "extended_l2=on", size: "4M", requests: 60, grain: 2048, seed: 102).make(
          judge, "a")
      case .dataFile:
        try Recipe(options: "data_file=a.raw", size: "8M", requests: 40, seed: 103).make(judge, "a")
      case .compressed:
        try Recipe(options: "", size: "8M", requests: 40, seed: 104).make(judge, "b")
        try judge.must("qemu-img", ["convert", "-q", "-c", "-f", "qcow2", "-O", "qcow2", "b", "a"])
        try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 1M 300k", "a"])
      case .chain:
        try Recipe(options: "", size: "6M", requests: 40, seed: 105).make(judge, "c")
        try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-b", "c", "-F", "qcow2", "b", "8M"])
        try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 1M 1M", "-c", "write -z 3M 1M", "b"])
        try judge.must(
          "qemu-img",
          ["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "-b", "b", "-F", "qcow2", "a", "9M"])
        try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 1100k 6k", "-c", "write -z 4M 64k", "a"])
      }
    }
  }

  @Test("the end of the way is what qemu-img map says", arguments: Source.all)
  func mapped(source: Source) throws {
    let judge = try Judge()
    try source.make(judge)
    let listing = try judge.must("qemu-img", ["map", "--output=json", "-f", "qcow2", "a"])
    let extents = try #require(try JSONSerialization.jsonObject(with: Data(listing.utf8)) as? [Record])
    #expect(extents.count > 3)
    var random = SplitMix64(seed: 7)
    // The ends of extents and a place inside; not all of a long list.
    for extent in extents.prefix(20) {
      let start = try #require(extent["start"] as? UInt64)
      let length = try #require(extent["length"] as? UInt64)
      for at in Set([0, random.below(length), length - 1]) {
        let place = try place(judge, ["a", "\(start + at)"])
        let read = try step(place, "read")
        #expect(try step(place, "guest")["offset"] as? UInt64 == start + at)
        let isData = extent["data"] as? Bool == true
        let from = read["from"] as? String
        #expect((from == "data" || from == "compressed") == isData, "\(start + at): \(extent), \(read)")
        guard isData else { continue }
        #expect(read["layer"] as? Int == extent["depth"] as? Int, "\(start + at)")
        let offset = extent["offset"] as? UInt64
        #expect((from == "compressed") == (offset == nil), "\(start + at): \(extent), \(read)")
        #expect(read["offset"] as? UInt64 == offset.map { $0 + at }, "\(start + at)")
        #expect(read["tables"] as? Int ?? 0 >= 1)
        if from == "compressed" { #expect(read["unpacked"] as? Int == 65536) }
      }
    }
  }

  @Test("the way back from the file ends at the same byte, and owners says who else is there")
  func backFromHost() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a", "64M"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write -P 7 1M 1M", "a"])
    try judge.must("qemu-img", ["snapshot", "-c", "s", "a"])
    let there = try place(judge, ["a", "guest", "0x123456"])
    let host = try step(there, "host")
    let offset = try #require(host["offset"] as? UInt64)
    #expect(offset & 0xffff == 0x3456 && host["bytes"] as? String == String(repeating: "07", count: 16))
    #expect(host["refcount"] as? Int == 2 && host["file"] as? String == "a")
    let back = try place(judge, ["a", "host", "\(offset)"])
    #expect(try step(back, "guest")["offset"] as? UInt64 == 0x123456)
    for name in ["l1", "l2", "guest", "read"] {
      #expect(try step(there, name) as NSDictionary == step(back, name) as NSDictionary, "\(name)")
    }
    let printed = try judge.ours(["owners", "--json", "a", "\(offset)"])
    let owners = try #require(try JSONSerialization.jsonObject(with: Data(printed.output.utf8)) as? Record)
    let list = try #require(owners["list"] as? NSArray)
    #expect(list.count == 2 && there["owners"] as? NSArray == list && back["owners"] as? NSArray == list)
    // The entries of the way name each other.
    let l1 = try step(there, "l1")
    let l2 = try step(there, "l2")
    let table = try #require(l1["host"] as? UInt64)
    #expect(l2["at"] as? UInt64 == table + (try #require(l2["index"] as? UInt64)) * 8)
    #expect(l2["host"] as? UInt64 == offset & ~0xffff)
    #expect(try place(judge, ["a", "L2", "0", "18"])["l2"] as? NSDictionary == l2 as NSDictionary)
  }

  @Test("text and JSON have the same steps", arguments: [["0"], ["1M"], ["host", "0"], ["end"]])
  func oneReport(words: [String]) throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "a", "64M"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 1M 6k", "a"])
    let place = try place(judge, ["a"] + words)
    let lines = try judge.ours(["where", "a"] + words).output.split(separator: "\n")
    let steps = Set(["guest", "l1", "l2", "subclusters", "host", "read"]).intersection(place.keys)
    let owners = (place["owners"] as? NSArray)?.count ?? 0
    #expect(Set(lines.map { String($0.prefix { $0 != " " }) }).subtracting(["owner"]) == steps)
    #expect(lines.count { $0.hasPrefix("owner ") } == owners && !steps.isEmpty)
  }

  @Test("a place in conflict says so, and a place that is none is refused")
  func wrongPlaces() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a", "16M"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 0 128k", "a"])
    var bytes = [UInt8](try #require(judge.bytes("a")))
    // The second entry of the table points to the cluster of the first one.
    let table =
      Int(bytes[0x30006]) << 8
      + Int(bytes[0x30005]) << 16
    for index in 0..<8 { bytes[table + 8 + index] = bytes[table + index] }
    try Data(bytes).write(to: URL(fileURLWithPath: judge.path("a")))
    let problems = try #require(try place(judge, ["a", "64k"])["problems"] as? [String])
    #expect(problems == ["2 entries share its host cluster, whose refcount is 1"])
    for words in [["16M"], ["L2", "0", "8192"], ["L1", "1"], ["host"], ["there"], ["0", "1"]] {
      let refused = try judge.ours(["where", "a"] + words)
      #expect(refused.status == 1 && refused.output.isEmpty && refused.errors.hasPrefix("TOOL: "), "\(words)")
    }
  }

  @Test(
    "--json is --output=json",
    arguments: [["info"], ["map"], ["check"], ["pin", "--check"], ["defrag", "--dry-run"]])
  func flag(verb: [String]) throws {
    let judge = try Judge()
    try Recipe(options: "", size: "8M", requests: 20, seed: 106).make(judge, "a")
    if verb == ["pin", "--check"] {
      #expect(try judge.ours(["create", "-q", "-f", "qcow2", "-o", "pinned=on", "a", "8M"]).status == 0)
    }
    let word = try judge.ours(verb + ["--output=json", "a"])
    #expect(
      try judge.ours(verb + ["--json", "a"]) == word && word.output.first.map { "[{".contains($0) } == true,
      "\(word)")
  }

  @Test(
    "listings take option strings",
    arguments: [
      ["where", "a", "64k"], ["l2", "a"], ["layout", "a"], ["owners", "a", "64k"], ["frag", "a"],
    ])
  func optionStrings(words: [String]) throws {
    let judge = try Judge()
    try Recipe(options: "", size: "8M", requests: 20, seed: 106).make(judge, "a")
    let plain = try judge.ours(words)
    let options = words.map { $0 == "a" ? "driver=qcow2,file.filename=a" : $0 } + ["--image-opts"]
    #expect(plain.status == 0 && !plain.output.isEmpty)
    #expect(try judge.ours(options) == plain)
    let refused = try judge.ours(
      words.map { $0 == "a" ? "driver=nbd,file.filename=a" : $0 } + ["--image-opts"])
    #expect(refused.status == 1 && refused.output.isEmpty)
  }
}
