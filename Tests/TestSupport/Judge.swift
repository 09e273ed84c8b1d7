// Our program beside the genuine tools, in one folder: the same line through both, and what they printed in
// a form that can be compared.

import Foundation

/// What a tool printed, with its own name and the time taken out.
package struct Printed: Equatable, CustomStringConvertible {
  package var output: String
  package var errors: String
  package var status: Int32

  package init(output: String, errors: String, status: Int32) {
    self.output = output
    self.errors = errors
    self.status = status
  }

  package var description: String { "exit \(status)\n--- output\n\(output)--- errors\n\(errors)" }
}

/// A folder with images, the genuine tools, which judge, and our program.
package struct Judge {
  package let folder: TemporaryDirectory
  /// The path of our program.
  package let qatlas: String

  /// Throws the package to install if a tool is missing. `inMemory` as with ``TemporaryDirectory``.
  package init(inMemory: Bool = false) throws {
    folder = try TemporaryDirectory(inMemory: inMemory)
    qatlas = try builtProduct("qatlas")
    try requireTool("qemu-img")
    try requireTool("qemu-io")
  }

  /// The path of a file in the folder.
  package func path(_ name: String) -> String { folder.path(name) }

  /// A file of the folder; nil if it is not there.
  package func bytes(_ name: String) -> Data? { FileManager.default.contents(atPath: path(name)) }

  /// Runs a genuine tool in the folder; it must succeed.
  @discardableResult
  package func must(_ tool: String, _ arguments: [String], stdin: String = "") throws -> String {
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

  /// What a genuine tool makes of a line, in the folder.
  package func genuine(_ tool: String, _ arguments: [String], stdin: String = "") throws -> Printed {
    try printed(tool, arguments, stdin)
  }

  /// What our program makes of a line, in the folder; `changes` are those of its environment.
  package func ours(_ arguments: [String], stdin: String = "", _ changes: [String: String?] = [:]) throws
    -> Printed
  {
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
  private static let remedy = "--allow-missing-backing goes on without it.\n"

  /// Takes out the program's name, its prompt, our way out of a missing layer and everything that is measured with a clock.
  package static func neutral(_ text: String) -> String {
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

  /// Takes out what the genuine tools measure with a clock, in their reports for people and for programs.
  package static func withoutTimes(_ text: String) -> String {
    text.replacingOccurrences(
      of: #"ops; [0-9:.]+( sec)? \([0-9.e+]+ ([KMGTPE]i)?(B|bytes)/sec and [0-9.]+ ops/sec\)"#,
      with: "ops; TIMES", options: .regularExpression
    ).replacingOccurrences(
      of: #"(?m)^([0-9]+,1),[0-9:.]+,[0-9.]+,[0-9.]+$"#, with: "$1,TIMES", options: .regularExpression
    ).replacingOccurrences(
      of: #"(?m)^Run completed in [0-9.]+ seconds"#, with: "Run completed in TIME seconds",
      options: .regularExpression)
  }
}
