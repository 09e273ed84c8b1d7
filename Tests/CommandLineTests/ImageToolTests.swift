// The program under the name `qemu-img`, one-liner by one-liner beside the genuine tool: both streams,
// the exit code and the bytes of every file, but for a few chosen differences.

import Foundation
import TestSupport
import Testing

@Suite("In place of qemu-img", .serialized, .tags(.campaign))
struct ImageToolTests {
  /// Where this program is meant to differ: a pattern of the line, and why.
  private static let chosen: [(line: String, reason: String)] = [
    (#"^(create .*)?-o (help|\?)( |$)"#, "the list of options is worded by this program"),
    (#"extent_size_hint="#, "a warning depends on the host's file system"),
    (#"^convert -O raw .*preallocation=metadata"#, "a raw file that cannot be made is not begun"),
    (#"--object (?!secret)"#, "only secrets are objects here, and the refusal says so"),
  ]

  @Test("one-liners: both streams, exit code and bytes")
  func lines() throws {
    for tool in ["qemu-img", "qemu-io"] { try requireTool(tool) }
    let pair = try ToolPair()
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
      var (theirs, ours) = try pair.outcomes("qemu-img", line.split(separator: " ").map(String.init))
      if isNewest {
        // A create that is refused removes what was there under that name; here it stays.
        if theirs.status != 0, line.hasPrefix("create ") || line.hasPrefix("convert ") {
          for name in pair.original.keys where theirs.files[name] == nil && ours.files[name] != nil {
            #expect(ours.files[name] == pair.original[name], "qemu-img \(line)")
            theirs.files[name] = ours.files[name]
          }
        }
        #expect(theirs == ours, "qemu-img \(line)\n\(theirs.difference(ours))")
      } else if theirs.status == 0, ours.status == 0 {
        // Older versions have other words and fewer options; what both do they do alike.
        #expect(theirs.files == ours.files, "qemu-img \(line)\n\(theirs.difference(ours))")
      }
    }
  }

  @Test("other formats are called by their names", arguments: ["vmdk", "vdi", "vhdx", "qed", "vpc", "qcow"])
  func foreign(format: String) throws {
    let judge = try Judge()
    try judge.must("qemu-img", ["create", "-q", "-f", format, "a", "1M"])
    let before = judge.bytes("a")
    for words in [["info", "a"], ["map", "a"], ["resize", "a", "2M"], ["snapshot", "-l", "a"]] {
      let printed = try judge.ours(words)
      #expect(printed.status == 1 && printed.output.isEmpty && printed.errors.contains("format '\(format)'"))
    }
    #expect(try judge.ours(["check", "a"]).status == 63)
    #expect(judge.bytes("a") == before)
  }

  @Test("raw disks under the program's own name")
  func raw() throws {
    let (theirs, ours) = (try Judge(), try Judge())
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
