// Two folders with the same files, in which a line is carried out by a genuine tool and by this program
// under the tool's name.

import Foundation
import TestSupport
import Testing

/// What a tool makes of a line.
struct ToolOutcome: Equatable {
  var output: String
  var errors: String
  var status: Int32
  var files: [String: Data]
}

/// Two folders with the same files, one for each tool.
final class ToolPair {
  let root: TemporaryDirectory
  let original: [String: Data]

  /// `make` makes the files in a folder; without it they are the images of the one-liners.
  init(_ make: (String) throws -> Void = ToolPair.makeImages) throws {
    root = try TemporaryDirectory(inMemory: true)
    for tool in ["qemu-img", "qemu-io"] {
      try FileManager.default.createSymbolicLink(
        atPath: root.path(tool), withDestinationPath: try builtProduct("qatlas"))
    }
    let folder = root.path("made")
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try make(folder)
    original = try Self.contents(folder)
    for name in ["genuine", "ours"] {
      try FileManager.default.copyItem(atPath: folder, toPath: root.path(name))
    }
  }

  private static func makeImages(_ folder: String) throws {
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

  /// What the genuine tool and this program make of a line; the folders are afterwards as before.
  func outcomes(_ tool: String, _ words: [String]) throws -> (theirs: ToolOutcome, ours: ToolOutcome) {
    (try outcome(tool, "genuine", words), try outcome(root.path(tool), "ours", words))
  }

  private func outcome(_ tool: String, _ folder: String, _ words: [String]) throws -> ToolOutcome {
    let path = root.path(folder)
    let result = try run(tool, words, stdin: [], directory: path, timeout: 60)
    guard result.signal == 0 else { throw TestFailure("\(tool) died of signal \(result.signal)") }
    let files = try Self.contents(path)
    if files != original {
      try FileManager.default.removeItem(atPath: path)
      try FileManager.default.copyItem(atPath: root.path("made"), toPath: path)
    }
    return ToolOutcome(
      output: Self.neutral(result.stdout), errors: Self.neutral(result.stderr), status: result.status,
      files: files)
  }

  /// How many bytes the host keeps for a file is not the tools' doing, nor is the time it takes.
  private static func neutral(_ text: String) -> String {
    Judge.withoutTimes(text).replacingOccurrences(
      of: #"(disk size|"actual-size"): .*"#, with: "$1", options: .regularExpression)
  }
}

extension ToolOutcome {
  /// Both sides of what differs.
  func difference(_ ours: ToolOutcome) -> String {
    var text = ""
    if status != ours.status { text += "exit \(status) / \(ours.status)\n" }
    if output != ours.output { text += "--- genuine\n\(output)--- ours\n\(ours.output)" }
    if errors != ours.errors { text += "--- errors\n\(errors)--- ours\n\(ours.errors)" }
    let names = Set(files.keys).union(ours.files.keys)
    for name in names.sorted() where files[name] != ours.files[name] {
      text += "\(name): \(files[name]?.count ?? -1) / \(ours.files[name]?.count ?? -1) bytes\n"
    }
    return text
  }
}
