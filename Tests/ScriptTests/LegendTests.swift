// The letter of a state is told by the listings and drawn by the maps; both say the same.

import Cartography
import CellScreen
import Explorer
import TestSupport
import Testing

@Suite(.tags(.fast)) struct LegendTests {
  @Test("a letter of a listing is the letter on the map")
  func letters() {
    for state in GuestState.allCases {
      #expect(Glyphs.row(state).ascii == Legend.guest(state).letter, "\(state)")
    }
    for state in HostState.allCases {
      #expect(Glyphs.row(state).ascii == Legend.host(state).letter, "\(state)")
    }
  }

  @Test("no two states of a map have one name")
  func names() {
    #expect(Set(GuestState.allCases.map { Legend.guest($0).name }).count == GuestState.allCases.count)
    #expect(Set(HostState.allCases.map { Legend.host($0).name }).count == HostState.allCases.count)
  }
}
