// `rebase` beside the genuine tool over pairs of features: the same words, exit codes and bytes of every file.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct RebaseTests {
  /// The other files that an image may get below it; they lie above both folders.
  static func addOthers(_ stage: VerbStage) throws {
    for (name, options, size) in [
      ("small", "cluster_size=4096", "700k"), ("wide", "cluster_size=65536", "3M"),
    ] {
      let path = stage.root.path(name)
      try succeed("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, path, size])
      try succeed(
        "qemu-io", ["-f", "qcow2", "-c", "write -P 9 0 300k", "-c", "write -P 7 500k 100k", path])
    }
    try Data(repeating: 9, count: 1 << 20).write(to: URL(fileURLWithPath: stage.root.path("raw")))
  }

  /// How a line names a file; the genuine tool has no relative names for an image that is named by options.
  static func name(_ file: String, _ stage: VerbStage) -> String {
    switch file {
    case "", "base": file
    default: stage.features.contains(.encryption) ? stage.root.path(file) : "../" + file
    }
  }

  @Test("a rebase leaves what the genuine tool leaves, for every pair of features")
  func pairs() throws {
    try LayerCases.each(of: LayerCases.pairs) { pair, seed in
      var stage = try VerbStage(pair, seed: 700_000 &+ seed)
      try Self.addOthers(stage)
      let hasBase = stage.features.contains(.backing) && !stage.features.contains(.encryption)
      for _ in 0..<2 {
        let file = stage.words.one(["small", "wide", "raw", hasBase ? "base" : "raw", ""])
        var line = ["rebase", "-b", Self.name(file, stage), "-F", file == "raw" ? "raw" : "qcow2"]
        if stage.words.isOne(in: 5) { line.append("-u") }
        if stage.words.isOne(in: 3) { line.append("-p") }
        guard JudgeVersion.current >= .newest else {
          // Older versions compare in other steps; what the guest reads is the same.
          try Self.compareContent(stage, line, "\(seed) \(pair)")
          continue
        }
        if let difference = try stage.difference(line + stage.target) {
          Issue.record("\(seed): \(difference)")
          break
        }
      }
    }
  }

  @Test("an image of version 2 shows after a safe rebase what it showed before")
  func oldVersion() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "raw", "base.raw", "1M"])
    try judge.must("qemu-io", ["-f", "raw", "-c", "write -q -P 7 0 1M", "base.raw"])
    for size in ["1M", "600000"] {
      try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "compat=0.10", "a.qcow2", size])
      try judge.must("qemu-io", ["-f", "qcow2", "-c", "write -q -P 9 100k 50k", "a.qcow2"])
      try judge.must("qemu-img", ["convert", "-O", "raw", "a.qcow2", "before.raw"])
      try judge.must(judge.qatlas, ["rebase", "-b", "base.raw", "-F", "raw", "a.qcow2"])
      try judge.must("qemu-img", ["check", "-q", "a.qcow2"])
      try judge.must("qemu-img", ["convert", "-O", "raw", "a.qcow2", "after.raw"])
      #expect(judge.bytes("after.raw") == judge.bytes("before.raw"), "\(size)")
    }
  }

  private static func compareContent(_ stage: VerbStage, _ line: [String], _ place: String) throws {
    let theirs = try run("qemu-img", line + stage.target, directory: stage.genuine, timeout: 60)
    let ours = try run(stage.root.path("qemu-img"), line + stage.target, directory: stage.ours, timeout: 60)
    #expect(theirs.status == ours.status, "\(place) \(line): \(ours.stderr)")
    #expect(
      try CommitTests.disk(stage.genuine, stage.target, place)
        == CommitTests.disk(stage.ours, stage.target, place), "\(place) \(line)")
  }

  @Test("under its own name it refuses what changes snapshots, and names what allows it")
  func snapshots() throws {
    let stage = try VerbStage([.snapshots, .backing], seed: 5)
    let before = try ToolPair.contents(stage.ours)
    let qatlas = try builtProduct("qatlas")
    let line = ["rebase", "-b", "", "t"]
    let refused = try run(qatlas, line, directory: stage.ours, timeout: 60)
    #expect(refused.status == 1 && refused.stderr.contains("--snapshots-follow"))
    #expect(try ToolPair.contents(stage.ours) == before)
    let done = try run(qatlas, line + ["--snapshots-follow"], directory: stage.ours, timeout: 60)
    #expect(done.status == 0, "\(done.stderr)")
  }
}
