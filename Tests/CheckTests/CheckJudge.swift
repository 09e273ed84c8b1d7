// The genuine tool as the judge of `qatlas check`: both look at one file, and what they print and how they
// end must be the same, but for our notes.

import Foundation
import TestSupport

extension Judge {
  /// What our check says, without its notes and groups.
  func check(_ arguments: [String]) throws -> Printed { Self.neutralCheck(try ours(["check"] + arguments)) }

  func genuineCheck(_ arguments: [String]) throws -> Printed {
    Self.neutralCheck(try genuine("qemu-img", ["check"] + arguments))
  }

  /// Our notes about an image, one by one.
  func notes(_ name: String, _ options: [String] = []) throws -> [String] {
    let result = try run(qatlas, ["check"] + options + [name], directory: folder.path, timeout: 60)
    return result.stderr.split(separator: "\n").filter { $0.hasPrefix("note: ") }.map {
      String($0.dropFirst(6))
    }
  }

  static func neutralCheck(_ printed: Printed) -> Printed {
    var printed = printed
    // The genuine warning lacks the end of its line.
    printed.errors = printed.errors.replacingOccurrences(
      of: "image file to fix.", with: "image file to fix.\n"
    )
    .split(separator: "\n").filter { !$0.hasPrefix("note: ") && !$0.hasPrefix("group: ") }.map { line in
      // Control bytes in names are written as they are by the one and as \x.. by the other.
      line.replacingOccurrences(
        of: #"\\x[0-9a-f]{2}|[\x01-\x09\x0b-\x1f\x7f]"#, with: "", options: .regularExpression)
    }.joined(separator: "\n")
    return printed
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
