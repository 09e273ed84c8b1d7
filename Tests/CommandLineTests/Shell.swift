// A shell in a test's folder, for what only a shell can do to a program: close its streams, limit its
// resources, and give it names that are no text.

import Foundation
import TestSupport

extension Judge {
  /// Runs a script of bash in the folder, with the path of our program in `$Q`.
  func shell(_ script: String, timeout: Double = 60) throws -> ProcessResult {
    try requireTool("bash")
    return try run(
      "bash", ["-c", script], environment: testEnvironment(["Q": qatlas]), directory: folder.path,
      timeout: timeout)
  }

  /// The name of a file in bytes as bash writes it.
  static func quoted(_ name: [UInt8]) -> String {
    "$'" + name.map { "\\x" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + "'"
  }

  /// The bytes of the backing file name in the header of an image.
  func backingName(_ image: String) throws -> [UInt8] {
    let first = try TestSupport.bytes(ofFile: path(image), at: 0, count: 65536)
    guard first.count >= 20 else { throw TestFailure("\(image) has no header") }
    let start = Int(first[8..<16].reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
    let count = Int(first[16..<20].reduce(UInt32(0)) { $0 << 8 | UInt32($1) })
    return Array(first[start..<min(first.count, start + count)])
  }
}
