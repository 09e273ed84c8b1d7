// Chains of backing files against the genuine tools: overlays byte for byte, the layers below left
// alone, the same map and the same info, and the same words for what cannot be opened.

import Foundation
import TestSupport
import Testing

/// A chain of one to five layers below an overlay, made by the genuine tools from one seed.
struct ChainRecipe: CustomTestStringConvertible {
  let seed: UInt64

  var testDescription: String { "seed \(seed)" }

  /// The options of the overlay and its size; nil for that of the layer below.
  struct Top {
    var options: [String]
    var size: UInt64?
  }

  /// Makes the layers and returns the name of the uppermost, from the folder of the judge, its format
  /// and what the overlay is to be.
  func make(_ judge: Judge, _ random: inout SplitMix64) throws -> (name: String, format: String, top: Top) {
    for folder in ["a", "a/b"] {
      try FileManager.default.createDirectory(atPath: judge.path(folder), withIntermediateDirectories: true)
    }
    let depth = 1 + random.below(5)
    var below: (name: String, format: String)?
    var size: UInt64 = 512 * (1 + random.below(4000))
    for layer in 0..<depth {
      let folder = ["", "a/", "a/b/"][Int(random.below(3))]
      let isRaw = below == nil && random.below(2) == 0
      let name = "\(folder)l\(layer).\(isRaw ? "raw" : "qcow2")"
      if isRaw {
        // Not always whole sectors.
        if random.below(3) == 0 { size -= random.below(512) }
        try judge.must("qemu-img", ["create", "-q", "-f", "raw", name, String(size)])
      } else {
        var arguments = ["create", "-q", "-f", "qcow2", "-o", Self.options(&random).joined(separator: ",")]
        if let below {
          arguments += ["-b", Self.relative(below.name, from: folder), "-F", below.format]
        }
        if random.below(2) == 0 { size = 512 * (1 + random.below(6000)) }
        try judge.must("qemu-img", arguments + [name, String(size)])
      }
      let format = isRaw ? "raw" : "qcow2"
      let requests = Self.requests(&random, size, 20)
      try judge.must("qemu-io", ["-f", format, "-t", "writeback", name], stdin: requests)
      below = (name, format)
    }
    let top = Top(
      options: Self.options(&random), size: random.below(2) == 0 ? nil : 512 * (1 + random.below(6000)))
    return (below?.name ?? "", below?.format ?? "", top)
  }

  /// `name` as an image in `folder` names it.
  static func relative(_ name: String, from folder: String) -> String {
    String(repeating: "../", count: folder.split(separator: "/").count) + name
  }

  private static func options(_ random: inout SplitMix64) -> [String] {
    let bits = 9 + random.below(8)
    var options = ["cluster_size=\(1 << bits)"]
    if random.below(5) == 0 { return options + ["compat=0.10"] }
    if bits >= 14 && random.below(2) == 0 {
      options.append("extended_l2=on")
      if random.below(3) == 0 { options.append("preallocation=metadata") }
    }
    return options
  }

  static func requests(_ random: inout SplitMix64, _ size: UInt64, _ count: Int) -> String {
    let grain = [512, 4096, 65536][Int(random.below(3))]
    return (0..<count).map { _ in Recipe.request(&random, size, UInt64(grain)) }.joined(separator: "\n")
      + "\n"
  }
}

