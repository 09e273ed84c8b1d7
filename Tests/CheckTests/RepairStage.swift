// Two folders with the same damaged image: the genuine tool repairs the one and ours the other.

import Foundation
import TestSupport

/// Two folders with the file "a".
struct RepairStage {
  private let judge: Judge
  private let tool: String

  init(_ judge: Judge) throws {
    self.judge = judge
    tool = judge.path("qemu-img")
    try FileManager.default.createSymbolicLink(atPath: tool, withDestinationPath: judge.qatlas)
    for name in ["0", "1"] {
      try FileManager.default.createDirectory(atPath: judge.path(name), withIntermediateDirectories: true)
    }
  }

  /// Writes both files; ours may get other bytes.
  func put(_ bytes: [UInt8], ours: [UInt8]? = nil) throws {
    for (name, bytes) in [("0", bytes), ("1", ours ?? bytes)] {
      try Data(bytes).write(to: URL(fileURLWithPath: judge.path(name + "/a")))
    }
  }

  func bytes(_ folder: Int) throws -> [UInt8] {
    let path = judge.path("\(folder)/a")
    let size = try length(folder)
    // A repair may make a sparse file of terabytes.
    guard size <= 1 << 30 else { throw TestFailure("\(path) has \(size) bytes, too many to look at") }
    return [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  /// Bytes of the image, holes counted.
  func length(_ folder: Int) throws -> Int {
    try FileManager.default.attributesOfItem(atPath: judge.path("\(folder)/a"))[.size] as? Int ?? 0
  }

  private func printed(_ tool: String, _ folder: String, _ words: [String]) throws -> Printed {
    let result = try TestSupport.run(tool, words, directory: judge.path(folder), timeout: 60)
    guard result.signal == 0 else { throw TestFailure("\(tool) \(words) died of signal \(result.signal)") }
    return Judge.neutralCheck(
      Printed(
        output: Judge.neutral(result.stdout), errors: Judge.neutral(result.stderr), status: result.status))
  }

  func theirs(_ words: [String]) throws -> Printed { try printed("qemu-img", "0", words) }
  func ours(_ words: [String]) throws -> Printed { try printed(tool, "1", words) }
  /// Under our own name, notes and all.
  func ownNotes(_ words: [String]) throws -> ProcessResult {
    try TestSupport.run(judge.qatlas, words, directory: judge.path("1"), timeout: 60)
  }

  /// The genuine tool on our file.
  func theirsOnOurs(_ words: [String]) throws -> Printed { try printed("qemu-img", "1", words) }

  /// Under our own name.
  func own(_ words: [String]) throws -> Printed { try printed(judge.qatlas, "1", words) }
}
