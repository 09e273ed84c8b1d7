// The genuine tool as the judge of `qatlas check`: both look at one file, and what they print and how they
// end must be the same, but for our notes and the program's name.

import Foundation
import TestSupport
import Testing

/// What a tool printed, in a form that can be compared.
struct Verdict: Equatable, CustomStringConvertible {
  var output: String
  var errors: String
  var status: Int32

  var description: String {
    "exit \(status)\n--- output\n\(output.prefix(4000))--- errors\n\(errors.prefix(4000))"
  }
}

/// A folder with images and the two tools.
struct Judge {
  let folder: TemporaryDirectory
  let qatlas: String

  init() throws {
    folder = try TemporaryDirectory()
    qatlas = try builtProduct("qatlas")
    try requireTool("qemu-img")
    try requireTool("qemu-io")
  }

  func path(_ name: String) -> String { folder.path(name) }

  /// Runs a genuine tool in the folder; it must succeed.
  @discardableResult
  func must(_ tool: String, _ arguments: [String]) throws -> String {
    let result = try run(tool, arguments, directory: folder.path, timeout: 120)
    guard result.status == 0 else {
      throw TestFailure(
        "\(tool) \(arguments.joined(separator: " ")): exit \(result.status)\n\(result.stderr)")
    }
    return result.stdout
  }

  func ours(_ arguments: [String]) throws -> Verdict { try verdict(qatlas, ["check"] + arguments) }
  func genuine(_ arguments: [String]) throws -> Verdict { try verdict("qemu-img", ["check"] + arguments) }

  /// Our notes about an image, one by one.
  func notes(_ name: String) throws -> [String] {
    let result = try run(qatlas, ["check", name], directory: folder.path, timeout: 60)
    return result.stderr.split(separator: "\n").filter { $0.hasPrefix("note: ") }.map {
      String($0.dropFirst(6))
    }
  }

  private func verdict(_ tool: String, _ arguments: [String]) throws -> Verdict {
    let result = try run(tool, arguments, directory: folder.path, timeout: 120)
    guard result.signal == 0 else {
      throw TestFailure(
        "\(tool) \(arguments.joined(separator: " ")) died of signal \(result.signal)\n\(result.stderr)")
    }
    return Verdict(
      output: result.stdout, errors: Self.neutral(result.stderr, isOurs: tool == qatlas),
      status: result.status)
  }

  private static func neutral(_ text: String, isOurs: Bool) -> String {
    // The genuine warning lacks the end of its line.
    var lines = text.replacingOccurrences(of: "image file to fix.", with: "image file to fix.\n")
      .split(separator: "\n").map(String.init)
    lines = asOlderJudge(lines.joined(separator: "\n")).split(separator: "\n").map(String.init)
    if isOurs { lines.removeAll { $0.hasPrefix("note: ") } }
    return lines.map { line in
      // Control bytes in names are written as they are by the one and as \x.. by the other.
      let line = line.replacingOccurrences(
        of: #"\\x[0-9a-f]{2}|[\x01-\x09\x0b-\x1f\x7f]"#, with: "", options: .regularExpression)
      for name in ["qemu-img: ", "qatlas: "] where line.hasPrefix(name) {
        return "TOOL: " + line.dropFirst(name.count)
      }
      return line
    }.joined(separator: "\n")
  }

  /// Writes bytes into a file of the folder.
  func patch(_ name: String, _ offset: UInt64, _ hex: String) throws {
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path(name)))
    defer { try? handle.close() }
    try handle.seek(toOffset: offset)
    try handle.write(contentsOf: Data(Self.bytes(hex)))
  }

  static func bytes(_ hex: String) -> [UInt8] {
    let digits = Array(hex)
    return stride(from: 0, to: digits.count - 1, by: 2).compactMap {
      UInt8(String(digits[$0...$0 + 1]), radix: 16)
    }
  }
}

