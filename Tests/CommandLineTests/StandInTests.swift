// The program under the name `qemu-io`, beside the genuine tool: streams, exit code and bytes.

import Foundation
import TestSupport
import Testing

@Suite("Standing in for qemu-io", .tags(.campaign))
struct StandInTests {
  private static let sessions = [
    "readv 0 4k 8k", "readv -v 0 16 16", "writev -P 3 0 4k 4k", "writev 0", "readv -z 0 4k",
    "writev -P 999 0 4k", "writev 8M 4k", "readv 8M 4k", "readv -C 0 4k", "readv -P 1 0 4k",
    "aio_read 0 4k", "aio_write -P 4 0 64k", "aio_write -z 0 64k", "aio_write -u 0 64k",
    "aio_write -z 0 4k 4k", "aio_read -P 9 0 4k", "aio_read 8M 4k", "aio_write 8M 4k", "aio_flush 1",
    "close", "close|read 0 4k", "close|open a.qcow2|length", "close|open -r a.qcow2|write 0 4k",
    "close|open -x", "close|open nonex", "close|open a b", "close|open -s a.qcow2|write 0 4k",
    "close|open -d foo a.qcow2", "open a.qcow2", "truncate 8M|length", "truncate", "truncate 1M",
    "truncate -m foo 9M", "sleep 1", "sleep x", "sigraise x", "sigraise 0", "sigraise 999",
    "close|open -o driver=qcow2,file.filename=a.qcow2|write 0 4k", "foo",
  ]

  private static let options: [[String]] = [
    ["-i", "foo"], ["-k"], ["-n", "-k"], ["-C", "-r"], ["-t", "foo"], ["-d", "foo"], ["-T", "foo"], ["-U"],
    ["-rU"], ["--cm", "map"], ["-f", "foo"], ["-rs"],
  ]

  @Test("says and does what the genuine tool says and does")
  func oneLiners() throws {
    let judge = try Judge()
    try FileManager.default.createSymbolicLink(
      atPath: judge.path("qemu-io"), withDestinationPath: judge.qatlas)
    let lines =
      Self.sessions.map { session in session.split(separator: "|").flatMap { ["-c", String($0)] } }
      + Self.options.map { $0 + ["-c", "length"] }
    for line in lines {
      let genuine = try outcome(judge, "qemu-io", line)
      let ours = try outcome(judge, judge.path("qemu-io"), line)
      #expect(ours.printed == genuine.printed, "\(line)")
      #expect(ours.bytes == genuine.bytes, "\(line)")
    }
  }

  /// Where this program is meant to differ: a pattern of the line, and why.
  private static let chosen: [(line: String, reason: String)] = [
    (#"help [a-z]"#, "the help of a command is worded by this program"),
    (#"json:\{"driver":"qcow2"( |$)"#, "what is wrong with the syntax of JSON is worded by this program"),
    (#"(^| )-s .*(alloc|map|i|info|truncate)( |$)"#, "a run that drops its changes shows the image itself"),
    (#"--image-opts .*open "#, "the command open takes a name for a name there too"),
    (#"-z .*-n |-n .*-z "#, "a zero-write of a part of a cluster writes zeroes where it can, also with -n"),
    (#"-[tdi] bad (.* )?-[tdi] bad"#, "of two wrong words another one is named"),
    (#"(^| )-k .*-i |(^| )-i .*-k "#, "two words for one choice"),
  ]

  /// QATLAS_IO_LINES changes how many there are, QATLAS_SEED where they begin.
  @Test("seeded lines do what they do there")
  func seeded() throws {
    for tool in ["qemu-img", "qemu-io"] { try requireTool(tool) }
    let pair = try ToolPair()
    let count = try environmentNumber("QATLAS_IO_LINES", default: 60)
    let seed = try environmentNumber("QATLAS_SEED", default: 1)
    let isNewest = JudgeVersion.current >= .newest
    for number in 0..<count {
      let words = IoToolLines.seeded(seed &* 1_000_000 &+ number)
      let line = words.joined(separator: " ")
      guard !Self.chosen.contains(where: { line.range(of: $0.line, options: .regularExpression) != nil })
      else {
        continue
      }
      let (theirs, ours) = try pair.outcomes("qemu-io", words)
      if isNewest {
        #expect(theirs == ours, "qemu-io \(words)\n\(theirs.difference(ours))")
      } else if theirs.status == 0, ours.status == 0 {
        #expect(theirs.files == ours.files, "qemu-io \(words)\n\(theirs.difference(ours))")
      }
    }
  }

  private func outcome(_ judge: Judge, _ tool: String, _ line: [String]) throws -> (
    printed: Printed, bytes: Data?
  ) {
    try? FileManager.default.removeItem(atPath: judge.path("a.qcow2"))
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", "a.qcow2", "4M"])
    let result = try run(tool, line + ["a.qcow2"], stdin: [], directory: judge.folder.path, timeout: 60)
    // The name stays in: it is part of what is compared.
    let printed = Printed(
      output: Judge.neutral(result.stdout), errors: result.stderr, status: result.status)
    return (printed, judge.bytes("a.qcow2"))
  }
}