@Suite(.tags(.campaign)) struct ChainTests {
  /// QATLAS_CHAINS changes how many there are.
  static let chains: [ChainRecipe] = {
    let count = (try? environmentNumber("QATLAS_CHAINS", default: 12)) ?? 12
    return (1...max(1, count)).map { ChainRecipe(seed: $0) }
  }()

  @Test("overlays over chains are those of the genuine tools", arguments: chains)
  func chain(recipe: ChainRecipe) throws {
    let judge = try Judge()
    var random = SplitMix64(seed: recipe.seed)
    let (below, format, top) = try recipe.make(judge, &random)
    let create =
      ["create", "-f", "qcow2", "-b", below, "-F", format, "-o", top.options.joined(separator: ",")]
    let size = top.size.map { [String($0)] } ?? []
    let made = try judge.genuine("qemu-img", create + ["genuine.qcow2"] + size)
    var ours = try judge.ours(create + ["ours.qcow2"] + size)
    ours.output = ours.output.replacingOccurrences(of: "ours", with: "genuine")
    #expect(ours == made)
    #expect(made.status == 0)
    #expect(judge.bytes("ours.qcow2") == judge.bytes("genuine.qcow2"), "the new overlay")

    let layers = try FileManager.default.subpathsOfDirectory(atPath: judge.folder.path)
      .filter { $0.contains("l") && !$0.hasPrefix("ours") && !$0.hasPrefix("genuine") && $0.contains(".") }
    let before = layers.map { judge.bytes($0) }
    // The file below the image has a size as well, and comes first.
    let disk = try #require(
      try judge.must("qemu-img", ["info", "--output=json", "ours.qcow2"])
        .matches(of: /"virtual-size": ([0-9]+)/).last.flatMap { UInt64($0.1) })
    for session in 0..<3 {
      var requests = ChainRecipe.requests(&random, disk, 12)
      // With discards ignored QEMU 10 keeps the clusters of unmapping zero-writes; version 7 did not yet.
      if session == 2 { requests = requests.replacingOccurrences(of: "-z -u", with: "-z") }
      let options = [
        "-t", ["writethrough", "writeback"][session % 2], "-d", ["unmap", "ignore"][session / 2],
      ]
      let theirs = try judge.genuine(
        "qemu-io", ["-f", "qcow2"] + options + ["genuine.qcow2"], stdin: requests)
      #expect(try judge.ours(["io"] + options + ["ours.qcow2"], stdin: requests) == theirs)
      let isSame = judge.bytes("ours.qcow2") == judge.bytes("genuine.qcow2")
      #expect(
        isSame, "session \(session) \(options) of \(recipe.testDescription), \(create) \(size):\n\(requests)")
      guard isSame else { return }
    }
    #expect(layers.map { judge.bytes($0) } == before, "a layer below was changed")
    try compareReports(judge, recipe)
    // Both read the same bytes.
    try judge.must("qemu-img", ["convert", "-O", "raw", "genuine.qcow2", "flat.raw"])
    let pieces = stride(from: UInt64(0), to: disk, by: 1 << 20).map {
      "read -v \($0) \(min(1 << 20, disk - $0))"
    }
    let input = pieces.joined(separator: "\n") + "\n"
    let read = try judge.ours(["io", "-r", "ours.qcow2"], stdin: input)
    #expect(try read == judge.genuine("qemu-io", ["-r", "-f", "raw", "flat.raw"], stdin: input))
  }

  private func compareReports(_ judge: Judge, _ recipe: ChainRecipe) throws {
    for options in [["map"], ["map", "--output=json"], ["map", "--output=json", "-s", "70k", "-l", "100k"]] {
      let ours = try judge.ours(options + ["genuine.qcow2"])
      #expect(
        try ours == judge.genuine("qemu-img", options + ["genuine.qcow2"]), "\(options) of \(recipe.seed)")
    }
    for options in [[], ["--output=json"]] {
      let ours = try judge.ours(["info", "--backing-chain"] + options + ["genuine.qcow2"])
      #expect(
        try ours == judge.genuine("qemu-img", ["info", "--backing-chain"] + options + ["genuine.qcow2"]))
    }
  }

  static let creations: [[String]] = [
    ["-b", "b.raw", "a.img"], ["-b", "b.raw", "-F", "raw", "a.img"],
    ["-b", "b.raw", "-F", "raw", "a.img", "5M"],
    ["-b", "gone", "-F", "raw", "a.img"], ["-b", "gone", "-F", "raw", "a.img", "1M"],
    ["-u", "-b", "gone", "-F", "raw", "a.img"],
    ["-u", "-b", "gone", "-F", "raw", "a.img", "1M"], ["-u", "-b", "gone", "a.img", "1M"],
    ["-b", "b.raw", "-F", "bogus", "a.img"],
    ["-u", "-b", "b.raw", "-F", "bogus", "a.img", "1M"], ["-F", "raw", "a.img", "1M"],
    ["-b", "a.img", "-F", "qcow2", "a.img"],
    ["-b", "b.raw", "-F", "qcow2", "a.img"], ["-b", "m.qcow2", "-F", "raw", "a.img"],
    ["-b", "m.qcow2", "-F", "qcow2", "a.img"],
    ["-b", "m.qcow2", "a.img"], ["-b", "", "a.img", "1M"], ["-o", "backing_file=", "a.img", "1M"],
    ["-o", "backing_file=m.qcow2,backing_fmt=qcow2", "a.img"],
    ["-b", "b.raw", "-F", "raw", "-o", "backing_file=m.qcow2", "a.img"],
    ["-b", "b.raw", "-F", "raw", "-o", "preallocation=metadata", "a.img"],
    ["-b", "b.raw", "-F", "raw", "-o", "preallocation=metadata,extended_l2=on", "a.img"],
    ["-b", "b.raw", "-F", "raw", "-o", "preallocation=metadata,compat=0.10,lazy_refcounts=on", "a.img"],
    ["-b", "b.raw", "-F", "raw", "-o", "compat=0.10", "a.img"],
    ["-b", "b.raw", "-F", "raw", "-o", "cluster_size=1000", "a.img"],
    ["-b", "file:b.raw", "-F", "raw", "a.img"],
    ["-b", #"json:{"driver":"raw","file.filename":"b.raw"}"#, "-F", "raw", "a.img"],
    [
      "-b", #"json:{"file":{"driver":"file","filename":"m.qcow2"},"driver":"qcow2"}"#, "-F", "qcow2", "a.img",
    ],
    ["-u", "-b", String(repeating: "x", count: 1023), "-F", "raw", "a.img", "1M"],
    ["-u", "-b", String(repeating: "x", count: 1024), "-F", "raw", "a.img", "1M"],
    ["-u", "-o", "cluster_size=512", "-b", String(repeating: "x", count: 500), "-F", "raw", "a.img", "1M"],
    ["-u", "-o", "cluster_size=512", "-b", String(repeating: "x", count: 360), "-F", "raw", "a.img", "1M"],
    ["-b", "../m.qcow2", "-F", "qcow2", "sub/a.img"], ["-b", "gone", "-F", "qcow2", "sub/a.img"],
    ["-o", "backing_file=b.raw,backing_fmt=raw,data_file=d.raw,data_file_raw=on", "a.img"],
  ]

  @Test("create with a backing file does what the genuine tool does", arguments: creations)
  func create(arguments: [String]) throws {
    func prepared() throws -> Judge {
      let judge = try Judge()
      try FileManager.default.createDirectory(atPath: judge.path("sub"), withIntermediateDirectories: true)
      try judge.must("qemu-img", ["create", "-q", "-f", "raw", "b.raw", "1000k"])
      try judge.must(
        "qemu-img", ["create", "-q", "-f", "qcow2", "-b", "b.raw", "-F", "raw", "m.qcow2", "3M"])
      return judge
    }
    let (ourJudge, genuineJudge) = (try prepared(), try prepared())
    let ours = try ourJudge.ours(["create", "-f", "qcow2"] + arguments)
    let genuine = try genuineJudge.genuine("qemu-img", ["create", "-f", "qcow2"] + arguments)
    #expect(ours == genuine)
    for name in ["a.img", "sub/a.img"] {
      #expect(ourJudge.bytes(name) == genuineJudge.bytes(name), "\(name)")
    }
    #expect(ourJudge.bytes("m.qcow2") == genuineJudge.bytes("m.qcow2"))
  }

  @Test("a chain that bites its tail is an error and no loop")
  func loop() throws {
    let judge = try Judge()
    for (name, backing) in [("a.qcow2", "b.qcow2"), ("b.qcow2", "a.qcow2"), ("self.qcow2", "./self.qcow2")] {
      try judge.must(
        "qemu-img", ["create", "-q", "-f", "qcow2", "-u", "-b", backing, "-F", "qcow2", name, "1M"])
    }
    // Another name of the same file is no way out.
    try FileManager.default.createSymbolicLink(
      atPath: judge.path("link.qcow2"), withDestinationPath: "d.qcow2")
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-u", "-b", "link.qcow2", "-F", "qcow2", "d.qcow2", "1M"])
    for name in ["a.qcow2", "self.qcow2", "d.qcow2"] {
      for command in [["map"], ["io", "-r", "-c", "read 0 512"], ["layout"], ["io", "-c", "write 0 512"]] {
        let ours = try judge.ours(command + [name])
        // Tables can be looked at without any layer.
        #expect(ours.status == (command == ["layout"] ? 0 : 1))
        #expect(ours.errors.contains("creates an infinite loop"), "\(ours)")
      }
    }
    let genuine = try judge.genuine("qemu-img", ["info", "--backing-chain", "a.qcow2"])
    #expect(try judge.ours(["info", "--backing-chain", "a.qcow2"]) == genuine)
  }

  @Test("an empty name is no backing file, and a zero byte ends a name")
  func emptyNames() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "raw", "b", "1M"])
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-u", "-b", "b.qcow2", "-F", "raw", "a.qcow2", "1M"])
    let bytes = [UInt8](try #require(judge.bytes("a.qcow2")))
    let place = Int(bytes[14]) << 8 | Int(bytes[15])
    for (name, size) in [("b\0garbag", 8), ("b.qcow2", 0), ("\0", 1)] as [(String, UInt8)] {
      var changed = bytes
      changed.replaceSubrange(place..<place + name.utf8.count, with: Array(name.utf8))
      changed[19] = size
      try Data(changed).write(to: URL(fileURLWithPath: judge.path("a.qcow2")))
      for command in [["map", "--output=json"], ["map"]] {
        #expect(
          try judge.ours(command + ["a.qcow2"]) == judge.genuine("qemu-img", command + ["a.qcow2"]), "\(size)"
        )
      }
    }
  }

  @Test("a chain has a longest length")
  func depth() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "0.qcow2", "64k"])
    for layer in 1...200 {
      try FileManager.default.copyItem(atPath: judge.path("0.qcow2"), toPath: judge.path("\(layer).qcow2"))
      try judge.must(
        "qemu-img", ["rebase", "-u", "-b", "\(layer - 1).qcow2", "-F", "qcow2", "\(layer).qcow2"])
    }
    try judge.must("qemu-io", ["-c", "write -q -P 7 0 64k", "0.qcow2"])
    #expect(try judge.ours(["io", "-c", "read -P 7 1k 512", "199.qcow2"]).status == 0)
    #expect(try judge.ours(["map", "200.qcow2"]).errors.contains("the chain has more than 200 layers"))
  }

  @Test("a layer that is not there is an error, or a hole if that is allowed")
  func missing() throws {
    let judge = try Judge()
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-u", "-b", "gone.raw", "-F", "raw", "m.qcow2", "1M"])
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-u", "-b", "m.qcow2", "-F", "qcow2", "a.qcow2", "1M"])
    // Requests of whole clusters need nothing from below.
    _ = try judge.ours(["io", "--allow-missing-backing", "-c", "write 0 64k", "m.qcow2"])
    for command in [["map"], ["io", "-r", "-c", "read 0 512"], ["info", "--backing-chain"]] {
      let genuine = command[0] == "io" ? ("qemu-io", Array(command.dropFirst())) : ("qemu-img", command)
      #expect(try judge.ours(command + ["a.qcow2"]) == judge.genuine(genuine.0, genuine.1 + ["a.qcow2"]))
    }
    let allow = "--allow-missing-backing"
    let map = try judge.ours(["map", allow, "a.qcow2"])
    #expect(map.status == 0)
    #expect(
      map.output.contains(
        "0               0x100000        -               needs the missing layer 'gone.raw'\n"))
    let json = try judge.ours(["map", allow, "--output=json", "a.qcow2"])
    #expect(
      json.output
        == Judge.neutral(
          "[{ \"start\": 0, \"length\": 1048576, \"depth\": 2, \"present\": false, \"zero\": false, "
            + "\"data\": false, \"compressed\": false, \"missing\": true}]\n"))
    #expect(
      try judge.ours(["layout", allow, "m.qcow2"]).output.contains("guest  ?  missing  16 subclusters"))
    let read = try judge.ours(["io", "-r", allow, "-c", "read 64k 512", "a.qcow2"])
    #expect(read.status == 1)
    #expect(
      read.errors.contains(
        "guest offset 0x10000 needs the missing layer 'gone.raw': Could not open 'gone.raw': No such file"))
    let write = try judge.ours(["io", allow, "-c", "write 0 512", "a.qcow2"])
    #expect(write.status == 1)
    #expect(write.errors.contains("the layer 'gone.raw' below the image is missing"))
    let chain = try judge.ours(["info", "--backing-chain", allow, "a.qcow2"])
    #expect(chain.status == 0)
    #expect(
      chain.output.hasSuffix(
        "image: gone.raw\nmissing: Could not open 'gone.raw': No such file or directory\n"))
  }

  @Test("data in an external file is read and written where QEMU looks for it")
  func externalData() throws {
    let judge = try Judge()
    for name in ["ours", "genuine"] {
      try judge.must(
        "qemu-img", ["create", "-q", "-f", "qcow2", "-o", "data_file=\(name).raw", "\(name).qcow2", "3M"])
    }
    let requests = "write -P 3 1k 200k\nwrite -z 70k 64k\ndiscard 128k 64k\nread -P 3 1k 63k\n"
    let theirs = try judge.genuine("qemu-io", ["genuine.qcow2"], stdin: requests)
    #expect(try judge.ours(["io", "ours.qcow2"], stdin: requests) == theirs)
    #expect(judge.bytes("ours.raw") == judge.bytes("genuine.raw"))
    #expect(try judge.ours(["map", "genuine.qcow2"]) == judge.genuine("qemu-img", ["map", "genuine.qcow2"]))
    try FileManager.default.moveItem(atPath: judge.path("genuine.raw"), toPath: judge.path("other.raw"))
    let read = ["-r", "-c", "read -P 3 1k 60k"]
    #expect(
      try judge.ours(["io"] + read + ["genuine.qcow2"]) == judge.genuine("qemu-io", read + ["genuine.qcow2"]))
    let options = ["--image-opts", "driver=qcow2,file.filename=genuine.qcow2,data-file.filename=other.raw"]
    #expect(try judge.ours(["io"] + read + options) == judge.genuine("qemu-io", read + options))
    let closed = try judge.ours([
      "io", "-r", "--allow-missing-backing", "-c", "length", "-c", "read 1k 512", "genuine.qcow2",
    ])
    #expect(closed.output.contains("3 MiB\n") && closed.status == 1, "\(closed)")
    #expect(closed.errors.contains("the external data file 'genuine.raw', which is not open"))
    // A run that drops its changes leaves both files alone.
    let before = judge.bytes("ours.raw")
    #expect(
      try judge.ours(["io", "-s", "-c", "write -P 9 0 1M", "-c", "read -P 9 0 1M", "ours.qcow2"]).status == 0)
    #expect(judge.bytes("ours.raw") == before)
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "plain.qcow2", "1M"])
    let wrong = [
      "-r", "-c", "length", "--image-opts",
      "driver=qcow2,file.filename=plain.qcow2,data-file.filename=other.raw",
    ]
    #expect(try judge.ours(["io"] + wrong) == judge.genuine("qemu-io", wrong))
  }
}
