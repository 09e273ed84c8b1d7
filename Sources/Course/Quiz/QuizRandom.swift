// What a question is drawn with. A seed means the same question everywhere and for ever, so the generator is
// written out here and nothing of the system's is used.

/// SplitMix64.
struct QuizRandom: Sendable {
  private var state: UInt64

  init(_ state: UInt64) { self.state = state }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }

  /// A number below `limit`, which is not 0.
  mutating func below(_ limit: UInt64) -> UInt64 { next() % max(1, limit) }

  /// Whether it is one of so many cases.
  mutating func isOne(of cases: UInt64) -> Bool { below(cases) == 0 }

  /// One of a list; nil of an empty one.
  mutating func pick<Item>(_ list: [Item]) -> Item? {
    list.isEmpty ? nil : list[Int(below(UInt64(list.count)))]
  }

  /// The same items in another order.
  mutating func shuffled<Item>(_ list: [Item]) -> [Item] {
    var list = list
    for index in list.indices.reversed() where index > 0 {
      list.swapAt(index, Int(below(UInt64(index + 1))))
    }
    return list
  }
}
