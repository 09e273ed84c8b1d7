// Bytes for compressed writes whose streams have all lengths, the same for the engine and for the tools.

import Foundation
import TestSupport

/// Bytes that shrink to nearly nothing, a fifth, a half, nearly all, or not at all.
package enum MixedBytes {
  /// The longest piece there is of each, 2 MiB.
  package static let sources: [[UInt8]] = [1, 2, 4, 7, 8].enumerated().map { index, bits in
    var random = SplitMix64(seed: UInt64(index))
    return (0..<(2 << 20)).map { _ in UInt8(truncatingIfNeeded: random.next()) >> UInt8(8 - bits) }
  }

  /// The one of them that no compression makes shorter.
  package static let incompressible = 4

  /// Writes them as files for `write -s`.
  package static func write(to folder: String) throws {
    for (index, bytes) in sources.enumerated() {
      try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/mixed\(index)"))
    }
  }
}
