// `io` against the genuine `qemu-io`: what it prints but for the times, its exit codes, and every
// byte of the image afterwards.

import Foundation
import TestSupport
import Testing

@Suite(.tags(.genuine)) struct IoTests {
  /// Bytes that no compression makes shorter.
  private static let noise: Data = {
    var random = SplitMix64(seed: 1)
    return Data((0..<70_000).map { _ in UInt8(truncatingIfNeeded: random.next()) })
  }()

  /// Runs the same arguments through both tools, each on its own copy of a fresh image.
  private func compare(
    _ commands: [String], options: [String] = [], create: String = "", size: String = "10M",
    prepare: [String] = [], ignoring words: [String] = []
  ) throws {
    let judges = [try Judge(), try Judge()]
    let arguments = options + commands.flatMap { ["-c", $0] }
    var printed: [Printed] = []
    for (number, judge) in judges.enumerated() {
      try judge.must(
        "qemu-img",
        ["create", "-q", "-f", "qcow2"] + (create.isEmpty ? [] : ["-o", create]) + ["a.qcow2", size])
      try Data("seven b".utf8).write(to: URL(fileURLWithPath: judge.path("seven")))
      try Self.noise.write(to: URL(fileURLWithPath: judge.path("noise")))
      if !prepare.isEmpty { try judge.must("qemu-io", prepare.flatMap { ["-c", $0] } + ["a.qcow2"]) }
      let image = options.contains("--image-opts") ? [] : ["a.qcow2"]
      printed.append(
        try number == 0 ? judge.ours(["io"] + arguments + image) : judge.genuine("qemu-io", arguments + image)
      )
    }
    #expect(printed[0] == printed[1], "\(arguments)")
    #expect(judges[0].bytes("a.qcow2") == judges[1].bytes("a.qcow2"), "the files differ after \(arguments)")
  }

  static let scripts: [[String]] = [
    ["write 0 64k"], ["write -P 0x11 64k 1M", "read -P 0x11 64k 1M", "read -P 0x12 64k 64k", "read 0 10"],
    ["write 1 5", "write 512 600", "write -z 1 5", "discard 1 5", "discard 100 70000"],
    [
      "write 0", "write", "read", "foo", "foo 1 2", "alloc", "alloc 0 5 6", "map 5", "length 5", "flush 5",
      "help a b", "info 5",
    ],
    [
      "write -P 300 0 512", "write -P -1 0 512", "write -P xx 0 512", "write -P 0x 0 512", "write -P 1.5 0 1",
    ],
    [
      "write a 5", "write 0 b", "write -- -1 5", "write 16E 5", "write 8E 5", "write 0 1kB", "write 1e3 5",
      "write 1.3 5",
    ],
    [
      "write 0 0", "write 11M 1k", "write 10M 1k", "read 10M 512", "read 0 3G", "write 0 2147483648",
      "discard 0 3G", "discard 11M 1k",
    ],
    [
      "write -P 1 -z 0 512", "write -n 0 512", "write -u 0 512", "write 0 1 2", "read 0 1 2", "discard 0 1 2",
    ],
    ["write -x 0 1", "read -z 0 1k", "write -z", "discard -x 0 1", "write -s seven -P 1 0 5"],
    [
      "write -P 65 0 40", "write -P 0x2e 40 5", "read -v 0 64", "read -v 10485700 60", "read -v 65500 72",
      "read -vq 0 16", "read -vC 3 16",
    ],
    [
      "write -P 0xcd 0 8k", "read -P 0xcd -s 512 -l 1024 0 4k", "read -P 0xcd -s 4k 0 4k",
      "read -P 0xcd -l 5k 0 4k", "read -P 0xcd -s 3k -l 2k 0 4k",
    ],
    ["read -s 512 0 4k", "read -l 512 0 4k", "read -P 1 -s x 0 4k", "read -P 1 -l y 0 4k"],
    [
      "write 0 64k", "read -P 0xce -s 512 -l 1024 0 4k", "read -P 1 -v 0 40", "read -q 0 4k", "read -C 0 4k",
      "write -C 0 4k",
    ],
    [
      "discard -C 0 64k", "discard -q 0 64k", "write -q 0 1k", "write -z -C 0 64k", "write -Cq 5 4000",
      "read -C 5 4000",
    ],
    [
      "write 0 1M", "write 3M 70k", "map", "alloc 0", "alloc 0 64k", "alloc 1M", "alloc 1M 1M",
      "alloc 64k 1536k", "alloc 11M",
    ],
    [
      "alloc -1", "alloc 0 x", "alloc 5 512", "alloc 0 5", "alloc 10m 0", "alloc 0 99M", "alloc 1025",
      "alloc 1048575", "alloc 999999",
    ],
    ["length", "info", "flush", "l", "i", "f"], ["", "r 0 1k", "w 0 1k", "d 0 64k", "q", "read 0 1"],
    ["quit 5", "foo"],
    ["write -s seven 0 100", "read -v 0 100", "write -s seven 64k 3"], ["help nothing", "? nothing"],
    ["write -pP 7 0 1k", "read -p -P 7 0 1k", "read 0 1k -q", "read -P7 0 1k", "write -f 0 1k"],
    ["write 0 10M", "write -z -u 0 2M", "write -z 2M 2M", "discard 4M 2M", "write -z -n 100k 1000", "map"],
    [
      "write 0x10 0x10", "write 010 5", "write 1b 5", "write 0.5k 5", "write 1.5k 512", "write -P 010 0 1",
      "read -v 0 1",
    ],
  ]

  @Test("scripts print and do the same", arguments: scripts)
  func script(commands: [String]) throws { try compare(commands) }

  @Test(
    "on images of all kinds",
    arguments: [
      "compat=0.10", "cluster_size=512", "cluster_size=2M", "extended_l2=on", "refcount_bits=1",
      "refcount_bits=64",
      "preallocation=metadata", "lazy_refcounts=on",
    ])
  func kinds(create: String) throws {
    try compare(
      [
        "write 0 1M", "write -P 3 1500k 200k", "write -z 100k 300k", "write -z -u 512k 64k",
        "discard 768k 200k", "map", "info",
        "alloc 0 10M", "read -P 3 1500k 200k", "length",
      ], create: create)
  }

  /// One cluster per request, because the genuine tool compresses several at once and links them in
  /// whatever order they come out.
  static let compressed: [[String]] = [
    [
      "write -c 0 64k", "write -c 0 64k", "write -c -P 7 64k 64k", "read -P 7 64k 64k", "map", "write -c 0 0",
    ],
    [
      "write -c 1 64k", "write -c 64k 100", "write -c 64k 1k", "write -c 64k 100k", "write -c 1k 64k",
      "write -c 1 0",
    ],
    ["write -c 20M 64k", "write -c 4M 10M", "write -c 1025k 20M", "write -c 512k 3G", "write -c 512k"],
    [
      "write -c -C 0 64k", "write -c -q 64k 64k", "write -cqC 128k 64k", "write -c -p -P 300 0 64k",
      "write -cP9 192k 64k",
    ],
    [
      "write -c -s noise 0 64k", "write -c -s seven 64k 64k", "write -c 128k 64k", "read -v 65536 20",
      "read -v 0 20", "map",
    ],
    [
      "write -cn 0 64k", "write -cu 0 64k", "write -cf 0 64k", "write -cz 0 64k", "write -cz 1 512",
      "write -cz 1k 512",
    ],
    [
      "write -z 0 64k", "write -c 0 64k", "write -z 0 64k", "write -c 0 64k", "write 64k 1k",
      "write -c 64k 64k", "read -P 205 0 64k",
    ],
    [
      "write 1M 64k", "discard 1M 64k", "write -c -P 5 1M 64k", "write -P 6 1M 1k", "read -P 6 1M 1k",
      "read -P 5 1025k 63k",
    ],
    [
      "write -c 10485248 512", "write -c 10420224 64k", "write -c 10420224 65024", "write -c 10420224 512",
      "write -c 10420224 65535",
    ],
    [
      "write -c -P 1 0 64k", "write -c -P 2 64k 64k", "discard 0 64k", "write -P 3 64k 64k",
      "write -P 4 128k 64k", "alloc 0 1M",
    ],
  ]

  @Test("compressed writes", arguments: compressed)
  func compress(commands: [String]) throws {
    try compare(commands)
    try compare(commands, create: "extended_l2=on", size: "10485248")
  }

  @Test(
    "compressed writes on images of all kinds",
    arguments: [
      ("compat=0.10", "64k"), ("cluster_size=512", "512"), ("cluster_size=4k", "4k"),
      ("cluster_size=2M", "2M"),
      ("extended_l2=on,cluster_size=16k", "16k"), ("refcount_bits=1", "64k"), ("refcount_bits=2", "64k"),
      ("refcount_bits=64", "64k"), ("refcount_bits=1,cluster_size=512", "512"), ("lazy_refcounts=on", "64k"),
      ("preallocation=metadata", "64k"), ("compression_type=zstd", "64k"),
    ])
  func compressedKinds(create: String, size: String) throws {
    let unit = try Self.bytes(size)
    var commands = (0..<4).map { "write -c -P \($0 + 1) \($0 * unit) \(unit)" }
    commands += [
      "write -c -s noise \(4 * unit) \(unit)", "write \(6 * unit) \(unit)",
      "write -c -P 9 \(7 * unit) \(unit)",
    ]
    commands += [
      "write -c \(6 * unit) \(unit)", "read -P 3 \(2 * unit) \(unit)", "write -P 8 \(unit) 512", "map",
    ]
    try compare(commands, create: create, size: "\(unit * 9)")
    try compare(commands, options: ["-t", "writeback"], create: create, size: "\(unit * 8)")
  }

  private static func bytes(_ text: String) throws -> Int {
    let factor = text.hasSuffix("k") ? 1024 : text.hasSuffix("M") ? 1 << 20 : 1
    guard let number = Int(text.filter(\.isNumber)) else { throw TestFailure("`\(text)` is no size") }
    return number * factor
  }

  @Test(
    "open options change the same",
    arguments: [
      ["-r"], ["-d", "ignore"], ["-d", "unmap"], ["-t", "writeback"], ["-t", "none"], ["-n"], ["-C"],
      ["-f", "qcow2"],
      ["-U", "-r"], ["-t", "bogus"], ["-d", "bogus"], ["-f", "bogus"],
      ["--image-opts", "driver=qcow2,file.filename=a.qcow2"],
      ["--image-opts", "driver=qcow2,file.filename=a.qcow2,l2-cache-entry-size=512"],
      ["--image-opts", "driver=qcow2,file.filename=a.qcow2,l2-cache-entry-size=4097"],
      ["--image-opts", "driver=qcow2,file.filename=a.qcow2,discard=ignore"],
      ["--image-opts", "driver=qcow2,file.filename=a.qcow2,discard=unmap,pass-discard-request=off"],
      ["--image-opts", "driver=qcow2,file.filename=a.qcow2,pass-discard-other=on"],
      ["--image-opts", "driver=qcow2,file.filename=a.qcow2,bogus=1"],
      ["--image-opts", "driver=qcow2,file.filename=a.qcow2,discard=bogus"], ["--image-opts", "driver=qcow2"],
      ["--image-opts", "-f", "qcow2", "driver=qcow2,file.filename=a.qcow2"],
    ])
  func openOptions(options: [String]) throws {
    // QEMU 10 drops -u when discards are ignored; the judge, 7.2, does not.
    let ignores = options.contains { $0.contains("ignore") }
    try compare(
      [
        "write 0 1M", "write 30k 700", "discard 64k 256k", "write -z \(ignores ? "" : "-u ")512k 128k",
        "write 128k 64k",
        "flush", "map",
      ],
      options: options, prepare: ["write 5M 1M", "write 0 200k"])
  }

  @Test("commands come from standard input, and the last line needs no end")
  func input() throws {
    let judges = [try Judge(), try Judge()]
    for text in ["length\nwrite 0 1k\nquit\nlength\n", "length\nread -P 5 0 512", "\n\nfoo\n  length\n", ""] {
      for judge in judges { try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "10M"]) }
      let ours = try judges[0].ours(["io", "a.qcow2"], stdin: text)
      let genuine = try judges[1].genuine("qemu-io", ["a.qcow2"], stdin: text)
      #expect(ours == genuine)
      #expect(judges[0].bytes("a.qcow2") == judges[1].bytes("a.qcow2"))
    }
  }

  @Test(
    "errors of opening", arguments: [["missing"], ["-f", "qcow2", "text"], ["-f", "qcow2", "-r", "text"]])
  func openErrors(arguments: [String]) throws {
    let judge = try Judge()
    try Data("no image".utf8).write(to: URL(fileURLWithPath: judge.path("text")))
    let ours = try judge.ours(["io", "-c", "length"] + arguments)
    #expect(try ours == judge.genuine("qemu-io", ["-c", "length"] + arguments))
  }

  @Test("-s keeps changes in memory")
  func snapshotMode() throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "1M"])
    let before = judge.bytes("a.qcow2")
    let ours = try judge.ours(["io", "-s", "-c", "write -P 9 0 64k", "-c", "read -P 9 0 64k", "a.qcow2"])
    #expect(ours.status == 0 && ours.errors.isEmpty)
    #expect(judge.bytes("a.qcow2") == before)
  }

  @Test("wrong use of the command line ends with 1, help and version with 0")
  func usage() throws {
    let judge = try Judge()
    for arguments in [
      ["info"], ["info", "--bogus", "x"], ["map", "a", "b"], ["create"], ["io", "-x"], ["io", "a", "b"],
    ] {
      let ours = try judge.ours(arguments)
      #expect(ours.status == 1 && ours.output.isEmpty && ours.errors.contains("--help"), "\(arguments)")
    }
    for arguments in [
      ["--help"], ["info", "--help"], ["map", "-h"], ["create", "--help"], ["io", "--help"], ["--version"],
    ] {
      let ours = try judge.ours(arguments)
      #expect(ours.status == 0 && !ours.output.isEmpty && ours.errors.isEmpty, "\(arguments)")
    }
    for command in ["read", "write", "discard", "flush", "map", "alloc", "length", "info", "help", "quit"] {
      let ours = try judge.ours(["io", "-c", "help \(command)"])
      #expect(ours.status == 0 && ours.output.hasPrefix(command + " "))
    }
  }
}