/// How to make an image with the genuine tools.
struct ImageRecipe: CustomTestStringConvertible, Sendable {
  var name: String
  var options: String
  var size: String
  /// Commands of `qemu-io`; those that start with "!" are for `qemu-img`, with "@" for the file.
  var steps: [String]

  var testDescription: String { name }

  func make(_ judge: Judge, as file: String) throws {
    let list = options.isEmpty ? [] : ["-o", options.replacingOccurrences(of: "@", with: file)]
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2"] + list + [file, size])
    for step in steps {
      if step.hasPrefix("!") {
        let words = step.dropFirst().split(separator: " ").map { $0 == "@" ? file : String($0) }
        try judge.must("qemu-img", words)
      } else {
        try judge.must("qemu-io", ["-f", "qcow2", "-c", step, file])
      }
    }
  }

  private static let writes = ["write -P 1 0 12k", "write -z 300k 20k", "write -P 3 700k 30k"]
  private static let packed = ["write -c -P 5 128k 64k", "write -c -P 6 192k 64k"]
  private static let snapshots = [
    "!snapshot -c one @", "write -P 7 8k 8k", "!snapshot -c two @", "write -P 8 64k 20k",
    "write -P 8 900k 20k",
  ]
  private static let bitmaps = [
    "!bitmap --add @ b0", "!bitmap --add --disable @ bitmap1", "write -P 9 400k 20k",
  ]
  private static let small = ["write -c -P 5 128k 4k", "write -c -P 6 132k 4k"]

  /// Images of all kinds that are worth damaging.
  static let all: [ImageRecipe] = [
    ImageRecipe(name: "512", options: "cluster_size=512", size: "1M", steps: writes + snapshots),
    ImageRecipe(name: "512, 1 bit", options: "cluster_size=512,refcount_bits=1", size: "1M", steps: writes),
    ImageRecipe(
      name: "4k", options: "cluster_size=4096", size: "1M", steps: writes + small + snapshots + bitmaps),
    ImageRecipe(
      name: "4k, 8 bits", options: "cluster_size=4096,refcount_bits=8", size: "1M",
      steps: writes + small + snapshots),
    ImageRecipe(
      name: "4k, 2 bits", options: "cluster_size=4096,refcount_bits=2", size: "1M", steps: writes + snapshots),
    ImageRecipe(
      name: "1k, 64 bits", options: "cluster_size=1024,refcount_bits=64", size: "1M",
      steps: writes + snapshots),
    ImageRecipe(
      name: "2k, 32 bits, preallocated", options: "cluster_size=2048,refcount_bits=32,preallocation=metadata",
      size: "1M", steps: ["write -P 1 0 12k", "write -z 300k 20k", "discard 700k 30k"] + snapshots),
    ImageRecipe(name: "64k", options: "", size: "64M", steps: writes + packed + snapshots + bitmaps),
    ImageRecipe(
      name: "64k, version 2", options: "compat=0.10", size: "64M", steps: [writes[0]] + packed + snapshots),
    ImageRecipe(
      name: "extended 16k", options: "extended_l2=on,cluster_size=16k", size: "2M",
      steps: writes + ["write -c -P 5 128k 16k", "write -c -P 6 144k 16k"] + snapshots + bitmaps),
    ImageRecipe(
      name: "extended 64k", options: "extended_l2=on", size: "64M", steps: writes + packed + snapshots),
    ImageRecipe(
      name: "2M, 4 bits", options: "cluster_size=2M,refcount_bits=4", size: "64M",
      steps: ["write -P 1 0 12k", "write -P 2 6M 3M", "write -c -P 5 12M 2M"]),
    ImageRecipe(name: "data file", options: "cluster_size=4096,data_file=@.data", size: "1M", steps: writes),
    ImageRecipe(
      name: "raw data file, extended",
      options: "cluster_size=16k,extended_l2=on,data_file=@.data,data_file_raw=on", size: "1M", steps: writes),
  ]
}
