// What the fuzzer and the tests throw bytes at: four ways into the engine. Each takes any bytes, asks or
// changes all it can within bounds, and throws only what would be wrong whatever the bytes are.

/// An answer that cannot be right.
package struct FuzzFinding: Error, CustomStringConvertible {
  package var description: String

  init(_ description: String) { self.description = description }
}

/// One way into the engine.
package enum FuzzTarget: String, CaseIterable, Sendable {
  /// The bytes are an image: it is opened, described, scanned and checked.
  case open
  /// The bytes are an image: mappings are walked and guest data is read.
  case lookup
  /// The bytes are streams of compressed clusters.
  case compressed
  /// The bytes are a script of requests and the image that it runs on.
  case script

  /// Does it. The work is bounded by the length of the input, whatever it says.
  package func run(_ input: [UInt8]) throws {
    switch self {
    case .open: try runOpen(input)
    case .lookup: try runLookup(input)
    case .compressed: try runCompressed(input)
    case .script: try runScript(input)
    }
  }
}

/// Throws a finding unless something holds.
func require(_ holds: Bool, _ what: @autoclosure () -> String) throws {
  guard holds else { throw FuzzFinding(what()) }
}
