// `qatlas diff` and `qatlas step` on the command line: what differs is what was changed, and nothing is written.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct DiffTests {
  private func must(_ folder: TemporaryDirectory, _ tool: String, _ words: [String]) throws {
    let result = try run(try requireTool(tool), words, directory: folder.path)
    guard result.status == 0 else { throw TestFailure("\(tool) \(words): \(result.stderr)") }
  }

  private func own(_ folder: TemporaryDirectory, _ words: [String]) throws -> ProcessResult {
    try run(try builtProduct("qatlas"), words, directory: folder.path)
  }

  private func images() throws -> TemporaryDirectory {
    let folder = try TemporaryDirectory(inMemory: true)
    try must(folder, "qemu-img", ["create", "-q", "-f", "qcow2", "a", "64M"])
    try must(folder, "qemu-io", ["-c", "write 0 128k", "a"])
    try must(folder, "qemu-img", ["snapshot", "-c", "one", "a"])
    try FileManager.default.copyItem(atPath: folder.path("a"), toPath: folder.path("b"))
    try must(folder, "qemu-io", ["-c", "write 5M 100k", "-c", "discard 0 64k", "b"])
    return folder
  }

  @Test("two images, and two states of one") func diff() throws {
    let folder = try images()
    func guest(_ words: [String]) throws -> [[UInt64]] {
      let result = try own(folder, ["diff", "--json"] + words)
      #expect(result.status == 1, "\(result.stderr)")
      let json = try JSONSerialization.jsonObject(with: Data(result.stdout.utf8)) as? [String: Any]
      let ranges = json?["guest"] as? [[String: Any]] ?? []
      return ranges.map { [($0["start"] as? UInt64) ?? 0, ($0["bytes"] as? UInt64) ?? 0] }
    }
    let wanted: [[UInt64]] = [[0, 65536], [5 << 20, 131_072]]
    #expect(try guest(["a", "b"]) == wanted)
    #expect(try guest(["--from", "one", "b"]) == wanted)
    #expect(try guest(["--to", "one", "b"]) == wanted)
    let same = try own(folder, ["diff", "a", "a"])
    #expect(same.status == 0 && same.stdout == "nothing is mapped otherwise\n")
    #expect(try own(folder, ["diff", "a"]).status != 0)
    let none = try own(folder, ["diff", "--from", "two", "a"])
    #expect(none.status == 1 && none.stderr.contains("no snapshot has the ID or name 'two'"))
  }

  @Test("the steps of a line, and the file as it was") func step() throws {
    let folder = try images()
    let before = try Data(contentsOf: URL(fileURLWithPath: folder.path("b")))
    let result = try own(folder, ["step", "b", "--json", "-c", "write 1M 4k", "-c", "write 40M 4k"])
    #expect(result.status == 0, "\(result.stderr)")
    let json = try JSONSerialization.jsonObject(with: Data(result.stdout.utf8)) as? [String: Any]
    let steps = json?["steps"] as? [[String: Any]] ?? []
    #expect(
      steps.count > 6 && json?["operation"] as? String == "write -P 0xcd 0x2800000 4k", "\(result.stdout)")
    #expect(steps.allSatisfy { ($0["power-cut"] as? [String: Any])?["errors"] as? Int == 0 })
    #expect((json?["orders"] as? [Any])?.isEmpty == false)
    #expect(try Data(contentsOf: URL(fileURLWithPath: folder.path("b"))) == before)
    for (words, text) in [
      (["step", "b"], "-c"), (["step", "b", "-c", "read 0 64k"], "nothing would change"),
    ] {
      let refused = try own(folder, words)
      #expect(refused.status != 0 && refused.stderr.contains(text), "\(words): \(refused.stderr)")
    }
  }
}
