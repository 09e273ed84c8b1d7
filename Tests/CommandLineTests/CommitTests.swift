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
    try LayerCases.each(of: LayerCases.pairs.filter { !$0.contains(.backing) }) { pair, seed in
      var stage = try VerbStage(pair + [.backing], seed: 800_000 &+ seed)
      if stage.words.isOne(in: 4) { try Self.putRaw(stage) }
      let line = ["commit"] + (stage.words.isOne(in: 4) ? ["-d"] : []) + stage.target
      let theirs = try run("qemu-img", line, directory: stage.genuine, timeout: 60)
      let ours = try run(stage.root.path("qemu-img"), line, directory: stage.ours, timeout: 60)
      let place = "\(seed) \(pair) \(line)"
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

  /// A base under a plain image: how it is made, and requests in it.
  private static let bases: [(options: String, size: String, requests: [String])] = [
    ("cluster_size=512", "1M", ["write -P 1 0 300k"]),
    ("cluster_size=2M", "4M", ["write -P 1 1M 2M"]),
    ("extended_l2=on,cluster_size=16k", "2M", ["write -P 1 0 30k", "write -z 64k 3k"]),
    ("compression_type=zstd", "3M", ["write -c -P 1 0 64k", "write -c -P 2 192k 64k"]),
    ("compat=0.10", "2M", ["write -P 1 0 1M"]),
    ("compat=0.10,refcount_bits=16", "1M", ["write -P 1 100k 64k"]),
    ("refcount_bits=1,cluster_size=4k", "1536k", ["write -P 1 0 1M", "discard 128k 128k"]),
    ("lazy_refcounts=on,refcount_bits=64", "2M", ["write -P 1 0 1M"]),
    ("data_file=base.data", "2M", ["write -P 1 0 1M"]),
    ("data_file=base.data,data_file_raw=on", "2M", ["write -P 1 0 1M"]),
  ]

  @Test(
    "bases of every kind: of other size and clusters, with snapshots and bitmaps, and which are not the next one"
  )
  func kindsOfBase() throws {
    let rounds = try environmentNumber("QATLAS_LAYERS", default: 8)
    let seed = try environmentNumber("QATLAS_SEED", default: 1)
    for round in 0..<rounds {
      let number = seed &* 100 &+ round
      let base = Self.bases[Int(number % UInt64(Self.bases.count))]
      var words = SeededWords(random: SplitMix64(seed: number))
      let extras = (snapshot: words.isOne(in: 3), bitmap: words.isOne(in: 3), between: words.isOne(in: 2))
      let hasData = base.options.contains("data_file")
      let pair = try ToolPair { folder in
        func must(_ tool: String, _ words: [String]) throws {
          let result = try run(tool, words, directory: folder, timeout: 60)
          guard result.status == 0 else { throw TestFailure("\(tool) \(words): \(result.stderr)") }
        }
        func io(_ requests: [String], _ name: String) throws {
          try must("qemu-io", ["-f", "qcow2"] + requests.flatMap { ["-c", $0] } + [name])
        }
        try must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", base.options, "base", base.size])
        try io(base.requests, "base")
        if extras.snapshot, !hasData, !base.options.contains("refcount_bits=1,") {
          try must("qemu-img", ["snapshot", "-c", "one", "base"])
          try io(["write -P 3 64k 70k"], "base")
        }
        if extras.bitmap, !base.options.contains("0.10") {
          try must("qemu-img", ["bitmap", "--add", "base", "b0"])
        }
        var below = "base"
        if extras.between {
          try must("qemu-img", ["create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "mid", "1792k"])
          try io(["write -P 6 200k 100k", "write -z 640k 64k"], "mid")
          below = "mid"
        }
        try must("qemu-img", ["create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", "t", "2M"])
        try io(
          [
            "write -P 5 32k 40k", "write -z 256k 128k", "write -P 7 1M 64k", "discard 1088k 64k",
            "write -P 8 1900k 5k",
          ],
          "t")
      }
      var line = ["commit"]
      if extras.between, words.isOne(in: 2) { line += ["-b", "base"] }
      if words.isOne(in: 3) { line.append("-d") }
      if words.isOne(in: 3) { line += ["-r", "1G"] }
      line.append("t")
      let place = "\(number) \(base.options) \(extras) \(line)"
      let (genuine, ours) = (pair.root.path("genuine"), pair.root.path("ours"))
      let theirs = try run("qemu-img", line, directory: genuine, timeout: 60)
      let mine = try run(pair.root.path("qemu-img"), line, directory: ours, timeout: 60)
      #expect(theirs.status == mine.status, "\(place): \(mine.stderr)")
      #expect(theirs.stdout == mine.stdout && theirs.stderr == mine.stderr, "\(place): \(mine.stderr)")
      let (a, b) = (try ToolPair.contents(genuine), try ToolPair.contents(ours))
      for name in ["t", "mid"] where line.contains("base") || name == "t" || !extras.between {
        #expect(a[name] == b[name], "\(place): \(name)")
      }
      for name in ["t", "mid", "base"] where a[name] != nil {
        #expect(
          try Self.disk(genuine, [name], place) == Self.disk(ours, [name], place),
          "\(place): \(name) reads otherwise")
        let check = try run("qemu-img", ["check", name], directory: ours, timeout: 60)
        #expect(check.status == 0, "\(place): \(name): \(check.stdout)\(check.stderr)")
      }
      if extras.snapshot, a["base"]?.count ?? 0 > 0, b["base"] != pair.original["base"] {
        for folder in [genuine, ours] {
          _ = try run("qemu-img", ["snapshot", "-a", "one", "base"], directory: folder, timeout: 60)
        }
        #expect(
          try Self.disk(genuine, ["base"], place) == Self.disk(ours, ["base"], place),
          "\(place): the snapshot")
      }
    }
  }

  @Test("a base that was not closed is repaired first, so that nothing in it is lost")
  func dirtyBase() throws {
    let pair = try ToolPair { folder in
      func must(_ tool: String, _ words: [String], _ status: Int32 = 0) throws {
        let result = try run(tool, words, directory: folder, timeout: 60)
        guard result.status == status || status != 0 else {
          throw TestFailure("\(tool) \(words): \(result.stderr)")
        }
      }
      try must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", "base", "4M"])
      try must(
        "qemu-io", ["-f", "qcow2", "-c", "write -P 1 0 1M", "-c", "flush", "-c", "abort", "base"], 1)
      try must("qemu-img", ["create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "t"])
      try must("qemu-io", ["-f", "qcow2", "-c", "write -P 2 2M 512k", "t"])
    }
    let ours = pair.root.path("ours")
    #expect(pair.original["base"].map { $0[79] & 1 } == 1, "the base is not dirty")
    let before = try Self.disk(ours, ["t"], "before")
    let result = try run(pair.root.path("qemu-img"), ["commit", "t"], directory: ours, timeout: 60)
    #expect(result.status == 0 && result.stderr.contains("Repairing"), "\(result.stderr)")
    #expect(try Self.disk(ours, ["base"], "after") == before)
    let check = try run("qemu-img", ["check", "base"], directory: ours, timeout: 60)
    #expect(check.status == 0, "\(check.stdout)")
  }
}
