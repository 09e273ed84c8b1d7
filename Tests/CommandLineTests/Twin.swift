// The same command through the genuine tool and through ours, on two copies of one image, and what
// both printed in a form that can be compared.

import Foundation
import TestSupport
import Testing

/// What a tool printed, with its own name and the time taken out.
struct Printed: Equatable, CustomStringConvertible {
  var output: String
  var errors: String
  var status: Int32

  var description: String { "exit \(status)\n--- output\n\(output)--- errors\n\(errors)" }
}

/// A folder with a recipe's image in it, and the two tools.
struct Twin {
  let folder: TemporaryDirectory
  let qatlas: String

  init() throws {
    folder = try TemporaryDirectory()
    qatlas = try builtProduct("qatlas")
    try requireTool("qemu-img")
    try requireTool("qemu-io")
  }

  func path(_ name: String) -> String { folder.path(name) }

  func bytes(_ name: String) -> Data? { FileManager.default.contents(atPath: path(name)) }

  /// Runs a genuine tool in the folder; it must succeed.
  @discardableResult
  func must(_ tool: String, _ arguments: [String], stdin: String = "") throws -> String {
    var result = try run(tool, arguments, stdin: Array(stdin.utf8), directory: folder.path, timeout: 120)
    // The tool times its own hashing for LUKS, which fails now and then on a busy machine.
    for _ in 0..<20 where result.stderr.contains("accurate CPU usage") {
      result = try run(tool, arguments, stdin: Array(stdin.utf8), directory: folder.path, timeout: 120)
    }
    guard result.status == 0 else {
      throw TestFailure(
        "\(tool) \(arguments.joined(separator: " ")): exit \(result.status)\n"
          + "\(result.stdout.suffix(2000))\(result.stderr)")
    }
    return result.stdout
  }

  func genuine(_ tool: String, _ arguments: [String], stdin: String = "") throws -> Printed {
    try printed(tool, arguments, stdin)
  }

  func ours(_ arguments: [String], stdin: String = "", _ changes: [String: String?] = [:]) throws -> Printed {
    try printed(qatlas, arguments, stdin, changes)
  }

  private func printed(
    _ tool: String, _ arguments: [String], _ stdin: String, _ changes: [String: String?] = [:]
  ) throws -> Printed {
    let result = try run(
      tool, arguments, stdin: Array(stdin.utf8), environment: testEnvironment(changes),
      directory: folder.path,
      timeout: 120)
    guard result.signal == 0 else {
      throw TestFailure(
        "\(tool) \(arguments.joined(separator: " ")) died of signal \(result.signal)\n\(result.stderr)")
    }
    return Printed(
      output: Self.neutral(result.stdout), errors: Self.neutral(result.stderr), status: result.status)
  }

  /// What ours says besides about a layer that cannot be opened.
  static let remedy = "--allow-missing-backing goes on without it.\n"

  /// Takes out the program's name, its prompt, our way out of a missing layer and everything that is measured with a clock.
  static func neutral(_ text: String) -> String {
    var text = text
    let bytes = Array(text.utf8)
    guard bytes.count > 1 << 16 else { return neutralWords(text) }
    // The lines of a long dump hold nothing of that; what stands between them is taken by itself.
    text = ""
    var (line, plain, isDump) = (0, 0, false)
    func finish(_ end: Int) {
      let part = String(decoding: bytes[plain..<end], as: UTF8.self)
      text += isDump ? part : neutralWords(part)
      plain = end
    }
    while line < bytes.count {
      let end = bytes[line...].withUnsafeBytes { rest in
        rest.baseAddress.flatMap { start in
          memchr(start, 10, rest.count).map { line + start.distance(to: UnsafeRawPointer($0)) + 1 }
        }
      }
      let isDumped = bytes.count > line + 10 && bytes[line + 8] == UInt8(ascii: ":") && bytes[line + 9] == 32
      if isDumped != isDump {
        finish(line)
        isDump = isDumped
      }
      line = end ?? bytes.count
    }
    finish(bytes.count)
    return text
  }

  private static func neutralWords(_ text: String) -> String {
    var text = text
    for name in ["qemu-img: ", "qemu-io: ", "qatlas: "] {
      text = text.replacingOccurrences(of: "(?m)^" + name, with: "TOOL: ", options: .regularExpression)
    }
    text = text.replacingOccurrences(of: "qemu-io> ", with: "")
    text = text.replacingOccurrences(of: remedy, with: "")
    return asOlderJudge(withoutTimes(text))
  }

