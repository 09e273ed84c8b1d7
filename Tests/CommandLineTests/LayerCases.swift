// Which pairs of features the tests of `commit` and `rebase` take: a few, spread over all of them, or as many as the
// environment asks for.

import TestSupport

enum LayerCases {
  /// Pairs of features of an image that has, or gets, a backing file; one that is there always is none of them.
  static let pairs = ImageFeature.pairs.filter { !$0.contains(.inconsistent) }

  /// Calls `body` for `QATLAS_LAYERS` cases, the first of which `QATLAS_SEED` chooses.
  static func each(
    of pairs: [[ImageFeature]], _ body: (_ pair: [ImageFeature], _ seed: UInt64) throws -> Void
  ) throws {
    let count = Int(try environmentNumber("QATLAS_LAYERS", default: 8))
    let seed = try environmentNumber("QATLAS_SEED", default: 1)
    let step = max(1, pairs.count / max(1, count))
    for number in 0..<count {
      try body(pairs[(Int(seed % 1000) + number * step) % pairs.count], seed &* 10_000 &+ UInt64(number))
    }
  }
}
