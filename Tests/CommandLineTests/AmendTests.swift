// `qatlas amend` beside the genuine tool over all pairs of features: the same words, exit codes and bytes of
// every file, and where the genuine tool would lose data, none lost.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct AmendTests {
  @Test("options leave what the genuine tool leaves, for every pair of features")
  func pairs() throws {
    let seed = try environmentNumber("QATLAS_AMEND_SEED", default: 1)
    for (number, pair) in ImageFeature.pairs.enumerated() {
      var stage = try VerbStage(pair, seed: seed &* 1000 &+ UInt64(number))
      for _ in 0..<2 {
        let options = Self.options(&stage.words, stage.features)
        let progress = stage.words.isOne(in: 4) ? ["-p"] : []
        let before = try stage.snapshotContents()
        let line = ["amend", "-o", options.joined(separator: ",")] + progress + stage.target
        guard let difference = try stage.difference(line) else { continue }
        // Entries that read as zeroes and share their cluster with data of a snapshot, and zeroes that nobody
        // encrypts.
        if !stage.features.isDisjoint(with: [.snapshots, .encryption]),
          line[2].contains("0.10") || line[2].contains("v2")
        {
          let isHarmed = try stage.genuineIsHarmed(before)
          #expect(isHarmed, "pair \(number): \(difference)")
          #expect(try stage.oursIsSound(before), "pair \(number): \(line)")
        } else {
          Issue.record("pair \(number): \(difference)")
        }
        break
      }
    }
  }

  /// Options of one line for an image of these features.
  static func options(_ words: inout SeededWords, _ features: Set<ImageFeature>) -> [String] {
    var options: [String] = []
    let isOld = features.contains(.version2)
    for _ in 0...words.random.below(3) {
      switch words.random.below(isOld ? 6 : 9) {
      case 0: options.append("compat=" + words.one(["1.1", "v3"]))
      case 1 where !features.contains(.bitmaps):
        options.append("compat=" + words.one(["0.10", "v2"]))
        if words.isOne(in: 2) { options.append("refcount_bits=16") }
      case 2, 6, 7:
        options.append("refcount_bits=" + words.one(["1", "2", "4", "8", "16", "32", "64"]))
      case 3: options.append("lazy_refcounts=" + words.one(["on", "off"]))
      case 4: options.append("size=" + words.one(["1M", "2M", "4M", "100M", "4100", "1536k"]))
      case 5: options.append("data_file_raw=" + words.one(["on", "off"]))
      case 8 where features.contains(.backing): options += ["backing_file=base", "backing_fmt=qcow2"]
      case 8 where features.contains(.dataFile): options.append("data_file=t.data")
      default:
        options.append(words.one(["backing_fmt=raw", "data_file=x", "size=2M", "refcount_bits=3"]))
      }
    }
    return options
  }

  @Test(
    "wrong words are refused with the genuine tool's sentences", .enabled(if: JudgeVersion.current >= .newest)
  )
  func wrongWords() throws {
    let stage = try VerbStage([.backing, .lazy], seed: 5)
    try succeed("qemu-img", ["create", "-q", "-f", "raw", stage.genuine + "/r", "1M"])
    try FileManager.default.copyItem(atPath: stage.genuine + "/r", toPath: stage.ours + "/r")
    for line in [
      "", "t", "-o size=2M", "-o size=2M t b", "-o compat=2 t", "-o compat= t", "-o compat t",
      "-o nocompat t",
      "-o refcount_bits=3 t", "-o refcount_bits=128 t", "-o refcount_bits=0 t", "-o refcount_bits=x t",
      "-o refcount_bits=16k t", "-o refcount_bits=-1 t", "-o refcount_bits=99999999999999999999 t",
      "-o refcount_bits=8,compat=0.10 t", "-o lazy_refcounts=on,compat=0.10 t", "-o lazy_refcounts=maybe t",
      "-o cluster_size=4k t", "-o preallocation=full t", "-o nope=1 t", "-o extended_l2=on,size=1M t",
      "-o nope t",
      "-o cluster_size=4k,nope=1 t", "-o cluster_size=bad t", "-o size t", "-o size=x t", "-o size=-1 t",
      "-o size=0 t", "-o size=1000 t", "-o , t", "-o size=1M, t", "-o ,size=1M t", "-o =1 t",
      "-o backing_file=x t",
      "-o backing_fmt=raw t", "-o backing_file= t", "-o backing_file=base t", "-o backing_fmt=qcow2 t",
      "-o backing_file=base,backing_fmt=qcow2 t", "-o data_file=x t", "-o data_file= t",
      "-o data_file_raw=on t",
      "-o data_file_raw=off t", "-o size=2M -f raw r", "-o size=2M r", "-o help r", "-o help,size=2M t",
      "-o help",
      "-f nope -o help", "-f qcow2 -o help", "-f raw -o help", "-o size=2M nofile", "-t nope -o size=2M t",
      "-t none -o size=2M t", "-o encrypt.state=active t", "-o encrypt.nope=active t", "-o encryption=on t",
      "-o compression_type=zstd t", "-o keep_data_file=on t", "-U -o size=1M t", "--force -o size=2M t",
      "-p -o nope=1 t", "-p -o size=1000 t", "-o size=2M -f nope t", "-o nolazy_refcounts t",
      "-o lazy_refcounts t",
      "-p -o compat=0.10 t", "-p -o compat=1.1,refcount_bits=64 t", "-p -q -o refcount_bits=16 t",
      "-o refcount_bits=32,backing_file=x t", "-o refcount_bits=64,size=4100 t", "-o size=1M -o size=2M t",
    ] {
      let words = line.split(separator: " ", omittingEmptySubsequences: true).map(String.init)
      #expect(try stage.difference(["amend"] + words) == nil)
    }
    #expect(try stage.difference(["amend", "-o", "", "t"]) == nil)
  }

  @Test("key slots that this program fills and empties open for the genuine tool, and the other way round")
  func keySlots() throws {
    let stage = try VerbStage([.encryption, .smallClusters], seed: 9)
    let secrets = [
      "--object", "secret,id=s0,data=\(GenuineEncryption.passphrase)", "--object", "secret,id=s1,data=second",
      "--object", "secret,id=s2,data=third",
    ]
    func target(_ secret: String) -> [String] {
      ["--image-opts", "driver=qcow2,encrypt.key-secret=\(secret),file.filename=t"]
    }
    func amend(_ tool: String, _ options: String, with secret: String, force: Bool = false) throws
      -> ProcessResult
    {
      try run(
        tool, ["amend"] + secrets + (force ? ["--force"] : []) + ["-o", options] + target(secret),
        directory: stage.ours, timeout: 60)
    }
    func opens(_ tool: String, _ secret: String) throws -> Bool {
      try run(
        tool, secrets.prefix(6) + ["-r", "-c", "read 0 4k"] + target(secret), directory: stage.ours,
        timeout: 60
      ).status == 0
    }
    let (img, io) = (stage.root.path("qemu-img"), stage.root.path("qemu-io"))
    let before = try Data(contentsOf: URL(fileURLWithPath: stage.ours + "/t"))
    // Refusals are the genuine tool's, and change nothing.
    for options in [
      "state=active", "state=bad", "new-secret=s1", "state=active,encrypt.new-secret=nope",
      "state=active,encrypt.new-secret=s1,encrypt.old-secret=s0",
      "state=active,encrypt.new-secret=s1,encrypt.keyslot=9",
      "state=active,encrypt.new-secret=s1,encrypt.keyslot=0",
      "keyslot=x", "state=inactive", "state=inactive,encrypt.old-secret=s2",
      "state=inactive,encrypt.keyslot=4",
      "state=inactive,encrypt.keyslot=0,encrypt.old-secret=s1", "state=inactive,encrypt.keyslot=0",
      "state=inactive,encrypt.keyslot=0,encrypt.new-secret=s0",
      "state=inactive,encrypt.keyslot=0,encrypt.iter-time=3",
      "state=inactive,encrypt.old-secret=s0",
    ] {
      let theirs = try amend("qemu-img", "encrypt." + options, with: "s0")
      let ours = try amend(img, "encrypt." + options, with: "s0")
      #expect(ours.status == 1 && theirs.status == 1, "\(options)")
      #expect(ours.stderr == theirs.stderr, "\(options)")
    }
    #expect(try Data(contentsOf: URL(fileURLWithPath: stage.ours + "/t")) == before)
    let add = "encrypt.state=active,encrypt.iter-time=10,encrypt.new-secret="
    #expect(try amend(img, add + "s1", with: "s0").status == 0)
    for tool in ["qemu-io", io] {
      #expect(try opens(tool, "s0"))
      #expect(try opens(tool, "s1"))
      #expect(try !opens(tool, "s2"))
    }
    _ = try (0..<20).first { _ in try amend("qemu-img", add + "s2", with: "s1").status == 0 }
    #expect(try opens(io, "s2"))
    #expect(try amend(img, "encrypt.state=inactive,encrypt.old-secret=s0", with: "s2").status == 0)
    for tool in ["qemu-io", io] {
      #expect(try !opens(tool, "s0"))
      #expect(try opens(tool, "s1"))
      #expect(try opens(tool, "s2"))
    }
    #expect(try amend(img, "encrypt.state=inactive,encrypt.keyslot=1", with: "s2").status == 0)
    #expect(try !opens("qemu-io", "s1"))
    let check = try run(
      "qemu-img", ["check"] + secrets + target("s2"), directory: stage.ours, timeout: 60)
    #expect(check.status == 0, "\(check.stdout)")
  }

  @Test(
    "what reads as zeroes becomes clusters of zeroes, and nothing else changes",
    arguments: [[ImageFeature.snapshots], [.encryption], [.snapshots, .backing], [.encryption, .snapshots]])
  func expansion(_ features: [ImageFeature]) throws {
    let stage = try VerbStage(features, seed: 21)
    func io(_ command: String) throws {
      let words = stage.features.contains(.encryption) ? stage.target : ["-f", "qcow2", "t"]
      let result = try run("qemu-io", ["-c", command] + words, directory: stage.ours, timeout: 60)
      #expect(result.status == 0, "\(command): \(result.stderr)")
    }
    try io("write -P 7 0 128k")
    if stage.features.contains(.snapshots) {
      // The snapshot has data where the disk reads as zeroes, in the same clusters.
      let taken = try run("qemu-img", ["snapshot", "-c", "last"] + stage.target, directory: stage.ours)
      #expect(taken.status == 0, "\(taken.stderr)")
    }
    try io("write -z 0 128k")
    let before = try stage.snapshotContents()
    #expect(!before.isEmpty)
    let result = try run(
      stage.root.path("qemu-img"), ["amend", "-o", "compat=0.10"] + stage.target, directory: stage.ours,
      timeout: 60)
    #expect(result.status == 0, "\(result.stderr)")
    #expect(try stage.snapshotContents() == before)
    let check = try run("qemu-img", ["check"] + stage.target, directory: stage.ours, timeout: 60)
    #expect(check.status == 0, "\(check.stdout)\(check.stderr)")
    // The disk may be written afterwards without a word to the snapshots.
    try io("write -P 9 0 128k")
    var after = try stage.snapshotContents()
    after[""] = before[""]
    #expect(after == before)
  }

  @Test("a smaller disk, a nameless data file and lost bitmaps have to be asked for by name")
  func ownName() throws {
    let program = try builtProduct("qatlas")
    func refused(_ features: [ImageFeature], _ words: [String]) throws -> ProcessResult {
      let stage = try VerbStage(features, seed: 11)
      let before = try Data(contentsOf: URL(fileURLWithPath: stage.ours + "/t"))
      let result = try run(program, ["amend"] + words + ["t"], directory: stage.ours, timeout: 60)
      // Bitmaps move whenever an image was open for writing.
      if result.status != 0, !features.contains(.bitmaps) {
        #expect(try Data(contentsOf: URL(fileURLWithPath: stage.ours + "/t")).count == before.count)
      }
      return result
    }
    let smaller = try refused([], ["-o", "size=1M"])
    #expect(smaller.status == 1 && smaller.stderr.contains("--shrink allows it"))
    #expect(try refused([], ["--shrink", "-osize=1M"]).status == 0)
    let nameless = try refused([.dataFile], ["-o", "data_file="])
    #expect(nameless.status == 1 && nameless.stderr.contains("cannot be opened by its name"))
    let bitmaps = try refused([.bitmaps], ["-o", "compat=0.10"])
    #expect(bitmaps.status == 1 && bitmaps.stderr.contains("'b0', 'b1', 'off'"))
  }
}

