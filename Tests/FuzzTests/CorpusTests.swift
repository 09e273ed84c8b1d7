// Inputs that the fuzzer found, each because it took a new way through the engine or because it once
// broke something. `Tests/Fuzz/run` makes more.

import Foundation
import FuzzTargets
import TestSupport
import Testing

@Suite(.tags(.fast)) struct CorpusTests {
  static func inputs(of target: FuzzTarget) throws -> [URL] {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("Corpus/\(target.rawValue)")
    return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
      .sorted { $0.path < $1.path }
  }

  /// Nothing traps, and nothing is answered that cannot be right.
  @Test(arguments: FuzzTarget.allCases) func everyInput(_ target: FuzzTarget) throws {
    let inputs = try Self.inputs(of: target)
    #expect(inputs.count > 5, "the corpus of \(target) is missing")
    for url in inputs {
      let bytes = try [UInt8](Data(contentsOf: url))
      do { try target.run(bytes) } catch { Issue.record("\(url.path): \(error)") }
    }
  }

  /// The engine's own images go through the same doors, so that the targets reach what they are for.
  @Test(arguments: FuzzTarget.allCases) func everySeed(_ target: FuzzTarget) throws {
    for seed in try target.seeds() {
      do { try target.run(seed.bytes) } catch { Issue.record("\(target) \(seed.name): \(error)") }
    }
  }
}
