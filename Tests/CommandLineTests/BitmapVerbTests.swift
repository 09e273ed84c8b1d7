// `qatlas bitmap` beside the genuine tool over all pairs of features: the same words, exit codes and bytes of
// every file after every line, whether it is done, done in part or refused.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct BitmapVerbTests {
  private static let names = ["b0", "b1", "off", "n1", "n2"]

  @Test("lines of actions leave what the genuine tool leaves, for every pair of features")
  func pairs() throws {
    let seed = try environmentNumber("QATLAS_BITMAP_SEED", default: 1)
    #expect(ImageFeature.pairs.count >= 60)
    for (number, pair) in ImageFeature.pairs.enumerated() {
      var stage = try VerbStage(pair, seed: seed &* 1000 &+ UInt64(number))
      try addOther(stage)
      for _ in 0..<2 {
        let line = Self.line(&stage.words, stage.target)
        if let difference = try stage.difference(line) {
          Issue.record("pair \(number): \(difference)")
          break
        }
      }
      if number % 4 == 0 {
        try stage.requestBoth(stage.requests(2))
        let difference = try stage.difference(["bitmap", "--add"] + stage.target + ["last"])
        #expect(difference == nil, "pair \(number)")
      }
    }
  }

  /// Another image with bitmaps of other granularities and clusters, to merge from.
  private static let other = Result<Data, any Error> {
    let folder = try TemporaryDirectory(inMemory: true)
    let path = folder.path("other")
    try succeed("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=2048", path, "2M"])
    for (words, request) in [
      (["-g", "2048", "o1"], "write 100k 300k"), (["-g", "1M", "o2"], "write 1500k 4k"),
    ] {
      try succeed("qemu-img", ["bitmap", "--add"] + words.dropLast() + [path] + words.suffix(1))
      try succeed("qemu-io", ["-f", "qcow2", "-c", request, path])
    }
    return try Data(contentsOf: URL(fileURLWithPath: path))
  }

  private func addOther(_ stage: VerbStage) throws {
    for folder in [stage.genuine, stage.ours] {
      try Self.other.get().write(to: URL(fileURLWithPath: folder + "/other"))
    }
  }

  /// A line of actions on one bitmap; with `others` it may merge from bitmaps of another image.
  static func line(_ words: inout SeededWords, _ target: [String], others: Bool = true) -> [String] {
    if JudgeVersion.current >= .newest, words.isOne(in: 10) { return ["bitmap", "--remove-all"] + target }
    var actions: [String] = []
    for _ in 0...words.random.below(3) {
      let action = words.one(
        ["--add", "--add", "--add", "--remove", "--clear", "--enable", "--disable", "--merge", "--merge"])
      actions.append(action)
      if action == "--merge" { actions.append(words.one(names + (others ? ["o1", "o2"] : []))) }
    }
    if actions.contains("--add"), words.isOne(in: 2) {
      actions += ["-g", words.one(["512", "4k", "1M", "2G", "3k", "0x800"])]
    }
    if others, actions.contains("--merge"), words.isOne(in: 2) {
      actions += ["-b", "other"] + (words.isOne(in: 2) ? ["-F", "qcow2"] : [])
    }
    return ["bitmap"] + actions + target + [words.one(names)]
  }

  @Test(
    "wrong words are refused with the genuine tool's sentences", .enabled(if: JudgeVersion.current >= .newest)
  )
  func wrongWords() throws {
    let stage = try VerbStage([.bitmaps, .inconsistent], seed: 7)
    try succeed("qemu-img", ["create", "-q", "-f", "raw", stage.genuine + "/r", "1M"])
    try FileManager.default.copyItem(atPath: stage.genuine + "/r", toPath: stage.ours + "/r")
    let long = String(repeating: "x", count: 1024)
    for line in [
      "", "t", "t b0", "--add t", "--add t b c", "--remove-all t b", "--remove-all --add t",
      "--clear -g 4k t b0",
      "--clear -b x t b0", "--clear -F x t b0", "--merge q -F x t b0", "--add -g 100 t n", "--add -g 4G t n",
      "--add -g x t n", "--add -g -1 t n", "--add -g 1.5k t n", "--add t b0", "--add t \(long)",
      "--add t " + long.dropLast(), "--add --add t n", "--remove t none", "--merge none t b1",
      "--merge b1 t none",
      "--merge b1 -b t t b1", "--merge b1 -b missing t b1", "--merge b1 -b r t b1", "--add r n",
      "--add -f raw r n",
      "--clear -f raw r n", "--remove-all -f raw r", "--add missing x", "--add -f qcow2 r x",
      "--add -f nope r x",
      "-U --add t x", "--add --source-f", "--re t x", "--merge", "--add --image-opts -f qcow2 t x",
      "--add --image-opts driver=qcow2,file.filename=t x", "--clear t b0", "--enable t b0", "--disable t b0",
      "--merge b1 t b0", "--merge b0 t b1", "--merge b0 t b0", "--remove t b0", "--add -g 0 t n9",
    ] {
      let difference = try stage.difference(["bitmap"] + line.split(separator: " ").map(String.init))
      #expect(difference == nil)
    }
    for words in [["--add", "t", ""], ["--merge", "x", "-b", "", "t", "b1"]] {
      #expect(try stage.difference(["bitmap"] + words) == nil)
    }
  }
}
