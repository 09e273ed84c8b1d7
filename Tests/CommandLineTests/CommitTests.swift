// `commit` beside the genuine tool over pairs of features. Where clusters of the base lie is by chance there, so that
// of the base the content and the check are compared, and of everything else the bytes.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct CommitTests {
  static func disk(_ folder: String, _ words: [String], _ name: String) throws -> Data {
    let copy = folder + "/../content"
    let result = try run(
      "qemu-img", ["convert", "-O", "raw"] + words + [copy], directory: folder, timeout: 60)
    guard result.status == 0 else { throw TestFailure("\(name): \(result.stderr)") }
    return try Data(contentsOf: URL(fileURLWithPath: copy))
  }

  @Test("base, image and words are as with the genuine tool, for every pair of features")
  func pairs() throws {
    let pairs = RebaseTests.pairs.filter { !$0.contains(.backing) }
    let share = try environmentNumber("QATLAS_LAYER_SHARE", default: 4)
    let seed = try environmentNumber("QATLAS_LAYER_SEED", default: 1)
    for (number, pair) in pairs.enumerated() where (UInt64(number) &+ seed).isMultiple(of: max(1, share)) {
      var stage = try VerbStage(pair + [.backing], seed: 8000 &* seed &+ UInt64(number))
      if stage.words.isOne(in: 4) { try Self.putRaw(stage) }
      let line = ["commit"] + (stage.words.isOne(in: 4) ? ["-d"] : []) + stage.target
      let theirs = try run("qemu-img", line, directory: stage.genuine, timeout: 60)
      let ours = try run(stage.root.path("qemu-img"), line, directory: stage.ours, timeout: 60)
      let place = "pair \(number) \(pair) \(line)"
      #expect(theirs.stdout == ours.stdout && theirs.stderr == ours.stderr, "\(place): \(ours.stderr)")
      #expect(theirs.status == ours.status, "\(place)")
      let (a, b) = (try ToolPair.contents(stage.genuine), try ToolPair.contents(stage.ours))
      #expect(a["t"] == b["t"], "\(place): the image")
      for words in [stage.target, ["base"]] {
        #expect(
          try Self.disk(stage.genuine, words, place) == Self.disk(stage.ours, words, place),
          "\(place): \(words) reads otherwise")
      }
      let check = try run("qemu-img", ["check", "base"], directory: stage.ours, timeout: 60)
      #expect(check.status == 0 || check.status == 63, "\(place): \(check.stdout)\(check.stderr)")
    }
  }

  /// Makes the base a raw file.
  private static func putRaw(_ stage: VerbStage) throws {
    for folder in [stage.genuine, stage.ours] {
      try succeed("qemu-img", ["convert", "-O", "raw", folder + "/base", folder + "/flat"])
      try FileManager.default.removeItem(atPath: folder + "/base")
      try FileManager.default.moveItem(atPath: folder + "/flat", toPath: folder + "/base")
      let result = try run(
        "qemu-img", ["rebase", "-u", "-b", "base", "-F", "raw"] + stage.target, directory: folder,
        timeout: 60)
      guard result.status == 0 else { throw TestFailure(result.stderr) }
    }
  }

  @Test("a base marked as corrupt stays as it is")
  func corruptBase() throws {
    let stage = try VerbStage([.backing], seed: 2)
    let path = stage.ours + "/base"
    var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    bytes[79] |= 2
    try bytes.write(to: URL(fileURLWithPath: path))
    let before = try ToolPair.contents(stage.ours)
    let result = try run(stage.root.path("qemu-img"), ["commit", "t"], directory: stage.ours, timeout: 60)
    #expect(result.status == 1 && result.stderr.contains("corrupt"), "\(result.stderr)")
    #expect(try ToolPair.contents(stage.ours) == before)
  }

  @Test("killed at any moment the disk reads as before, and the same line finishes")
  func killed() throws {
    try KilledVerb.run([.backing, .smallClusters], line: ["commit", "t"], kills: 16, seed: 3)
    try KilledVerb.run([.backing, .snapshots], line: ["commit", "t"], kills: 6, seed: 4)
  }
}
