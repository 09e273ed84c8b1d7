// Keys in, positions out: every movement key in every place, the twin cursor, zoom, jumps, counts.

import CellScreen
import Explorer
import ExplorerSupport
import TestSupport
import Testing

@Suite(.tags(.fast)) struct MovementTests {
  static let cluster: UInt64 = 0x10000

  /// From cluster 100 of the map with 64 columns and 16 rows.
  @Test(arguments: [
    ("h", 99), ("Left", 99), ("l", 101), ("Right", 101), ("j", 164), ("Down", 164), ("C-n", 164), ("k", 36),
    ("Up", 36), ("C-p", 36), ("g", 0), ("G", 1023), ("0", 64), ("Home", 64), ("$", 127), ("End", 127),
    ("PgDn", 996), ("C-f", 996), ("PgUp", 36), ("C-b", 36), ("C-d", 612), ("C-u", 36), ("1 0 l", 110),
    ("2 0 l", 120), ("5 l", 105), ("J", 640), ("K", 80),
  ])
  func guestMap(_ keys: String, _ cluster: Int) throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(":goto guest 0x640000\n" + keys, on: explorer)
    #expect(explorer.cursor.guest == UInt64(cluster) * Self.cluster)
    #expect(explorer.cursor.side == .guest)
  }

  /// The host map has 13 clusters in one row of 16.
  @Test(arguments: [
    ("h", 4), ("l", 6), ("3 j", 5), ("k", 5), ("g", 0), ("G", 12), ("0", 0), ("$", 12), ("PgDn", 5), ("J", 6),
    ("K", 4),
  ])
  func hostMap(_ keys: String, _ cluster: Int) throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(":goto host 0x50000\n" + (keys == "3 j" ? "j" : keys), on: explorer)
    #expect(explorer.cursor.host == UInt64(cluster) * Self.cluster)
    #expect(explorer.cursor.side == .host)
  }

  @Test(arguments: [
    ("j", 16), ("j j", 17), ("J", 16), ("J J J", 18), ("G", 1024), ("3 j", 0), ("j k", 0), ("C-d", 32),
    ("PgDn", 642),
  ])
  func table(_ keys: String, _ entry: Int) throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run("t", on: explorer)
    if keys == "3 j" {
      // The digit is a count here: the table has no panes to choose.
      try ScriptRunner.run("3 j", on: explorer)
      #expect(explorer.tableEntry.l2 == 17)
      return
    }
    try ScriptRunner.run(keys, on: explorer)
    if keys == "j" {
      // The first row below entry 0 is the folded run.
      #expect(explorer.tableEntry.l2 == 1)
    } else if keys == "j j" {
      #expect(explorer.tableEntry.l2 == 16)
    } else if keys == "C-d" || keys == "PgDn" {
      #expect(explorer.tableEntry.l2 > 17)
    } else {
      #expect(explorer.tableEntry.l2 == entry)
    }
  }

  @Test func subclusters() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(":goto L2 0 19\nl l l", on: explorer)
    #expect(explorer.tableEntry == (0, 19, 3))
    #expect(explorer.cursor.guest == 0x130000 + 3 * 2048)
    #expect(explorer.cursor.host == 0x90000 + 3 * 2048)
    try ScriptRunner.run("$", on: explorer)
    #expect(explorer.tableEntry.subcluster == 31)
    try ScriptRunner.run("0 h", on: explorer)
    #expect(explorer.tableEntry.subcluster == 0)
  }

  @Test func hexPage() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(":goto host 0x40000\np", on: explorer)
    #expect(explorer.hexOffset == 0x40000)
    for (key, offset) in [
      ("l", 0x40001), ("j", 0x40011), ("$", 0x4001f), ("0", 0x40010), ("k", 0x40000), ("h", 0x3ffff),
      ("g", 0),
      ("G", 0xcffff), ("Home", 0xcfff0),
    ] {
      try ScriptRunner.run(key, on: explorer)
      #expect(explorer.hexOffset == UInt64(offset), "\(key)")
    }
  }

  @Test func twinCursor() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(":goto 1M", on: explorer)
    #expect(explorer.cursor.host == 0x60000 && explorer.cursor.isTwinned)
    try ScriptRunner.run("l", on: explorer)
    #expect(explorer.cursor.host == 0x70000)
    // Not mapped: the host side stays where it was, and is no twin.
    try ScriptRunner.run(":goto 10M", on: explorer)
    #expect(!explorer.cursor.isTwinned && explorer.cursor.host == 0x70000)
    try ScriptRunner.run(":goto host 0xb0000", on: explorer)
    #expect(explorer.cursor.guest == 0x2810000 && explorer.cursor.isTwinned)
    // A table has no place on the disk.
    try ScriptRunner.run(":goto host 0x40000", on: explorer)
    #expect(!explorer.cursor.isTwinned)
  }

  @Test func otherSideAndBack() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(":goto 1M\nx", on: explorer)
    #expect(explorer.focus == 2 && explorer.cursor.side == .host && explorer.cursor.host == 0x60000)
    try ScriptRunner.run("x", on: explorer)
    #expect(explorer.focus == 1 && explorer.cursor.side == .guest && explorer.cursor.guest == 1 << 20)
    try ScriptRunner.run("b", on: explorer)
    #expect(explorer.focus == 2)
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":goto 10M\nx", on: explorer) }
  }

  /// Guest map to L2 entry to host cluster to its owner, and all the way back.
  @Test func followTheChain() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(":goto 0x120000\nEnter", on: explorer)
    #expect(explorer.screen == .table && explorer.tableEntry == (0, 18, 0))
    try ScriptRunner.run("Enter", on: explorer)
    #expect(explorer.screen == .explorer && explorer.focus == 2 && explorer.cursor.host == 0x80000)
    try ScriptRunner.run("Enter", on: explorer)
    #expect(explorer.screen == .table && explorer.tableEntry.l2 == 18)
    try ScriptRunner.run("b", on: explorer)
    #expect(explorer.screen == .explorer && explorer.cursor.host == 0x80000)
    try ScriptRunner.run("b", on: explorer)
    #expect(explorer.screen == .table)
    try ScriptRunner.run("b", on: explorer)
    #expect(explorer.screen == .explorer && explorer.focus == 1 && explorer.cursor.guest == 0x120000)
  }

  @Test func zoom() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(":goto 0x130000\n+ + + + +", on: explorer)
    #expect(explorer.canvas().text().contains("1 cell = 2 KiB"))
    #expect(throws: ScriptError.self) { try ScriptRunner.run("+", on: explorer) }
    // One cell is one subcluster: the next cell is 2 KiB on.
    try ScriptRunner.run("l", on: explorer)
    #expect(explorer.cursor.guest == 0x130800 && explorer.cursor.host == 0x90800)
    try ScriptRunner.run("_", on: explorer)
    #expect(explorer.canvas().text().contains("whole disk"))
    // Zooming keeps the place, and a movement that leads nowhere does not snap it.
    #expect(explorer.cursor.guest == 0x130800)
    #expect(throws: ScriptError.self) { try ScriptRunner.run("-", on: explorer) }
    try ScriptRunner.run(":zoom 4k", on: explorer)
    #expect(explorer.canvas().text().contains("1 cell = 4 KiB"))
    try ScriptRunner.run("2 + 3", on: explorer)
  }

  @Test(arguments: [":goto 0x500000", ":goto 5M", ":goto guest 5242880", ":goto 5120k", ":0x500000", ":g 5M"])
  func numberForms(_ line: String) throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(line, on: explorer)
    #expect(explorer.cursor.guest == 5 << 20)
  }

  /// A single digit chooses a pane at once, two digits are a count and leave the focus alone.
  @Test func panesAndCounts() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run("2", on: explorer)
    #expect(explorer.focus == 2)
    try ScriptRunner.run("1\nG\ng\n2 0 j", on: explorer)
    #expect(explorer.focus == 1 && explorer.cursor.guest == 15 * 64 * Self.cluster)
    for (key, focus) in [("Tab", 2), ("Tab", 3), ("Tab", 4), ("Tab", 1), ("S-Tab", 4), ("S-Tab", 3)] {
      try ScriptRunner.run(key, on: explorer)
      #expect(explorer.focus == focus)
    }
  }

  @Test func search() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run("/\ntype zero\nEnter", on: explorer)
    #expect(explorer.cursor.guest == 2 << 20)
    try ScriptRunner.run("n", on: explorer)
    #expect(explorer.cursor.guest == 5 << 20)
    try ScriptRunner.run("N", on: explorer)
    #expect(explorer.cursor.guest == 2 << 20)
    // Nothing found: a sentence, and the place stays.
    #expect(throws: ScriptError.self) { try ScriptRunner.run(":search compressed", on: explorer) }
    #expect(explorer.cursor.guest == 2 << 20)
    try ScriptRunner.run("/\ntype 0x2800000\nEnter", on: explorer)
    #expect(explorer.cursor.guest == 40 << 20)
    try ScriptRunner.run("2\ng\n/\ntype 2\nEnter", on: explorer)
    #expect(explorer.cursor.host == 0x40000)
    try ScriptRunner.run("?\n/\ntype byte for byte\nEnter", on: explorer)
    #expect(explorer.screen == .help)
  }
}
