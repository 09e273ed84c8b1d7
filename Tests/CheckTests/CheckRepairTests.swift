// `check -r` beside the genuine tool: the same damaged image is repaired by both, and what they print, how they end
// and the bytes of the file must be the same. Where they differ on purpose stands in one list.

import Foundation
import TestSupport
import Testing

@Suite("check -r", .tags(.genuine))
struct CheckRepairTests {
  /// Images that the others do not cover.
  static let extra = [
    ImageRecipe(
      name: "lazy", options: "cluster_size=4096,lazy_refcounts=on", size: "1M",
      steps: ["write -P 1 0 40k", "write -z 300k 20k", "discard 8k 8k"]),
    ImageRecipe(
      name: "one snapshot", options: "cluster_size=4096", size: "1M",
      steps: ["write -P 1 0 40k", "!snapshot -c one @", "write -P 2 4k 8k"]),
    ImageRecipe(
      name: "bitmaps", options: "cluster_size=4096", size: "1M",
      steps: ["write -P 1 0 40k", "!bitmap --add @ b0", "write -P 2 4k 8k", "!bitmap --add --disable @ b1"]),
    ImageRecipe(
      name: "compressed", options: "cluster_size=4096", size: "1M",
      steps: ["write -P 1 0 8k", "write -c -P 5 128k 4k", "write -c -P 6 132k 4k", "write -c -P 7 136k 4k"]),
  ]

  /// One case: an image, damage, and what is repaired.
  private struct Case {
    var recipe: Int
    var damages: [KnownDamage]
    var scope: String
    var seed: UInt64
  }

  private static func cases(_ recipes: Int, _ count: Int, _ first: UInt64) -> [Case] {
    (0..<count).map { number in
      var random = SplitMix64(seed: first + UInt64(number))
      let all = KnownDamage.allCases
      var damages = [all[number % all.count]]
      if random.below(3) == 0 { damages.append(all[Int(random.below(UInt64(all.count)))]) }
      // Every kind meets both scopes and all images in turn.
      return Case(
        recipe: (number / all.count * 7 + number) % recipes, damages: damages,
        scope: (number / all.count + number) % 3 == 0 ? "leaks" : "all", seed: random.next())
    }
  }

  /// Where ours differs under the genuine name as well, and why.
  private enum Purpose: String, CaseIterable {
    case snapshots =
      "on an image with snapshots and bitmaps the genuine repair begins with deleting all snapshots; ours does the same to an image without them, and keeps them otherwise"
    case mark =
      "-r leaks leaves counts that are too low; ours leaves the dirty mark with them, so that the next writer repairs first"
    case bitmaps =
      "an image with bitmaps that is not repaired: the genuine tool stores them anew, which marks it corrupt or fails; ours leaves the file as it was"
    case givesUp = "the genuine repair gives up half-way; ours goes on, or leaves the file as it was"
  }

  /// How a case ended.
  private enum Outcome {
    case same
    case differs(Purpose)
  }

