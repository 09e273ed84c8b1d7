// `qatlas shares`: what layers and snapshots hold, against what the genuine tools and the file itself say.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct SharesTests {
  private func shares(_ judge: Judge, _ image: String) throws -> [String: Any] {
    let result = try run(
      try builtProduct("qatlas"), ["shares", "--json", image], directory: judge.folder.path)
    #expect(result.status == 0, "\(result.stderr)")
    return try #require(
      try JSONSerialization.jsonObject(with: Data(result.stdout.utf8)) as? [String: Any])
  }

  @Test func layers() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "raw", "base.raw", "16M"])
    try judge.must("qemu-io", ["-f", "raw", "-c", "write 0 2M", "-c", "write 8M 1M", "base.raw"])
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "middle.qcow2"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 1M 2M", "-c", "write -z 8M 64k", "middle.qcow2"])
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-b", "middle.qcow2", "-F", "qcow2", "top.qcow2"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 2M 512k", "-c", "write 12M 64k", "top.qcow2"])
    let report = try shares(judge, "top.qcow2")
    let layers = try #require(report["layers"] as? [[String: Any]])
    let map = try run(
      try requireTool("qemu-img"), ["map", "--output=json", "top.qcow2"], directory: judge.folder.path)
    let extents = try #require(
      try JSONSerialization.jsonObject(with: Data(map.stdout.utf8)) as? [[String: Any]])
    for depth in 0..<3 {
      let read = extents.filter { $0["depth"] as? Int == depth && $0["data"] as? Bool == true }
        .reduce(0) { $0 + ($1["length"] as? Int ?? 0) }
      #expect(layers[depth]["read"] as? Int == read, "\(depth): \(layers[depth])")
    }
    #expect(layers.map { $0["data"] as? Int } == [576 << 10, 2 << 20, 3 << 20])
    #expect(layers.map { $0["hidden"] as? Int } == [0, 512 << 10, 1 << 20 | 64 << 10])
    #expect(layers[1]["zeroes"] as? Int == 64 << 10)
    #expect(layers[2]["metadata"] == nil && layers[0]["metadata"] as? Int == 5 << 16)
    let text = try run(try builtProduct("qatlas"), ["shares", "top.qcow2"], directory: judge.folder.path)
    #expect(text.stdout.contains("layer 1  ") && text.stdout.contains("hidden 524288"), "\(text.stdout)")
  }

  @Test func snapshots() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "16M"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 0 1M", "a.qcow2"])
    try judge.must("qemu-img", ["snapshot", "-c", "one", "a.qcow2"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 0 256k", "a.qcow2"])
    try judge.must("qemu-img", ["snapshot", "-c", "two", "a.qcow2"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 512k 64k", "a.qcow2"])
    let report = try shares(judge, "a.qcow2")
    let pairs = try #require(report["shared"] as? [[String: Any]])
    func common(_ first: String, _ second: String) -> Int? {
      pairs.first { $0["first"] as? String == first && $0["second"] as? String == second }?["clusters"]
        as? Int
    }
    // Sixteen clusters, of which four, then one were written anew; each has a table and an L1 table of its own.
    #expect(common("disk", "one") == 11 && common("disk", "two") == 15 && common("one", "two") == 12)
    let holders = try #require(report["holders"] as? [[String: Any]])
    #expect(holders.map { $0["clusters"] as? Int } == [18, 18, 18])
    #expect(holders.map { $0["only-here"] as? Int } == [3, 6, 2])
  }
}
