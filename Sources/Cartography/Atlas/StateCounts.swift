// How much of each state there is, in one value without memory of its own. Counting, adding and
// naming the state that a cell shows all happen here, so that every map agrees.

/// Counts per state: subclusters on the guest map, clusters on the host map.
package struct StateCounts<State: MapState>: Equatable, Sendable {
  /// Room for the states and marks of either map.
  static var capacity: Int { 23 }
  private var slots = InlineArray<23, UInt64>(repeating: 0)

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

  /// All states together; marks are no places of their own.
  package var total: UInt64 {
    var sum: UInt64 = 0
    for index in 0..<State.stateCount { sum &+= slots[index] }
    return sum
  }

  /// The state that a cell shows; nil if there is nothing.
  package var dominant: State? { State.leading(self) }

  /// Something beside the dominant state that the cell's picture does not tell: any but the empty states.
  package var hasMinority: Bool { State.hasMinority(self) }

  /// Share of places that keep bytes, 0 ... 1; 0 if there is nothing.
  package var fill: Double {
    let total = total
    guard total > 0 else { return 0 }
    var filled: UInt64 = 0
    for state in State.allCases where state.isFilled { filled &+= self[state] }
    return Double(filled) / Double(total)
  }

  /// The states that are there, and nothing is marked.
  var isOneState: Bool {
    var found = 0
    for index in 0..<Self.capacity where slots[index] > 0 { found += 1 }
    return found == 1
  }

  /// Adds all counts and marks of the other.
  package static func += (a: inout Self, b: Self) {
    for index in 0..<capacity { a.slots[index] &+= b.slots[index] }
  }

  package static func == (a: Self, b: Self) -> Bool {
    for index in 0..<capacity where a.slots[index] != b.slots[index] { return false }
    return true
  }
}

extension StateCounts where State == HostState {
  /// The count of a mark.
  package subscript(mark mark: HostMark) -> UInt64 {
    get { self[raw: HostState.stateCount + Int(mark.rawValue)] }
    set { self[raw: HostState.stateCount + Int(mark.rawValue)] = newValue }
  }
}
