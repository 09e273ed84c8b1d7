// Two folders with the same files, in which line after line is carried out by a genuine tool and by this program
// under the tool's name; what a line leaves is there for the next one.

import Foundation
import TestSupport
import Testing

final class LastingPair {
  private let root: TemporaryDirectory
  /// Files as they were when they were to be remembered.
  private var remembered: [String: Data] = [:]

  init() throws {
    root = try TemporaryDirectory(inMemory: true)
    for tool in ["qemu-img", "qemu-io"] {
      try requireTool(tool)
      try FileManager.default.createSymbolicLink(
        atPath: root.path(tool), withDestinationPath: try builtProduct("qatlas"))
    }
    for name in ["genuine", "ours"] {
      try FileManager.default.createDirectory(atPath: root.path(name), withIntermediateDirectories: true)
    }
  }

  /// The path of this program under the name of a tool.
  func program(_ tool: String) -> String { root.path(tool) }
  func genuine(_ file: String) -> String { root.path("genuine/" + file) }
  func ours(_ file: String) -> String { root.path("ours/" + file) }

  /// Makes a file in both folders, the same by the genuine tool.
  func make(_ words: [String]) throws { try alike("qemu-img", words) }

  /// Does something by the genuine tool, once, and copies what it leaves: where several compressed clusters go is
  /// chance there.
  func alike(_ tool: String, _ words: [String]) throws {
    let result = try TestSupport.run(tool, words, directory: root.path("genuine"), timeout: 60)
    guard result.status == 0 else { throw TestFailure("\(tool) \(words): \(result.stderr)") }
    for (name, bytes) in try ToolPair.contents(root.path("genuine")) {
      try bytes.write(to: URL(fileURLWithPath: ours(name)))
    }
  }

  /// The folder of this program.
  var folder: String { root.path("ours") }

  /// Keeps the files as they are, which are the same in both folders.
  func remember() { remembered = (try? ToolPair.contents(folder)) ?? [:] }

  /// Puts back what was remembered.
  func restore() throws {
    for (name, bytes) in remembered {
      for path in [genuine(name), ours(name)] { try bytes.write(to: URL(fileURLWithPath: path)) }
    }
  }

  /// Writes a text file into both folders.
  func write(_ text: String, to name: String) throws {
    for path in [genuine(name), ours(name)] { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) }
  }

  /// Carries a line out in both folders: the same text, the same exit code, and the same bytes of every file.
  @discardableResult
  func run(
    _ tool: String, _ words: [String], _ place: String = "", at location: SourceLocation = #_sourceLocation
  ) throws -> Int32 {
    let theirs = try outcome(tool, tool, "genuine", words)
    let mine = try outcome(tool, program(tool), "ours", words)
    // An older tool has other words.
    let isSame =
      JudgeVersion.current >= .newest
      ? theirs == mine : theirs.status == mine.status && theirs.files == mine.files
    #expect(isSame, "\(place) \(tool) \(words)\n\(theirs.difference(mine))", sourceLocation: location)
    return mine.status
  }

  private func outcome(
    _ tool: String, _ path: String, _ folder: String, _ words: [String]
  ) throws -> ToolOutcome {
    let result = try TestSupport.run(path, words, stdin: [], directory: root.path(folder), timeout: 60)
    guard result.signal == 0 else { throw TestFailure("\(path) \(words) died of signal \(result.signal)") }
    var files: [String: Data] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: root.path(folder)) {
      files[name] = Data(try SnapshotTimes.cleared(root.path(folder + "/" + name)))
    }
    return ToolOutcome(
      output: Self.neutral(result.stdout), errors: Self.neutral(result.stderr), status: result.status,
      files: files)
  }

  /// Without what is measured with a clock, and without the host's blocks.
  private static func neutral(_ text: String) -> String {
    Judge.withoutTimes(text).replacingOccurrences(
      of: #"(disk size|"actual-size"): .*"#, with: "$1", options: .regularExpression
    ).replacingOccurrences(
      of: #" \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"#, with: " TIME", options: .regularExpression)
  }
}
