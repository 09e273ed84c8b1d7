// A verb that is killed in the middle of a write: at its n-th write to a file, for seeded n.

import Foundation
import TestSupport
import Testing

/// Kills a line of this program at seeded moments.
enum KilledVerb {
  /// For each of `kills` moments: the image then has leaks at most and reads as before, perhaps larger, and the same line, done
  /// again, ends well.
  static func run(_ features: [ImageFeature], line: [String], kills: Int, seed: UInt64) throws {
    let stage = try VerbStage(features, seed: seed)
    let original = try ToolPair.contents(stage.ours)
    var random = SplitMix64(seed: seed)
    let content = try disk(stage.ours)
    let calls = try countedCalls(stage, line)
    #expect(calls > 3, "\(line) changes nothing")
    for _ in 0..<kills {
      try put(original, in: stage.ours)
      let stop = 1 + random.below(UInt64(calls))
      let killed = try run(stage, line, stopAt: Int(stop))
      let place = "\(line), killed before call \(stop) of \(calls)"
      #expect(killed.signal == SIGKILL, "\(place): exit \(killed.status) \(killed.stderr)")
      for name in original.keys where original[name]?.starts(with: [0x51, 0x46, 0x49, 0xfb]) == true {
        let check = try TestSupport.run(
          "qemu-img", ["check", "-f", "qcow2", name], directory: stage.ours, timeout: 60)
        #expect(
          check.status == 0 || check.status == 3, "\(place): \(name): \(check.stdout)\(check.stderr)")
      }
      #expect(try disk(stage.ours).starts(with: content), "\(place): the disk reads otherwise")
      let again = try run(stage, line, stopAt: nil)
      #expect(again.status == 0 && again.signal == 0, "\(place), again: \(again.stderr)")
      #expect(try disk(stage.ours).starts(with: content), "\(place), again: the disk reads otherwise")
      let end = try TestSupport.run(
        "qemu-img", ["check", "-f", "qcow2", "t"], directory: stage.ours, timeout: 60)
      #expect(end.status == 0 || end.status == 3, "\(place), again: \(end.stdout)\(end.stderr)")
    }
  }

  private static func put(_ files: [String: Data], in folder: String) throws {
    for (name, bytes) in files { try bytes.write(to: URL(fileURLWithPath: folder + "/" + name)) }
  }

  /// What the guest reads.
  private static func disk(_ folder: String) throws -> [UInt8] {
    let copy = folder + "/../content"
    try succeed("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", folder + "/t", copy])
    return [UInt8](try Data(contentsOf: URL(fileURLWithPath: copy)))
  }

  private static let changing = "pwrite64"

  /// How many calls that change files a line makes.
  private static func countedCalls(_ stage: VerbStage, _ line: [String]) throws -> Int {
    let log = stage.root.path("calls")
    let result = try TestSupport.run(
      "strace", ["-f", "-o", log, "-e", "trace=" + changing, stage.root.path("qemu-img")] + line,
      directory: stage.ours, timeout: 60)
    guard result.status == 0 else { throw TestFailure("\(line): \(result.stderr)") }
    let text = try String(contentsOfFile: log, encoding: .utf8)
    return text.split(separator: "\n").count { $0.contains("(") }
  }

  private static func run(_ stage: VerbStage, _ line: [String], stopAt: Int?) throws -> ProcessResult {
    guard let stopAt else {
      return try TestSupport.run(stage.root.path("qemu-img"), line, directory: stage.ours, timeout: 60)
    }
    return try TestSupport.run(
      "strace",
      [
        "-f", "-o", "/dev/null", "-e", "trace=" + changing, "-e",
        "inject=\(changing):signal=KILL:when=\(stopAt)",
        stage.root.path("qemu-img"),
      ] + line, directory: stage.ours, timeout: 60)
  }
}
