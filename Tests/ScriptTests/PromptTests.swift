// The prompt, completion, help and the mouse: what they list is what works.

import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import TestSupport
import Testing

@Suite(.tags(.fast)) struct PromptTests {
  @Test func historyOfThisAndTheLastSession() throws {
    let files = MemoryFiles()
    let explorer = try demoExplorer(files: files, history: ["goto 1M"])
    try ScriptRunner.run(": \nUp Enter", on: explorer)
    #expect(explorer.cursor.guest == 1 << 20)
    try ScriptRunner.run(":\ntype goto 2M\nEnter\n:\nUp Up", on: explorer)
    #expect(explorer.promptText == "goto 1M")
    try ScriptRunner.run("Down", on: explorer)
    #expect(explorer.promptText == "goto 2M")
    try ScriptRunner.run("Esc", on: explorer)
    #expect(!explorer.isPrompting && files.remembered == ["goto 1M", "goto 2M"])
  }

  @Test(arguments: [
    ("got", "goto"), ("goto ho", "goto host"), ("write -", "write -"), ("lens ref", "lens refcount"),
    ("w dis", "w disk.qcow2"), ("help sav", "help save-screen"), ("zoom f", "zoom fit"),
    ("save-", "save-screen"),
  ])
  func completion(_ typed: String, _ completed: String) throws {
    let files = MemoryFiles()
    files.listing = ["disk.qcow2"]
    let explorer = try demoExplorer(files: files)
    try ScriptRunner.run(":\ntype \(typed)\nTab", on: explorer)
    let text = try #require(explorer.promptText)
    #expect(text.split(separator: " ").joined(separator: " ") == completed)
  }

  /// Lines may end as other systems end them.
  @Test func linesOfOtherSystems() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(":goto 1M\r\n# a remark\r\n:goto 2M\r\n", on: explorer)
    #expect(explorer.cursor.guest == 2 << 20)
  }

  /// Two Tabs list what an ambiguous beginning may become.
  @Test func candidates() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(":\ntype next-\nTab Tab", on: explorer)
    let text = explorer.canvas().text()
    #expect(text.contains("next-pane") && text.contains("next-table") && text.contains("next-used"))
  }

  /// Every key of the table is in the help of its context, and none of them is unknown there.
  @Test(arguments: Context.allCases) func helpListsWhatWorks(_ context: Context) throws {
    let requests = FileManager.default.temporaryDirectory.appendingPathComponent(
      "requests-\(UUID().uuidString)")
    try Data("discard 1000 4k\n".utf8).write(to: requests)
    defer { try? FileManager.default.removeItem(at: requests) }
    let open: [Context: String] = [
      .guestMap: "1", .hostMap: "2", .whereIsIt: "3", .log: "4", .table: "t", .hex: "p", .fragmentation: "F",
      .lab: ":lab reorder", .help: "?", .snapshots: "S", .ladder: "i",
      .bitmaps: "M", .host: "X", .refcounts: "R", .steps: ":write 6M 4k\ns", .three: ":write 6M 4k\nE",
      .history: "H", .check: "!",
      .salvage: "V", .discards: ":discards \(requests.path)", .lessons: "L", .live: "U",
      .fleet: ":fleet",
    ]
    let opening = try #require(open[context])
    var keys: Set<Key> = []
    for spec in CommandTable.all { keys.formUnion(KeyMap.standard.keys(for: spec.id, in: context)) }
    #expect(keys.count > 15)
    for key in keys {
      let explorer = try demoExplorer(width: 120, height: 200)
      try ScriptRunner.run(opening, on: explorer)
      #expect(explorer.context == context)
      _ = explorer.handle(.key(key))
      #expect(explorer.message?.contains("is not a key here") != true, "\(key.notation) in \(context)")
    }
    let explorer = try demoExplorer(width: 120, height: 200)
    try ScriptRunner.run(opening + "\n?", on: explorer)
    let lines = explorer.canvas().text().split(separator: "\n").map(String.init)
    let end = lines.firstIndex { $0.contains("A number typed without") } ?? 0
    let listed = Set(lines.prefix(end).flatMap { $0.split(separator: " ").map(String.init) })
    for key in keys { #expect(listed.contains(key.notation), "\(key.notation) in \(context)") }
  }

  @Test func unknownKeysChangeNothing() throws {
    let explorer = try demoExplorer()
    let before = explorer.cursor
    for key in ["~", "F5", "M-x", "C-t", "Ins", "Q"] {
      _ = explorer.handle(.key(try #require(Key(key))))
      #expect(explorer.messageIsError && explorer.message?.contains(key) == true)
    }
    #expect(explorer.cursor == before)
  }

  @Test func escapeNeverLeaves() throws {
    let explorer = try demoExplorer()
    let before = explorer.canvas()
    #expect(explorer.handle(.key(.escape)).isEmpty)
    #expect(explorer.canvas() == before)
    for opening in [":", "/", "w", "O"] {
      try ScriptRunner.run(opening, on: explorer)
      #expect(explorer.isPrompting || explorer.isInDialog)
      try ScriptRunner.run("Esc", on: explorer)
      #expect(!explorer.isPrompting && !explorer.isInDialog)
    }
  }

  /// `q` closes one thing after the other.
  @Test func closing() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run("t\n?", on: explorer)
    #expect(explorer.handle(.key(.character("q"))).isEmpty && explorer.screen == .table)
    #expect(explorer.handle(.key(.character("q"))).isEmpty && explorer.screen == .explorer)
    #expect(explorer.handle(.key(.character("q"))) == [.quit])
  }

  @Test func mouse() throws {
    let explorer = try demoExplorer()
    let canvas = explorer.canvas()
    // The cell of 1 MiB: row 0, column 16 of the map, behind address and gap.
    let x = 1 + 3 + 7 + 16 + 1
    _ = explorer.handle(.mouse(Mouse(x: x, y: 3, kind: .press)))
    #expect(explorer.cursor.guest == 1 << 20)
    _ = explorer.handle(.mouse(Mouse(x: x, y: 3, kind: .doubleClick)))
    #expect(explorer.screen == .table && explorer.tableEntry.l2 == 16)
    _ = explorer.handle(.key(.character("q")))
    _ = explorer.handle(.mouse(Mouse(x: x, y: 5, button: .none, kind: .wheelDown)))
    #expect(explorer.cursor.guest == (1 << 20) + 3 * 64 * 65536)
    // A click on the hint of `?` opens help.
    let hints = canvas.rowText(38)
    let column = try #require(hints.range(of: "? help")).lowerBound
    _ = explorer.handle(
      .mouse(Mouse(x: hints.distance(from: hints.startIndex, to: column), y: 38, kind: .press)))
    #expect(explorer.screen == .help)
  }

  @Test func saveScreen() throws {
    let files = MemoryFiles()
    let explorer = try demoExplorer(files: files)
    try ScriptRunner.run("size 80x24\n:save-screen out.txt", on: explorer)
    #expect(files.texts["out.txt"] == explorer.canvas().text() + "\n")
  }

  @Test func pasteOnlyIntoPrompts() throws {
    let explorer = try demoExplorer()
    _ = explorer.handle(.paste("qqq"))
    #expect(explorer.screen == .explorer)
    try ScriptRunner.run(":", on: explorer)
    _ = explorer.handle(.paste("goto 1M"))
    #expect(explorer.promptText == "goto 1M")
  }

  /// No two commands share a name or a key in one context.
  @Test func tableHasNoDoubles() {
    var names: Set<String> = []
    for spec in CommandTable.all {
      for name in [spec.name] + spec.aliases { #expect(names.insert(name).inserted, "\(name)") }
      #expect(!spec.help.isEmpty)
    }
    #expect(Set(CommandTable.all.map(\.id)).count == CommandTable.all.count)
    for context in Context.allCases {
      var keys: Set<Key> = []
      for spec in CommandTable.all {
        for key in KeyMap.standard.keys(for: spec.id, in: context) {
          #expect(keys.insert(key).inserted, "\(key.notation) in \(context)")
        }
      }
    }
  }
}
