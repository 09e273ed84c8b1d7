// Finding a state by what was typed, on either map.

import Cartography
import CellScreen

/// The names of states as people type them.
enum StateName {
  /// The state that a text means.
  /// - Throws: ``CommandError`` that lists the states if there is none.
  static func state<State: CaseIterable>(
    _ text: String, _ matches: (String, State) -> Bool, name: (State) -> String
  ) throws(CommandError) -> State {
    for state in State.allCases where matches(text, state) { return state }
    let names = State.allCases.map(name).joined(separator: ", ")
    throw CommandError("'\(TextWidth.sanitized(text))' is no address and no state; the states are \(names)")
  }
}
