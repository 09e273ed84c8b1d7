// Words drawn from one seed, of which two runs give the same.

import TestSupport

struct SeededWords {
  var random: SplitMix64

  mutating func one(_ list: [String]) -> String { list[Int(random.below(UInt64(list.count)))] }

  /// At most `count` of the words, in any order.
  mutating func some(_ count: UInt64, _ list: [String]) -> [String] {
    Array(list.shuffled(using: &random).prefix(Int(random.below(count + 1))))
  }

  mutating func isOne(in count: UInt64) -> Bool { random.below(count) == 0 }
}
