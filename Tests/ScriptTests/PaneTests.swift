// Room on the main screen: what panes take, one enlarged, some hidden, and what fills the rest.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import TestSupport
import Testing

@Suite("Panes", .tags(.fast)) struct PaneTests {
  private static let sizes = [(80, 24), (100, 30), (120, 40), (160, 50), (200, 60)]

  private func rows(_ explorer: Explorer) -> [Substring] {
    explorer.canvas().text().split(separator: "\n", omittingEmptySubsequences: false)
  }

  /// The rows in which a pane's frame begins, by the words of its title.
  private func row(_ title: String, _ explorer: Explorer) -> Int? {
    rows(explorer).firstIndex { $0.contains(title) }
  }

  @Test(arguments: sizes) func oneKeyEnlargesAndGivesBack(_ width: Int, _ height: Int) throws {
    let explorer = try demoExplorer(width: width, height: height)
    try ScriptRunner.run(":goto 1M", on: explorer)
    let before = explorer.canvas().text()
    for (pane, title) in [("1", "1 Guest map"), ("2", "2 Host map"), ("3", "3 Where is it?"), ("4", "4 Log")]
    {
      try ScriptRunner.run("\(pane)\nZ", on: explorer)
      let lines = rows(explorer)
      #expect(lines[1].contains(title), "\(pane)")
      let others = ["1 Guest map", "2 Host map", "3 Where is it?", "4 Log"].filter { $0 != title }
      #expect(others.allSatisfy { row($0, explorer) == nil }, "\(pane)")
      // It ends where hints and messages begin.
      #expect(lines[height - 3].contains("=="))
      #expect(lines[height - 2].contains("Z"))
      // The way back is the same key, or the one that closes.
      try ScriptRunner.run(pane == "2" ? "q" : "Z", on: explorer)
      #expect(row("1 Guest map", explorer) != nil && row("2 Host map", explorer) != nil)
    }
    try ScriptRunner.run("3\n1\n:goto 1M", on: explorer)
    #expect(explorer.canvas().text() == before)
  }

  @Test(arguments: sizes) func hiddenPanesMakeRoom(_ width: Int, _ height: Int) throws {
    let explorer = try demoExplorer(width: width, height: height)
    let wide = try #require(rows(explorer)[1].firstIndex(of: "2"))
    try ScriptRunner.run("2\nP", on: explorer)
    #expect(row("2 Host map", explorer) == nil && explorer.focus == 1)
    #expect(rows(explorer)[1].last == "+" && !rows(explorer)[1][..<wide].contains("2 Host"))
    // One of the maps stays.
    #expect(throws: (any Error).self) { try ScriptRunner.run("P", on: explorer) }
    // The number of a pane brings it back, and Tab leaves out those that are away.
    try ScriptRunner.run("Tab", on: explorer)
    #expect(explorer.focus == 3)
    try ScriptRunner.run("P", on: explorer)
    #expect(row("3 Where is it?", explorer) == nil && explorer.focus == 1)
    // Without the pane of the place the address stands beside the message.
    #expect(explorer.canvas().text().contains("guest 0x"))
    try ScriptRunner.run("2", on: explorer)
    #expect(row("2 Host map", explorer) != nil)
    try ScriptRunner.run(":panes", on: explorer)
    #expect(row("3 Where is it?", explorer) != nil || height < 34)
  }

  @Test func everythingHiddenButOneMap() throws {
    for (width, height) in Self.sizes + [(60, 15), (40, 12)] {
      let explorer = try demoExplorer(width: width, height: height)
      try ScriptRunner.run("4\nP\n3\nP\n2\nP", on: explorer)
      let lines = rows(explorer)
      #expect(lines[1].contains("1 Guest map") && lines[height - 3].first == "+")
      #expect(explorer.canvas().cursor != nil)
    }
  }

  /// The demo's disk needs 16 rows: what is free goes to the words of the log, and then to the sizes.
  @Test func whatIsFreeIsFilled() throws {
    let explorer = try demoExplorer(width: 200, height: 60)
    var text = explorer.canvas().text()
    #expect(text.contains("- Sizes -") && text.contains("virtual size"))
    // Every operation is told in full.
    #expect(text.contains("refcount[4..5] 0 -> 1\n") || text.contains("refcount[4..5] 0 -> 1  "))
    let log = try #require(row("4 Log", explorer))
    let sizes = try #require(row("- Sizes -", explorer))
    #expect(sizes - log >= 16)
    // No row of the screen is outside of a frame.
    #expect(rows(explorer).dropFirst().prefix(57).allSatisfy { "|+".contains($0.first ?? " ") })
    try ScriptRunner.run(":snapshot-create first\n:snapshot-create second\n4\nP", on: explorer)
    text = explorer.canvas().text()
    #expect(text.contains("- Snapshots -") && text.contains("first") && text.contains("second"))
  }

  /// A map of more rows than there are takes all that the log can spare.
  @Test func longMapsTakeTheRoom() throws {
    let explorer = try demoExplorer(width: 120, height: 40)
    let before = try #require(row("3 Where is it?", explorer))
    try ScriptRunner.run(":zoom 2k", on: explorer)
    let after = try #require(row("3 Where is it?", explorer))
    #expect(after > before)
    let log = try #require(row("4 Log", explorer))
    #expect(38 - log <= 8)
  }

  /// Columns come in groups of 16: at most one group and its gap stay empty beside the map.
  @Test(arguments: sizes) func mapsUseTheirColumns(_ width: Int, _ height: Int) throws {
    let explorer = try demoExplorer(width: width, height: height)
    let first = rows(explorer)[3]
    let end = try #require(first.dropFirst().firstIndex(of: "|"))
    let used = first[..<end].lastIndex { $0 != " " && $0 != "|" }
    let free = first.distance(from: try #require(used), to: end)
    #expect(free <= 19, "\(first)")
  }

  @Test func themesAreAskedFor() throws {
    let explorer = try demoExplorer()
    for theme in ThemeName.allCases {
      #expect(explorer.performLine(":theme \(theme.rawValue)").contains(.setTheme(theme)))
      #expect(explorer.message?.contains(theme.help) == true)
    }
    #expect(explorer.performLine(":theme pink").isEmpty && explorer.messageIsError)
  }
}
