// Damaged images: the table of the reference and hundreds of seeded random damages to images of all kinds,
// each judged by the genuine tool in every word, every count and the exit code.

import Foundation
import TestSupport
import Testing

@Suite("check of damaged images", .tags(.campaign))
struct DamageTests {
  /// A row of a vector file of the conformance tests.
  struct Row: Decodable, CustomTestStringConvertible, Sendable {
    var name: String
    var options: String
    var size: String?
    var io: [String]?
    var patch: [Patch]
    var result: [String: [Int]]?
    var testDescription: String { name }

    struct Patch: Decodable {
      var offset: UInt64
      var bytes: String
      init(from decoder: any Decoder) throws {
        var list = try decoder.unkeyedContainer()
        offset = try list.decode(UInt64.self)
        bytes = try list.decode(String.self)
      }
    }
  }

  static func rows(_ file: String, source: String = #filePath) -> [Row] {
    struct File: Decodable { var cases: [Row] }
    let folder = URL(fileURLWithPath: source).deletingLastPathComponent().deletingLastPathComponent()
    let url = folder.appendingPathComponent("ConformanceTests/Vectors/\(file).json")
    return (try? JSONDecoder().decode(File.self, from: Data(contentsOf: url)).cases) ?? []
  }

  @Test("the tables have all their rows")
  func complete() {
    #expect(Self.rows("CHECK").count == 25)
    #expect(Self.rows("OPEN").count == 41)
  }

  @Test("damaged metadata", arguments: rows("CHECK"))
  func metadata(row: Row) throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", row.options, "a", row.size ?? "1M"])
    for step in row.io ?? [] { try judge.must("qemu-io", ["-c", step, "a"]) }
    for patch in row.patch { try judge.patch("a", patch.offset, patch.bytes) }
    let ours = try judge.check(["a"])
    #expect(try ours == judge.genuineCheck(["a"]))
    #expect(try judge.check(["--output=json", "a"]) == judge.genuineCheck(["--output=json", "a"]))
    #expect(ours.status == Int32(try #require(row.result?["none"]?.first)))
  }

  /// Rows that the genuine tool refuses for a secret or a file that a check does not need.
  private static let withoutNeed = ["AES without secret", "data file bit without name"]

  @Test("damaged headers", arguments: rows("OPEN"))
  func header(row: Row) throws {
    let judge = try Judge()
    let options = row.options.isEmpty ? [] : ["-o", row.options]
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2"] + options + ["a", "1M"])
    for patch in row.patch { try judge.patch("a", patch.offset, patch.bytes) }
    if Self.withoutNeed.contains(row.name) {
      #expect(try judge.check(["a"]).status == 0)
      #expect(try judge.genuineCheck(["a"]).status == 1)
    } else {
      #expect(try judge.check(["a"]) == judge.genuineCheck(["a"]))
    }
  }

  /// `QATLAS_CHECKS=5000` damages more images.
  @Test("random damage", arguments: ImageRecipe.all)
  func random(recipe: ImageRecipe) throws {
    let judge = try Judge()
    try recipe.make(judge, as: "base")
    let base = try [UInt8](Data(contentsOf: URL(fileURLWithPath: judge.path("base"))))
    let count = try environmentNumber("QATLAS_CHECKS", default: 150) / UInt64(ImageRecipe.all.count)
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    var damaged = 0
    for seed in first..<first + count {
      var damage = Damage(base, seed: seed)
      let (patches, length) = damage.make()
      var bytes = base
      for patch in patches {
        bytes.replaceSubrange(Int(patch.offset)..<Int(patch.offset) + patch.bytes.count, with: patch.bytes)
      }
      if let length { bytes.removeSubrange(Int(length)...) }
      try Data(bytes).write(to: URL(fileURLWithPath: judge.path("a")))
      let arguments = seed % 3 == 0 ? ["--output=json", "a"] : ["a"]
      let genuine = try judge.genuineCheck(arguments)
      if genuine.status == 1 && Self.needsMore(genuine.errors) { continue }
      if genuine.status != 0 { damaged += 1 }
      let list = patches.map {
        "\($0.offset): " + $0.bytes.map { String($0, radix: 16) }.joined(separator: " ")
      }
      #expect(
        try judge.check(arguments) == genuine,
        "\(recipe.name), seed \(seed): \(list.joined(separator: ", ")), cut at \(length ?? 0)")
    }
    #expect(damaged > count / 3, "too little of the damage was noticed to tell anything")
  }

  /// True if the image was refused for a secret or another file, which a check does not need.
  private static func needsMore(_ errors: String) -> Bool {
    errors.contains("encrypt") || errors.contains("'data-file' is required")
      || errors.contains("driver requires a file name")
      || errors.components(separatedBy: "Could not open").count > 2
  }
}