extension VerbStage {
  /// What every snapshot shows, as the genuine tool reads it; the disk itself stands at "".
  func snapshotContents(in folder: String? = nil) throws -> [String: Data] {
    guard !features.isDisjoint(with: [.snapshots, .encryption]) else { return [:] }
    var contents: [String: Data] = [:]
    for name in features.contains(.snapshots) ? ["", "one", "two", "last"] : [""] {
      let copy = root.path("content")
      let result = try run(
        "qemu-img",
        ["convert"] + (name.isEmpty ? [] : ["-l", "snapshot.name=\(name)"]) + ["-O", "raw"] + target + [copy],
        directory: folder ?? ours, timeout: 60)
      if result.status == 0 { contents[name] = try Data(contentsOf: URL(fileURLWithPath: copy)) }
    }
    return contents
  }

  /// The genuine tool has made errors, or something reads otherwise.
  func genuineIsHarmed(_ before: [String: Data]) throws -> Bool {
    let check = try run("qemu-img", ["check"] + target, directory: genuine, timeout: 60)
    return try check.status == 2 || snapshotContents(in: genuine) != before
  }

  /// Ours has at most leaks, and all reads as before.
  func oursIsSound(_ before: [String: Data]) throws -> Bool {
    let check = try run("qemu-img", ["check"] + target, directory: ours, timeout: 60)
    return try check.status != 2 && snapshotContents() == before
  }
}
