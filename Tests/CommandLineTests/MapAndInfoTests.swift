// `map` and `info` against the genuine `qemu-img` on images of all shapes: the same text, the same
// JSON byte for byte, the same exit codes.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct MapAndInfoTests {
  @Test("map prints what the genuine tool prints", arguments: Recipe.all)
  func map(recipe: Recipe) throws {
    let judge = try Judge()
    try recipe.make(judge, "a.qcow2")
    let variants: [[String]] = [
      ["--output=json"], [], ["-f", "qcow2", "--output", "json", "-U"],
      ["--output=json", "-s", "100k", "-l", "1M"],
      ["-s", "1537", "--max-length=300k"], ["--output=json", "--start-offset=63M"],
      ["--output=json", "-s", "2T"],
      ["--output=json", "-l", "0"],
    ]
    for options in variants {
      let ours = try judge.ours(["map"] + options + ["a.qcow2"])
      let genuine = try judge.genuine("qemu-img", ["map"] + options + ["a.qcow2"])
      #expect(ours == genuine, "map \(options) of \(recipe.testDescription)")
    }
    let runs = try judge.ours(["io", "-r", "-c", "map", "a.qcow2"])
    #expect(try runs == judge.genuine("qemu-io", ["-r", "-c", "map", "a.qcow2"]))
  }

  @Test(
    "map refuses what the genuine tool refuses",
    arguments: [
      ["--output=xml", "a.qcow2"], ["-s", "foo", "a.qcow2"], ["-s", "-5", "a.qcow2"],
      ["-l", "1Z", "a.qcow2"],
      ["-l", "8E", "a.qcow2"], ["missing.qcow2"], ["-f", "qcow2", "text"], ["-f", "bogus", "a.qcow2"],
      ["packed.qcow2"],
      ["--output=json", "packed.qcow2"], ["."],
    ])
  func mapErrors(arguments: [String]) throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "1M"])
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "packed.qcow2", "1M"])
    try judge.must("qemu-io", ["-c", "write 0 64k", "-c", "write -c 128k 64k", "packed.qcow2"])
    try Data("no image\n".utf8).write(to: URL(fileURLWithPath: judge.path("text")))
    let ours = try judge.ours(["map"] + arguments)
    let genuine = try judge.genuine("qemu-img", ["map"] + arguments)
    if arguments == ["."] {
      #expect(ours.status == 1 && genuine.status == 1)
    } else {
      #expect(ours == genuine)
    }
  }

  @Test("map of a terabyte with all its tables takes no time")
  func mapIsFast() throws {
    let judge = try Judge()
    try judge.must(
      "qemu-img", ["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", "a.qcow2", "1T"])
    let start = ContinuousClock().now
    let lines = try judge.ours(["map", "--output=json", "a.qcow2"]).output
    #expect(lines.hasPrefix("[{ \"start\": 0, "))
    // Far more than a release build takes, so that an unoptimized one on a busy machine passes.
    #expect(start.duration(to: ContinuousClock().now) < .seconds(30))
  }

  /// Commands that make an image, then options of `info`.
  static let infoCases: [(name: String, steps: [[String]], options: [[String]])] = [
    ("plain", [["create", "a.qcow2", "10M"]], [[], ["-f", "qcow2", "-U"]]),
    ("version 2", [["create", "-o", "compat=0.10", "a.qcow2", "1G"]], [[]]),
    (
      "extended", [["create", "-o", "extended_l2=on,refcount_bits=64,lazy_refcounts=on", "a.qcow2", "1T"]],
      [[]]
    ),
    ("zstd", [["create", "-o", "compression_type=zstd,cluster_size=2M", "a.qcow2", "12345678"]], [[]]),
    (
      "snapshots and bitmaps",
      [
        ["create", "a.qcow2", "10M"], ["snapshot", "-c", "base", "a.qcow2"],
        ["snapshot", "-c", "a name that is longer than its column", "a.qcow2"],
        ["bitmap", "--add", "a.qcow2", "b0"], ["bitmap", "--add", "-g", "4k", "--disable", "a.qcow2", "b1"],
      ], [[]]
    ),
    (
      "backing files",
      [
        ["create", "base.qcow2", "3M"], ["create", "-b", "base.qcow2", "-F", "qcow2", "middle.qcow2"],
        ["create", "-b", "middle.qcow2", "-F", "qcow2", "a.qcow2"],
      ], [[], ["--backing-chain"]]
    ),
    (
      "a backing file that is not there", [["create", "-u", "-b", "gone", "-F", "raw", "a.qcow2", "1M"]],
      [[], ["--backing-chain"]]
    ),
    ("external data", [["create", "-o", "data_file=d.raw,data_file_raw=on", "a.qcow2", "1M"]], [[]]),
    (
      "AES",
      [
        [
          "create", "--object", "secret,id=s,data=abc", "-o", "encrypt.format=aes,encrypt.key-secret=s",
          "a.qcow2", "1M",
        ]
      ],
      [[]]
    ),
    (
      "LUKS",
      [
        [
          "create", "--object", "secret,id=s,data=abc", "-o",
          "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "a.qcow2", "1M",
        ]
      ],
      [[]]
    ),
  ]

  @Test("info prints what the genuine tool prints", arguments: infoCases.map(\.name))
  func info(name: String) throws {
    let judge = try Judge()
    let example = try #require(Self.infoCases.first { $0.name == name })
    for step in example.steps {
      let quiet = step[0] == "create" ? [step[0], "-q", "-f", "qcow2"] : [step[0]]
      try judge.must("qemu-img", quiet + step.dropFirst())
    }
    for options in example.options {
      for format in ["human", "json"] {
        let arguments = ["info", "--output=\(format)"] + options + ["a.qcow2"]
        #expect(try judge.ours(arguments) == judge.genuine("qemu-img", arguments))
      }
    }
    // From another folder, a relative backing file gets its path.
    let folder = URL(fileURLWithPath: judge.folder.path).lastPathComponent
    let ours = try judge.ours(["info", "../\(folder)/a.qcow2"])
    #expect(try ours == judge.genuine("qemu-img", ["info", "../\(folder)/a.qcow2"]))
  }

  @Test("info says that an image was not closed cleanly")
  func dirty() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", "a.qcow2", "1M"])
    _ = try run("qemu-io", ["-c", "write 0 1", "-c", "abort", "a.qcow2"], directory: judge.folder.path)
    let ours = try judge.ours(["info", "a.qcow2"])
    #expect(ours.output.contains("cleanly shut down: no"))
    #expect(try ours == judge.genuine("qemu-img", ["info", "a.qcow2"]))
  }

  @Test("names cannot send control bytes to the terminal")
  func controlBytes() throws {
    let judge = try Judge()
    let name = "a\u{1b}[31m\n.qcow2"
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", name, "1M"])
    try judge.must("qemu-img", ["snapshot", "-c", "s\u{1b}]0;x\u{7}", name])
    let human = try judge.ours(["info", name])
    #expect(human.output.hasPrefix("image: a\\x1b[31m\\x0a.qcow2\n"))
    #expect(human.output.contains("s\\x1b]0;x\\x07"))
    #expect(!human.output.contains("\u{1b}") && !human.output.contains("\u{7}"))
    let json = try judge.ours(["info", "--output=json", name])
    #expect(try json == judge.genuine("qemu-img", ["info", "--output=json", name]))
    let missing = try judge.ours(["map", "gone\u{1b}[2J"])
    #expect(
      missing.errors
        == "TOOL: Could not open 'gone\\x1b[2J': Could not open 'gone\\x1b[2J': No such file or directory\n")
  }
}
