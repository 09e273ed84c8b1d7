// The verbs that copy the guest's data, beside the genuine tool: both streams, the exit code and the bytes of every
// file, for sources with every pair of two features.

import Foundation
import TestSupport
import Testing

@Suite("Copies of disks", .tags(.genuine)) struct ConvertTests {
  /// Runs lines with both tools and compares what they make of them.
  private func compare(_ pair: ToolPair, _ lines: [[String]], _ what: String) throws {
    for words in lines {
      let (theirs, ours) = try pair.outcomes("qemu-img", words)
      let line = "\(what): qemu-img \(words.joined(separator: " "))"
      if JudgeVersion.current >= .newest {
        #expect(theirs == ours, "\(line)\n\(theirs.difference(ours))")
      } else if theirs.status == 0, ours.status == 0 {
        // Older versions have other words and fewer options; what both do they do alike.
        #expect(theirs.files == ours.files, "\(line)\n\(theirs.difference(ours))")
      }
    }
  }

  @Test("every pair of two features, copied, measured and put into blocks")
  func pairs() throws {
    let seed = try environmentNumber("QATLAS_CONVERT_SEED", default: 1)
    let count = Int(try environmentNumber("QATLAS_CONVERT", default: 2))
    for (number, features) in CopyFeature.pairs.enumerated() {
      let images = CopyImages(features: features, seed: seed &* 1000 &+ UInt64(number))
      let pair = try ToolPair(images.make)
      try compare(pair, images.lines(count), "\(features.map(\.rawValue)), seed \(images.seed)")
    }
  }

  @Test("several sources, option strings and names in every form")
  func names() throws {
    let images = CopyImages(features: [.zlib, .smallBacking], seed: 7)
    let json = #"json:{"driver":"qcow2","file":{"driver":"file","filename":"s"}}"#
    try compare(
      try ToolPair(images.make),
      [
        ["convert", "-O", "qcow2", "s", "t", "s", "x"], ["convert", "-O", "raw", "-S", "0", "t", "s", "x"],
        ["convert", "-c", "-O", "qcow2", "-o", "cluster_size=16k", "s", "s.raw", "s", "x"],
        ["convert", "-O", "qcow2", json, "x"], ["convert", "-O", "qcow2", "file:s", "file:x"],
        ["convert", "--image-opts", "-O", "qcow2", "driver=qcow2,file.filename=s", "x"],
        ["convert", "-n", "--target-image-opts", "s", "driver=qcow2,discard=unmap,file.filename=t"],
        ["convert", "-U", "-f", "qcow2", "s", "x"], ["convert", "-f", "raw", "-O", "qcow2", "s", "x"],
      ], "names")
  }

  @Test("comparing: content, states, sizes and what is in no file")
  func comparing() throws {
    let images = CopyImages(features: [.zlib, .smallBacking], seed: 8)
    let pair = try ToolPair { folder in
      try images.make(folder)
      for line in [
        "convert -O qcow2 s same", "convert -O qcow2 -o cluster_size=4k -S 0 s full",
        "convert -O qcow2 s larger", "resize larger +1M", "create -f raw small 1M",
        "convert -O qcow2 -B below -F qcow2 s above",
      ] {
        _ = try run("qemu-img", line.split(separator: " ").map(String.init), directory: folder, timeout: 60)
      }
      let change = ["-f", "qcow2", "-c", "write -P 77 1000 3", "same2"]
      _ = try run("qemu-img", ["convert", "-O", "qcow2", "s", "same2"], directory: folder)
      _ = try run("qemu-io", change, directory: folder)
    }
    let lines = [
      "s same", "s full", "s larger", "larger s", "s s.raw", "-s s same", "-s same s", "-s s full", "-s s s",
      "-s s larger", "-p s same", "-p s larger", "-p -q s same", "s same2", "-q s same2", "-s s same2", "s t",
      "small s", "s small", "-p small t", "s above", "-s s above", "-f raw s same", "-F raw s s", "none s",
      "s none", "-T none s same", "-T bad s same", "s", "-U s same", "-s -F raw s.raw s.raw",
      "--image-opts driver=qcow2,file.filename=s driver=raw,file.filename=s.raw",
    ]
    try compare(
      pair, lines.map { ["compare"] + $0.split(separator: " ").map(String.init) }, "compare")
  }

  @Test("a new encrypted image holds what was copied", arguments: ["luks", "aes"])
  func encrypted(_ format: String) throws {
    let judge = try Judge()
    let images = CopyImages(features: [.zlib, .smallBacking], seed: 9)
    try images.make(judge.folder.path)
    let secret = ["--object", "secret,id=s0,data=pw"]
    let options =
      "encrypt.format=\(format),encrypt.key-secret=s0" + (format == "luks" ? ",encrypt.iter-time=10" : "")
    let printed = try judge.ours(["convert", "-O", "qcow2"] + secret + ["-o", options, "s", "x"])
    #expect(printed.status == 0, "\(printed)")
    let name = "driver=qcow2,encrypt.key-secret=s0,file.filename=x"
    try judge.must(
      "qemu-img",
      ["compare"] + secret + ["--image-opts", name]
        + ["driver=raw,file.filename=s.raw"])
    #expect(try judge.genuine("qemu-img", ["check"] + secret + ["--image-opts", name]).status == 0)
  }

  @Test("what cannot be read ends a copy, or is told and becomes zeroes")
  func salvage() throws {
    let images = CopyImages(features: [.snapshots, .bitmaps], seed: 10)
    let pair = try ToolPair { folder in
      try images.make(folder)
      // The first entry of the first L2 table points between two clusters.
      var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: folder + "/s")))
      let l1 = bytes[40..<48].reduce(0) { $0 << 8 | Int($1) }
      let l2 = bytes[l1 + 1..<l1 + 8].reduce(0) { $0 << 8 | Int($1) }
      bytes[l2 + 6] |= 2
      try Data(bytes).write(to: URL(fileURLWithPath: folder + "/s"))
    }
    try compare(
      pair,
      [
        ["convert", "-O", "qcow2", "s", "x"], ["convert", "--salvage", "-q", "-O", "qcow2", "s", "x"],
        ["compare", "s", "s.raw"], ["compare", "s.raw", "s"], ["measure", "-O", "qcow2", "s"],
        ["dd", "if=s", "of=x"],
      ], "damage")
  }

  @Test("no copy goes over a file that it reads")
  func itself() throws {
    for line in [
      "convert -U s s", "convert -U -f raw s.raw s.raw", "dd -f raw if=s.raw of=s.raw", "dd -U if=s of=s",
      "convert -U s below", "convert -n -U s s", "convert s below", "dd if=s of=below",
    ] {
      let judge = try Judge()
      try CopyImages(features: [.zlib, .smallBacking], seed: 11).make(judge.folder.path)
      let before = ["s", "s.raw", "below"].map(judge.bytes)
      let printed = try judge.ours(line.split(separator: " ").map(String.init))
      #expect(printed.status == 1 && !printed.errors.isEmpty, "\(line): \(printed)")
      #expect(["s", "s.raw", "below"].map(judge.bytes) == before, "\(line)")
    }
  }
}
