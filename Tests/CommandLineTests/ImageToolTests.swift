// The program under the name `qemu-img`, one-liner by one-liner beside the genuine tool: both streams,
// the exit code and the bytes of every file, but for a few chosen differences.

import Foundation
import TestSupport
import Testing

@Suite("In place of qemu-img", .serialized)
struct ImageToolTests {
  /// Where this program is meant to differ: a pattern of the line, and why.
  private static let chosen: [(line: String, reason: String)] = [
    (#"^(create .*)?-o (help|\?)( |$)"#, "the list of options is worded by this program"),
    (#"extent_size_hint="#, "a warning depends on the host's file system"),
    (#"--object (?!secret)"#, "only secrets are objects here, and the refusal says so"),
  ]

  private struct Outcome: Equatable {
    var output: String
    var errors: String
    var status: Int32
    var files: [String: Data]
  }

  /// Two folders with the same files, one for each tool.
  private final class Pair {
    let root: TemporaryDirectory
    let original: [String: Data]
    let link: String

    init() throws {
      root = try TemporaryDirectory(inMemory: true)
      link = root.path("qemu-img")
      try FileManager.default.createSymbolicLink(
        atPath: link, withDestinationPath: try builtProduct("qatlas"))
      let folder = root.path("made")
      try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
      try Self.make(folder)
      original = try Self.contents(folder)
      for name in ["genuine", "ours"] {
        try FileManager.default.copyItem(atPath: folder, toPath: root.path(name))
      }
    }

    private static func make(_ folder: String) throws {
      func must(_ tool: String, _ line: String, _ more: [String] = []) throws {
        let words = line.split(separator: " ").map(String.init)
        let result = try run(tool, words + more, directory: folder, timeout: 60)
        guard result.status == 0 else { throw TestFailure("\(tool) \(line): \(result.stderr)") }
      }
      func io(_ name: String, _ commands: String..., format: String = "qcow2") throws {
        try must("qemu-io", "-f \(format) \(name)", commands.flatMap { ["-c", $0] })
      }
      let create = "create -q -f qcow2 "
      try must("qemu-img", create + "a.qcow2 4M")
      try io("a.qcow2", "write -P 1 0 192k", "write -z 1M 64k", "write -P 2 2M 100k")
      try must("qemu-img", "create -q -f raw r.raw 2M")
      try io("r.raw", "write -P 3 64k 64k", format: "raw")
      try must("qemu-img", create + "-b a.qcow2 -F qcow2 top.qcow2")
      try io("top.qcow2", "write -P 4 64k 64k")
      try must("qemu-img", create + "snap.qcow2 2M")
      try io("snap.qcow2", "write -P 4 64k 64k")
      for name in ["one", "two"] { try must("qemu-img", "snapshot -c \(name) snap.qcow2") }
      try must("qemu-img", create + "comp.qcow2 2M")
      try io("comp.qcow2", "write -c -P 4 0 64k", "write -c -P 4 64k 64k", "write -P 5 1M 64k")
      try must("qemu-img", create + "-o extended_l2=on ext.qcow2 2M")
      try io("ext.qcow2", "write -P 4 2k 4k", "write -z 64k 30k")
      for (name, at, byte) in [("leak.qcow2", 0x2001e, UInt8(1)), ("bad.qcow2", 0x2000a, 0)] {
        var bytes = try Data(contentsOf: URL(fileURLWithPath: folder + "/a.qcow2"))
        // The refcounts of clusters 15 and 5.
        bytes[at] = 0
        bytes[at + 1] = byte
        try bytes.write(to: URL(fileURLWithPath: folder + "/\(name)"))
      }
      try GenuineEncryption.make(
        folder + "/luks.qcow2", ["--object", "secret,id=s,data=pw"],
        "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10")
      try GenuineEncryption.make(
        folder + "/aes.qcow2", ["--object", "secret,id=s,data=pw"], "encrypt.format=aes,encrypt.key-secret=s")
    }

    static func contents(_ folder: String) throws -> [String: Data] {
      var files: [String: Data] = [:]
      for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
        files[name] = try Data(contentsOf: URL(fileURLWithPath: folder + "/" + name))
      }
      return files
    }

    /// What a tool makes of a line; the folder is afterwards as before.
    func outcome(_ tool: String, _ folder: String, _ line: String) throws -> Outcome {
      let path = root.path(folder)
      let result = try run(
        tool, line.split(separator: " ").map(String.init), directory: path, timeout: 60)
      guard result.signal == 0 else { throw TestFailure("\(tool) died of signal \(result.signal)") }
      let files = try Self.contents(path)
      if files != original {
        try FileManager.default.removeItem(atPath: path)
        try FileManager.default.copyItem(atPath: root.path("made"), toPath: path)
      }
      return Outcome(
        output: Self.neutral(result.stdout), errors: Self.neutral(result.stderr), status: result.status,
        files: files)
    }

    /// How many bytes the host keeps for a file is not the tools' doing.
    private static func neutral(_ text: String) -> String {
      text.replacingOccurrences(
        of: #"(disk size|"actual-size"): .*"#, with: "$1", options: .regularExpression)
    }
  }

  private static func difference(_ theirs: Outcome, _ ours: Outcome) -> String {
    var text = ""
    if theirs.status != ours.status { text += "exit \(theirs.status) / \(ours.status)\n" }
    if theirs.output != ours.output { text += "--- genuine\n\(theirs.output)--- ours\n\(ours.output)" }
    if theirs.errors != ours.errors { text += "--- errors\n\(theirs.errors)--- ours\n\(ours.errors)" }
    let names = Set(theirs.files.keys).union(ours.files.keys)
    for name in names.sorted() where theirs.files[name] != ours.files[name] {
      text += "\(name): \(theirs.files[name]?.count ?? -1) / \(ours.files[name]?.count ?? -1) bytes\n"
    }
    return text
  }

  @Test("one-liners: both streams, exit code and bytes")
  func lines() throws {
    for tool in ["qemu-img", "qemu-io"] { try requireTool(tool) }
    let pair = try Pair()
    let count = try environmentNumber("QATLAS_LINES", default: 60)
    let seed = try environmentNumber("QATLAS_SEED", default: 1)
    // The share of the default run goes through the kept list in steps.
    let step = max(1, ImageToolLines.kept.count / Int(count))
    let kept = stride(from: 0, to: ImageToolLines.kept.count, by: step).map {
      String(ImageToolLines.kept[$0])
    }
    let lines = kept + (0..<count).map { ImageToolLines.seeded(seed &* 1_000_000 &+ $0) }
    let isNewest = JudgeVersion.current >= .newest
    for line in lines
    where !Self.chosen.contains(where: { line.range(of: $0.line, options: .regularExpression) != nil }) {
      var theirs = try pair.outcome("qemu-img", "genuine", line)
      let ours = try pair.outcome(pair.link, "ours", line)
      if isNewest {
        // A create that is refused removes what was there under that name; here it stays.
        if theirs.status != 0, line.hasPrefix("create ") {
          for name in pair.original.keys where theirs.files[name] == nil && ours.files[name] != nil {
            #expect(ours.files[name] == pair.original[name], "qemu-img \(line)")
            theirs.files[name] = ours.files[name]
          }
        }
        #expect(theirs == ours, "qemu-img \(line)\n\(Self.difference(theirs, ours))")
      } else if theirs.status == 0, ours.status == 0 {
        // Older versions have other words and fewer options; what both do they do alike.
        #expect(theirs.files == ours.files, "qemu-img \(line)\n\(Self.difference(theirs, ours))")
      }
    }
  }

  @Test("verbs that are not there name themselves", arguments: ["qatlas", "qemu-img"])
  func absent(name: String) throws {
    let folder = try TemporaryDirectory()
    let link = folder.path(name)
    try FileManager.default.createSymbolicLink(
      atPath: link, withDestinationPath: try builtProduct("qatlas"))
    for verb in ["convert", "commit", "rebase", "amend"] {
      let result = try run(link, [verb, "a.qcow2", "b.qcow2"], directory: folder.path)
      #expect(result.status == 1 && result.stdout.isEmpty)
      #expect(result.stderr == "\(name): the command '\(verb)' is not there yet in this version\n")
    }
  }

  @Test("other formats are called by their names", arguments: ["vmdk", "vdi", "vhdx", "qed", "vpc", "qcow"])
  func foreign(format: String) throws {
    let twin = try Twin()
    try twin.must("qemu-img", ["create", "-q", "-f", format, "a", "1M"])
    let before = twin.bytes("a")
    for words in [["info", "a"], ["map", "a"], ["resize", "a", "2M"], ["snapshot", "-l", "a"]] {
      let printed = try twin.ours(words)
      #expect(printed.status == 1 && printed.output.isEmpty && printed.errors.contains("format '\(format)'"))
    }
    #expect(try twin.ours(["check", "a"]).status == 63)
    #expect(twin.bytes("a") == before)
  }

  @Test("raw disks under the program's own name")
  func raw() throws {
    let (theirs, ours) = (try Twin(), try Twin())
    for line in [
      "create -f raw a 1000", "resize -f raw a +1M", "map --output=json a", "map a", "info a",
      "resize -f raw --shrink a 512", "check a", "resize a -1G", "resize a 1M",
      "resize -f raw --preallocation=falloc a 2M", "resize -f raw --preallocation=metadata a 3M",
    ] {
      let words = line.split(separator: " ").map(String.init)
      let expected = try theirs.genuine("qemu-img", words)
      let printed = try ours.ours(words)
      #expect(asOlderJudge(printed.description) == asOlderJudge(expected.description), "\(line)")
      #expect(ours.bytes("a") == theirs.bytes("a"), "\(line)")
    }
  }
}