  /// Takes out what `qemu-io` measures with a clock, in its reports for people and for programs.
  static func withoutTimes(_ text: String) -> String {
    text.replacingOccurrences(
      of: #"ops; [0-9:.]+( sec)? \([0-9.e+]+ ([KMGTPE]i)?(B|bytes)/sec and [0-9.]+ ops/sec\)"#,
      with: "ops; TIMES", options: .regularExpression
    ).replacingOccurrences(
      of: #"(?m)^([0-9]+,1),[0-9:.]+,[0-9.]+,[0-9.]+$"#, with: "$1,TIMES", options: .regularExpression)
  }
}

/// An image made by the genuine tools: options of its creation, then seeded random requests.
struct Recipe: CustomTestStringConvertible {
  var options: String
  var size: String
  var requests = 200
  /// Requests start at multiples of this, most of the time.
  var grain: UInt64 = 65536
  var seed: UInt64

  var testDescription: String { "\(options.isEmpty ? "default" : options), \(size), seed \(seed)" }

  func make(_ twin: Twin, _ name: String) throws {
    let list = options.isEmpty ? [] : ["-o", options]
    try twin.must("qemu-img", ["create", "-q", "-f", "qcow2"] + list + [name, size])
    // The file below the image has a size as well, and comes first.
    let info = try twin.must("qemu-img", ["info", "--output=json", name])
    let bytes = info.matches(of: /"virtual-size": ([0-9]+)/).last.flatMap { UInt64($0.1) } ?? 0
    var random = SplitMix64(seed: seed)
    let commands = (0..<requests).map { _ in Self.request(&random, bytes, grain) }
    try twin.must(
      "qemu-io", ["-f", "qcow2", "-t", "writeback", name], stdin: commands.joined(separator: "\n") + "\n")
  }

  /// One random request that lies on the disk.
  static func request(_ random: inout SplitMix64, _ size: UInt64, _ grain: UInt64) -> String {
    var offset = random.below(max(1, size / grain)) * grain
    var count = (1 + random.below(6)) * grain
    if random.below(4) == 0 {
      offset += random.below(grain)
      count = 1 + random.below(2 * grain)
    }
    offset = min(offset, size - 1)
    count = min(count, size - offset)
    switch random.below(10) {
    case 0...5: return "write -P \(random.below(256)) \(offset) \(count)"
    case 6: return "write -z \(offset) \(count)"
    case 7: return "write -z -u \(offset) \(count)"
    default: return "discard \(offset) \(count)"
    }
  }

  static let all: [Recipe] = [
    Recipe(options: "", size: "64M", seed: 1),
    Recipe(options: "", size: "1000", requests: 5, grain: 512, seed: 2),
    Recipe(options: "compat=0.10", size: "64M", seed: 3),
    Recipe(options: "cluster_size=512", size: "1M", grain: 512, seed: 4),
    Recipe(options: "cluster_size=512,refcount_bits=1", size: "3M", grain: 1024, seed: 5),
    Recipe(options: "cluster_size=2M", size: "1G", requests: 60, grain: 1 << 20, seed: 6),
    Recipe(options: "extended_l2=on", size: "64M", grain: 2048, seed: 7),
    Recipe(options: "extended_l2=on,cluster_size=16k", size: "16M", grain: 512, seed: 8),
    Recipe(options: "refcount_bits=1", size: "64M", seed: 9),
    Recipe(options: "refcount_bits=64,cluster_size=4k", size: "16M", grain: 4096, seed: 10),
    Recipe(options: "preallocation=metadata", size: "64M", seed: 11),
    Recipe(options: "preallocation=metadata,extended_l2=on", size: "64M", grain: 4096, seed: 12),
    Recipe(
      options: "preallocation=metadata,cluster_size=512", size: "1M", requests: 40, grain: 4096, seed: 13),
    Recipe(options: "preallocation=metadata", size: "1T", requests: 3, seed: 14),
    Recipe(options: "lazy_refcounts=on", size: "100000001", seed: 15),
    Recipe(options: "", size: "0", requests: 0, seed: 16),
    Recipe(options: "cluster_size=64k", size: "1G", requests: 10_000, grain: 65536, seed: 17),
  ]
}
