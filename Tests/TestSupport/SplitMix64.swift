// Random numbers that are the same in every run for a seed, so that a failure can be repeated.
// Tests print their seed when they fail.

/// The SplitMix64 generator.
package struct SplitMix64: RandomNumberGenerator {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  /// A number below `limit`; 0 if the limit is 0.
  package mutating func below(_ limit: UInt64) -> UInt64 {
    limit == 0 ? 0 : UInt64.random(in: 0..<limit, using: &self)
  }
}

/// Bytes without a pattern.
package func randomBytes(_ count: Int, _ random: inout SplitMix64) -> [UInt8] {
  var words = [UInt64](repeating: 0, count: (count + 7) / 8)
  for i in words.indices { words[i] = random.next() }
  return words.withUnsafeBytes { Array($0.prefix(count)) }
}
