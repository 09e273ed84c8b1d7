// How much of each state there is, in one value without memory of its own. Counting, adding and
// naming the state that a cell shows all happen here, so that every map agrees.

/// Counts per state: subclusters on the guest map, clusters on the host map.
package struct StateCounts<State: MapState>: Equatable, Sendable {
  /// Room for the states of either map.
  static var capacity: Int { 17 }
  private var slots = InlineArray<17, UInt64>(repeating: 0)

  package init() {}

  /// The count of one state.
  package subscript(_ state: State) -> UInt64 {
    get { slots[Int(state.rawValue)] }
    set { slots[Int(state.rawValue)] = newValue }
  }

  subscript(raw index: Int) -> UInt64 {
    get { slots[index] }
    set { slots[index] = newValue }
  }

  /// All states together.
  package var total: UInt64 {
    var sum: UInt64 = 0
    for index in 0..<Self.capacity { sum &+= slots[index] }
    return sum
  }

  /// The most important state that is there; nil if there is nothing.
  package var dominant: State? {
    var best: State?
    for state in State.allCases where self[state] > 0 {
      if let found = best, found.importance > state.importance { continue }
      best = state
    }
    return best
  }

  /// A state beside the dominant one that the cell's picture does not tell: any but the empty ones.
  package var hasMinority: Bool {
    guard let dominant else { return false }
    for state in State.allCases where self[state] > 0 && state != dominant && !state.isBackground {
      return true
    }
    return false
  }

  /// Share of places that keep bytes, 0 ... 1; 0 if there is nothing.
  package var fill: Double {
    let total = total
    guard total > 0 else { return 0 }
    var filled: UInt64 = 0
    for state in State.allCases where state.isFilled { filled &+= self[state] }
    return Double(filled) / Double(total)
  }

  package static func += (a: inout Self, b: Self) {
    for index in 0..<capacity { a.slots[index] &+= b.slots[index] }
  }

  package static func == (a: Self, b: Self) -> Bool {
    for index in 0..<capacity where a.slots[index] != b.slots[index] { return false }
    return true
  }
}
