// What the screen of a check says of damaged images, against the report for programs and the genuine tool.

import Foundation
import TestSupport
import Testing

@Suite("the screen of a check", .tags(.genuine))
struct CheckScreenJudgeTests {
  private struct Report: Decodable {
    var corruptions: UInt64?
    var leaks: UInt64?
    var errors: UInt64
    var groups: [Group]?
    struct Group: Decodable {
      var what: String
      var severity: String
      var count: UInt64
    }
    enum CodingKeys: String, CodingKey {
      case corruptions, leaks, groups
      case errors = "check-errors"
    }
  }

  private static let recipes = [
    "4k", "64k", "512", "4k, 8 bits", "64k, version 2", "2k, 32 bits, preallocated",
  ]

  @Test("says what the report and the genuine tool say", arguments: recipes)
  func same(name: String) throws {
    let judge = try Judge()
    let recipe = try #require(ImageRecipe.all.first { $0.name == name })
    try recipe.make(judge, as: "base")
    let base = try [UInt8](Data(contentsOf: URL(fileURLWithPath: judge.path("base"))))
    try Data("size 160x60\n:check\n:save-screen \(judge.path("screen"))\n".utf8)
      .write(to: URL(fileURLWithPath: judge.path("script")))
    var compared = 0
    var seed: UInt64 = 1
    while compared < 5, seed < 200 {
      defer { seed += 1 }
      var damage = Damage(base, seed: seed)
      let (patches, length) = damage.make()
      var bytes = base
      for patch in patches {
        bytes.replaceSubrange(Int(patch.offset)..<Int(patch.offset) + patch.bytes.count, with: patch.bytes)
      }
      if let length { bytes.removeSubrange(Int(length)...) }
      try Data(bytes).write(to: URL(fileURLWithPath: judge.path("a")))
      let printed = try judge.ours(["check", "--details", "--output=json", "a"])
      guard [0, 2, 3].contains(printed.status), printed.status != 0 || seed % 7 == 0 else { continue }
      try? FileManager.default.removeItem(atPath: judge.path("screen"))
      // Damage that keeps the image shut even for looking has no screen.
      guard try judge.ours(["explore", "--ro", "--script", "script", "a"]).status == 0 else { continue }
      compared += 1
      let report = try JSONDecoder().decode(Report.self, from: Data(printed.output.utf8))
      let genuine = try judge.genuineCheck(["--output=json", "a"])
      let theirs = try JSONDecoder().decode(Report.self, from: Data(genuine.output.utf8))
      #expect(genuine.status == printed.status && theirs.corruptions == report.corruptions)
      #expect(theirs.leaks == report.leaks && theirs.errors == report.errors)
      let screen = try String(contentsOfFile: judge.path("screen"), encoding: .utf8)
      let (errors, leaks) = ((report.corruptions ?? 0) + report.errors, report.leaks ?? 0)
      #expect(
        screen.contains(
          "check: \(errors) error\(errors == 1 ? "" : "s"), \(leaks) leaked cluster\(leaks == 1 ? "" : "s")"),
        "\(name), seed \(seed): \(errors) \(leaks)\n\(screen)")
      #expect(screen.contains("exit code \(printed.status)"), "\(name), seed \(seed)\n\(screen)")
      for group in (report.groups ?? []).prefix(4) {
        let shown = screen.split(separator: "\n").contains {
          $0.contains(" \(group.count) ") && $0.contains(group.what.prefix(20))
        }
        #expect(shown, "\(name), seed \(seed): \(group)\n\(screen)")
      }
    }
    #expect(compared == 5)
  }
}