  private func run(
    _ stage: RepairStage, _ case: Case, _ image: RepairImage, _ what: String
  ) throws -> (theirs: Int32, outcome: Outcome) {
    let losesSnapshots = image.hasBitmaps && image.number(60, 4) > 0
    try stage.put(image.bytes, ours: losesSnapshots ? image.withoutSnapshots : nil)
    let before = try stage.bytes(1)
    let theirs = try stage.theirs(["check", "-r", `case`.scope, "a"])
    let ours = try stage.ours(["check", "-r", `case`.scope, "a"])
    let (a, b) = (try stage.bytes(0), try stage.bytes(1))
    if ours == theirs && sameBytes(a, b) {
      return (theirs.status, losesSnapshots ? .differs(.snapshots) : .same)
    }
    // Exit 1 says that the genuine tool has given up.
    if theirs.status == 1 {
      if ours.status == 1 {
        #expect(sameBytes(b, before), "\(what): given up, and the file is another")
        // Only the genuine tool marks the image as corrupt, and says so.
        #expect(
          theirs.errors.split(separator: "\n").first == ours.errors.split(separator: "\n").first,
          "\(what): \(ours)\n\(theirs)")
        return (1, .differs(image.hasBitmaps ? .bitmaps : .givesUp))
      }
      let after = try stage.theirsOnOurs(["check", "a"])
      #expect(after.status == ours.status, "\(what): \(ours)\n\(after)")
      return (1, .differs(.givesUp))
    }
    #expect(ours == theirs, "\(what)")
    let at = zip(a, b).enumerated().first { $0.element.0 != $0.element.1 }?.offset
    if at == 79, `case`.scope == "leaks", b[79] & ~1 == a[79], a[80...] == b[80...] {
      return (theirs.status, .differs(.mark))
    }
    if !sameBytes(a, b) {
      Issue.record("\(what): \(a.count) and \(b.count) bytes, first difference \(at ?? -1)")
    }
    return (theirs.status, .same)
  }

  /// `QATLAS_REPAIRS=2000` repairs more of them.
  @Test("repairs as the genuine tool does, to the byte")
  func differential() throws {
    let recipes = ImageRecipe.all.filter { !$0.options.contains("data_file") } + Self.extra
    let judge = try Judge(inMemory: true)
    var bases: [[UInt8]] = []
    for (number, recipe) in recipes.enumerated() {
      try recipe.make(judge, as: "base\(number)")
      bases.append([UInt8](try #require(judge.bytes("base\(number)"))))
    }
    let stage = try RepairStage(judge)
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    let count = try environmentNumber("QATLAS_REPAIRS", default: 50)
    var (compared, same, clean) = (0, 0, 0)
    var kinds: [String: Int] = [:]
    var differences: [Purpose: [String]] = [:]
    for test in Self.cases(recipes.count, Int(count), first) {
      var image = RepairImage(bases[test.recipe])
      var random = SplitMix64(seed: test.seed)
      let applied = test.damages.filter { $0.apply(&image, &random) }
      guard !applied.isEmpty else { continue }
      let what = "\(recipes[test.recipe].name) \(applied.map(\.rawValue)) -r \(test.scope) (\(test.seed))"
      let (theirs, outcome) = try run(stage, test, image, what)
      compared += 1
      for kind in applied { kinds[kind.rawValue, default: 0] += 1 }
      switch outcome {
      case .same: same += 1
      case .differs(let purpose): differences[purpose, default: []].append(what)
      }
      if test.scope == "all" && theirs == 0 { clean += 1 }
    }
    let damage = kinds.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    print("check -r: \(compared) cases, \(same) the same, \(clean) clean afterwards; damage: \(damage)")
    for purpose in Purpose.allCases {
      guard let cases = differences[purpose] else { continue }
      print("  \(cases.count) differ on purpose: \(purpose.rawValue). The first: \(cases[0])")
    }
    #expect(compared >= Int(count) * 3 / 4 && same > compared / 2 && clean > compared / 4)
  }

  // MARK: Snapshot tables

  /// A snapshot table: entries with so much extra data.
  struct Table: CustomTestStringConvertible, Sendable {
    let testDescription: String
    var extra: [Int]
    /// What the last entry says of its extra data.
    var lastSaid: UInt32?
    var isSlow = false
  }

  static let tables = [
    Table(testDescription: "nothing wrong", extra: [24, 1024, 16]),
    Table(testDescription: "fields are missing", extra: [0, 8, 16]),
    Table(testDescription: "too much extra data", extra: [2000, 24, 1025]),
    Table(testDescription: "too much and too little", extra: [8, 1500, 0]),
    Table(testDescription: "extra data without an end", extra: [24, 24], lastSaid: .max),
    Table(testDescription: "too many snapshots", extra: Array(repeating: 24, count: 65537)),
    Table(testDescription: "too large a table", extra: Array(repeating: 1024, count: 65536), isSlow: true),
  ]

  @Test("snapshot tables are filled in and cut", arguments: tables)
  func snapshotTables(_ table: Table) throws {
    guard try environmentNumber("QATLAS_REPAIRS", default: 0) > 0 || !table.isSlow else { return }
    let judge = try Judge(inMemory: true)
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", "base", "1M"])
    try judge.must("qemu-io", ["-c", "write -P 1 0 40k", "base"])
    var image = RepairImage([UInt8](try #require(judge.bytes("base"))))
    image.addSnapshotTable(table.extra, lastSaid: table.lastSaid)
    let stage = try RepairStage(judge)
    for words in [["check", "a"], ["check", "-r", "leaks", "a"], ["check", "-r", "all", "a"]] {
      try stage.put(image.bytes)
      let theirs = try stage.theirs(words)
      #expect(try stage.ours(words) == theirs, "\(words)")
      #expect(sameBytes(try stage.bytes(0), try stage.bytes(1)), "\(words)")
      #expect(!words.contains("all") || theirs.status == 0)
    }
  }
}
