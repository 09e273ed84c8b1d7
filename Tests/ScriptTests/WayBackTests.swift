// Finding the screens and leaving them: what the maps name, the list of screens, help that leaves out no row, closing
// that goes back to where one came from, and what a search says of where it looked.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Foundation
import Qcow
import TestSupport
import Testing

@Suite("The way there and back", .tags(.fast)) struct WayBackTests {
  private static let snapshot = ":snapshot-create one\n:write 6M 64k"

  private func press(_ keys: String, _ explorer: Explorer) throws -> [Effect] {
    var effects: [Effect] = []
    for key in keys.split(separator: " ") {
      effects += explorer.handle(.key(try #require(Key(String(key)))))
      settle(explorer)
    }
    return effects
  }

  // MARK: There

  /// Screens with keys that answer something about the image, with the keys.
  private static let answers = [
    ("i", "ladder"), ("X", "host"), ("S", "snapshots"), ("M", "bitmaps"), ("!", "check"),
    ("F", "fragmentation"),
    ("R", "refcounts"), ("H", "history"), ("V", "salvage"),
  ]

  @Test("the maps name the screens that answer questions, and a click opens them", arguments: [80, 120, 200])
  func answersAreNamed(_ width: Int) throws {
    let explorer = try demoExplorer(width: width, height: width == 80 ? 24 : 40)
    let height = width == 80 ? 24 : 40
    let row = explorer.canvas().rowText(height - 1)
    let words = row.split(separator: " ").map(String.init)
    for (key, screen) in Self.answers {
      let at = try #require(words.firstIndex(of: key), "\(key) in \(row)")
      #expect(words[at + 1].count > 2, "\(row)")
      let column = try #require(row.range(of: key + " " + words[at + 1])).lowerBound
      _ = explorer.handle(
        .mouse(Mouse(x: row.distance(from: row.startIndex, to: column), y: height - 1, kind: .press)))
      #expect(explorer.screen.name == screen)
      #expect(try press("q", explorer) == [] && explorer.screen == .explorer)
    }
    #expect(explorer.canvas().rowText(height - 2).contains("Space screens"))
    // A message has the row for itself, until the next key.
    _ = explorer.performLine("goto nowhere")
    #expect(!explorer.canvas().rowText(height - 1).contains("S snap"))
  }

  @Test("the list of screens has all of them, each with its key and what it answers", arguments: [80, 120])
  func listOfScreens(_ width: Int) throws {
    let explorer = try demoExplorer(width: width, height: width == 80 ? 24 : 40)
    let screens = try #require(Handbook.sections.first { $0.title == "Screens" }?.parts.first?.entries)
    #expect(screens.count == Set(Context.allCases.map(\.name)).count - 3)
    _ = try press("Space", explorer)
    #expect(explorer.isInDialog)
    var rows = explorer.canvas().text()
    for (key, _) in Self.answers {
      #expect(rows.contains(" \(key) ") || rows.contains(" \(key)  "), "\(rows)")
    }
    // Every sentence comes into view whole enough to be known.
    var seen: Set<String> = []
    for _ in screens {
      rows = explorer.canvas().text().split { " \n|".contains($0) }.joined(separator: " ")
      for entry in screens {
        let sentence = entry.meaning.split(separator: ": ").dropFirst().joined(separator: ": ")
        if rows.contains(sentence.split(separator: " ").prefix(5).joined(separator: " ")) {
          seen.insert(entry.term)
        }
      }
      _ = try press("j", explorer)
    }
    #expect(seen.count == screens.count, "\(Set(screens.map(\.term)).subtracting(seen))")
    // Its key opens a screen, and Enter the selected one.
    #expect(try press("R", explorer) == [] && explorer.screen.name == "refcounts" && !explorer.isInDialog)
    _ = try press("q Space Enter", explorer)
    #expect(explorer.screen.name == "ladder")
  }

  @Test("pages of help show every row", arguments: [(80, 24), (120, 40), (60, 15), (200, 60)])
  func pagesOfHelp(_ size: (Int, Int)) throws {
    func rows(_ explorer: Explorer) -> [String] {
      let canvas = explorer.canvas()
      return (2..<canvas.height - 3).map { canvas.rowText($0) }
    }
    let tall = try demoExplorer(width: size.0, height: 1200)
    try ScriptRunner.run("?", on: tall)
    let all = rows(tall)
    let explorer = try demoExplorer(width: size.0, height: size.1)
    try ScriptRunner.run("?", on: explorer)
    var seen: [String] = rows(explorer)
    for _ in 0..<200 {
      let before = rows(explorer)
      try ScriptRunner.run("PgDn", on: explorer)
      let now = rows(explorer)
      if now == before { break }
      // What follows begins with what was last, or behind it.
      let overlap = try #require(
        (0...now.count).reversed().first { now.prefix($0) == before.suffix($0) }, "\(now)")
      #expect(overlap > 0 || before.isEmpty)
      seen += now.dropFirst(overlap)
    }
    let last = try #require(all.lastIndex { !$0.allSatisfy { " |".contains($0) } })
    #expect(Array(seen.prefix(last + 1)) == Array(all.prefix(last + 1)))
    // Back again by rows.
    try ScriptRunner.run("PgUp", on: explorer)
    try ScriptRunner.run("g", on: explorer)
    #expect(rows(explorer).first == all.first)
  }

  @Test("help finds a word of its sentences, and of its usages")
  func wordsInHelp() throws {
    for (width, height) in [(80, 24), (120, 40)] {
      let explorer = try demoExplorer(width: width, height: height)
      try ScriptRunner.run(":help shrink", on: explorer)
      #expect(explorer.screen == .help && !explorer.messageIsError)
      #expect(explorer.canvas().text().contains("shrink"))
      try ScriptRunner.run("q\n?\n/\ntype power cut\nEnter", on: explorer)
      #expect(explorer.canvas().text().contains("power"))
      #expect(throws: (any Error).self) { try ScriptRunner.run(":help gibberish", on: explorer) }
      // A command is found as before.
      try ScriptRunner.run(":help undo", on: explorer)
      #expect(explorer.canvas().text().contains(":undo"))
    }
  }

  @Test("one Tab lists the commands, and says what the selected one does", arguments: [(80, 24), (120, 40)])
  func tabListsCommands(_ size: (Int, Int)) throws {
    let explorer = try demoExplorer(width: size.0, height: size.1)
    try ScriptRunner.run(":\nTab", on: explorer)
    let listed = Set(explorer.canvas().text().split { " \n".contains($0) }.map(String.init))
    #expect(CommandTable.all.filter { listed.contains($0.name) }.count > 40, "\(explorer.canvas().text())")
    try ScriptRunner.run("Tab", on: explorer)
    let name = try #require(explorer.promptText)
    let spec = try #require(CommandTable.all.first { $0.name == name || $0.aliases.contains(name) })
    #expect(explorer.canvas().text().contains(spec.usage))
    try ScriptRunner.run("Esc\nEsc", on: explorer)
    #expect(!explorer.isPrompting)
  }

  // MARK: Back

  @Test(
    "closing goes back to the screen that led to the maps",
    arguments: [("i j", "Enter"), ("X", "x"), ("S", "Enter"), ("!", "Enter")])
  func backToTheScreen(_ opening: String, _ leading: String) throws {
    let explorer = try (opening == "!" ? DemoDamage.leaking : .none).explorer(width: 80, height: 24)
    try ScriptRunner.run(":goto 1M", on: explorer)
    _ = try press(opening, explorer)
    let name = explorer.screen.name
    _ = try press(leading, explorer)
    #expect(explorer.screen == .explorer, "\(opening) leads to \(explorer.screen): \(explorer.message ?? "")")
    let keys = explorer.canvas().rowText(22)
    #expect(keys.contains("q back"), "\(keys)")
    #expect(try press("q", explorer) == [] && explorer.screen.name == name, "\(opening): \(explorer.screen)")
    #expect(try press("q", explorer) == [] && explorer.screen == .explorer)
    #expect(explorer.canvas().rowText(22).contains("q quit"))
  }

  @Test("a state that is looked at is left first, also with unsaved changes", arguments: ["q", "Esc", "b"])
  func statesAreLeft(_ key: String) throws {
    let explorer = try demoExplorer(width: 80, height: 24)
    try ScriptRunner.run(Self.snapshot, on: explorer)
    let now = explorer.session.generation
    _ = try press("S j Enter", explorer)
    #expect(explorer.screen == .explorer && explorer.canvas().rowText(0).contains("[snapshot one]"))
    #expect(try press(key, explorer) == [])
    #expect(explorer.screen.name == "snapshots" && !explorer.canvas().rowText(0).contains("[snapshot one]"))
    #expect(try press("q", explorer) == [] && explorer.screen == .explorer)
    // Typed, there is no screen to go back to: the first key leaves the state.
    try ScriptRunner.run(":look-at generation 0", on: explorer)
    #expect(explorer.canvas().rowText(22).contains("q back"))
    _ = explorer.performLine("undo")
    #expect(
      explorer.messageIsError && explorer.message?.contains("q goes back") == true,
      "\(explorer.message ?? "")")
    if key != "b" {
      #expect(try press(key, explorer) == [] && !explorer.canvas().rowText(0).contains("generation 0]"))
      #expect(explorer.message == "the disk as it is now")
    }
    #expect(explorer.session.generation == now)
  }

  @Test("a crash says what it is, and closing it leads back to its step")
  func crash() throws {
    let explorer = try demoExplorer(width: 120, height: 40)
    let before = explorer.session.generation
    try ScriptRunner.run(":write 6M 64k\ns", on: explorer)
    _ = try press("j j c", explorer)
    #expect(explorer.canvas().rowText(0).contains("[crash behind step 3]"), "\(explorer.canvas().rowText(0))")
    let keys = explorer.canvas().rowText(38)
    #expect(keys.contains("q back to steps"), "\(keys)")
    // Other screens show it too, and are closed first.
    #expect(
      try press("i q", explorer) == [] && explorer.canvas().rowText(0).contains("[crash behind step 3]"))
    #expect(try press("q", explorer) == [] && explorer.screen.name == "steps")
    #expect(!explorer.canvas().rowText(0).contains("crash behind"))
    #expect(explorer.canvas().rowText(0).contains("step 3 of"))
    #expect(try press("q u", explorer) == [] && explorer.session.generation == before)
  }

  @Test("the way back stays short, and the maps as an aim have none")
  func shortWay() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(Self.snapshot, on: explorer)
    for _ in 0..<20 { _ = try press("S j Enter", explorer) }
    var closings = 0
    while try press("q", explorer) == [], closings < 50 { closings += 1 }
    #expect(closings <= 4, "\(closings)")
    for _ in 0..<20 { _ = try press("i X S M F R H", explorer) }
    closings = 0
    while try press("q", explorer) == [], closings < 50 { closings += 1 }
    #expect(closings <= 8, "\(closings)")
    _ = try press("i X", explorer)
    try ScriptRunner.run(":explorer", on: explorer)
    #expect(try press("q", explorer) == [.quit])
    // Escape never leaves the program.
    #expect(try press("Esc Esc Esc", explorer) == [])
  }

  @Test("the cursor stays where a screen led it")
  func cursorStays() throws {
    let explorer = try demoExplorer()
    try ScriptRunner.run(":goto 1M\nt", on: explorer)
    _ = try press("j j j q", explorer)
    #expect(explorer.screen == .explorer && explorer.cursor.guest > 1 << 20)
    #expect(explorer.focus == 1)
    _ = try press("X l q", explorer)
    #expect(explorer.focus == 2 && explorer.cursor.side == .host)
  }

  // MARK: Keys

  @Test("a digit that names a pane is no count of a named key", arguments: ["PgDn", "Down", "C-f", "C-d"])
  func digitAndPage(_ key: String) throws {
    let explorer = try demoExplorer(width: 80, height: 24)
    try ScriptRunner.run(":goto 1M", on: explorer)
    _ = try press("3 \(key)", explorer)
    #expect(explorer.focus == 3)
    let quick = explorer.canvas().text()
    let slow = try demoExplorer(width: 80, height: 24)
    try ScriptRunner.run(":goto 1M\n3", on: slow)
    slow.forgetCount()
    _ = try press(key, slow)
    #expect(slow.canvas().text() == quick)
    // Two digits are a count of every key that counts, and one is of a letter.
    try ScriptRunner.run("1\n:goto 0", on: explorer)
    explorer.forgetCount()
    _ = try press("1 2 Right", explorer)
    #expect(explorer.cursor.guest == 12 << 16)
    _ = try press("2 l", explorer)
    #expect(explorer.focus == 1 && explorer.cursor.guest == 14 << 16)
  }

  // MARK: Searches

  @Test("states are found round the end, and what is not found says where")
  func searches() throws {
    let folder = try ImageFolder(commands: ["write 0 64k", "write -z 1M 64k", "write -P 9 2M 64k"])
    try folder.image(["snapshot", "-c", "one", folder.path])
    try folder.io(["-c", "write -P 7 2M 64k"])
    let explorer = try folder.explorer(.readOnly)
    for (forward, start) in [("n", "3M"), ("N", "0")] {
      _ = try explorer.picture(":search zero\n:goto \(start)\n\(forward)")
      #expect(explorer.cursor.guest == 1 << 20)
      #expect(explorer.message == (forward == "n" ? "round the end" : "round the beginning"))
    }
    _ = try explorer.picture("n")
    #expect(explorer.cursor.guest == 1 << 20 && explorer.message == "there is no other")
    _ = try explorer.picture(":goto host 0")
    for key in ["n", "N"] {
      _ = try explorer.picture(":goto host 0x\(key == "n" ? "50000" : "0")\n:search header\n\(key)")
      #expect(explorer.cursor.host == 0, "\(key)")
    }
    func message(_ script: String) -> String {
      _ = explorer.performLine(script)
      return explorer.message ?? ""
    }
    _ = try explorer.picture(":goto 0")
    #expect(
      message("search x 0909090909").contains(
        "not found on the disk as it is now; the cursor stays. On the host map (2) / searches"))
    #expect(message("search compressed").contains("not found on the disk as it is now; the cursor stays"))
    _ = try explorer.picture("2")
    explorer.forgetCount()
    #expect(message("search x 0909090909").hasPrefix("found at host"))
    #expect(
      message("search x 123456789a").contains("not found in the file; the cursor stays. On the guest map (1)")
    )
    #expect(message("search leaked").contains("not found in the file"))
    _ = try explorer.picture("1\n:look-at snapshot one")
    #expect(message("search x 0707070707").contains("not found on the disk of snapshot one"))
  }

  // MARK: Dialogs

  @Test(
    "a dialog begins at the cursor, and what is typed replaces what it offers", arguments: ["w", "D", "z"])
  func dialogs(_ key: String) throws {
    let folder = try ImageFolder(options: "cluster_size=128k,extended_l2=on", commands: ["write 0 1M"])
    for (width, height) in [(80, 24), (120, 40)] {
      let explorer = try folder.explorer(width: width, height: height)
      func field(_ name: String) throws -> String {
        let text = explorer.canvas().text()
        let row = try #require(text.split(separator: "\n").first { $0.contains("| \(name)  ") }, "\(text)")
        let start = try #require(row.range(of: "| \(name)  ")).upperBound
        return String(row[start...].split(separator: " ").first ?? "")
      }
      for (script, offset, length) in [
        (":goto 12k", "0x3000", "116k"), (":zoom 256k\n:goto 12k", "0x3000", "116k"),
        (":goto 256k", "0x40000", "128k"),
        (":zoom 4k\n:goto 12k", "0x3000", "116k"),
      ] {
        _ = try explorer.picture("\(script)\n\(key)")
        #expect(try field("offset") == offset && field("length") == length, "\(explorer.canvas().text())")
        _ = try explorer.picture("Esc")
      }
      _ = try explorer.picture(":goto 12k\n\(key)\ntype 4k")
      #expect(try field("length") == "4k")
      // Edited where one moves in it first.
      _ = try explorer.picture("S-Tab\nLeft\nBackspace")
      #expect(try field("offset") == "0x300")
      _ = try explorer.picture("Tab\nS-Tab\ntype 8k")
      #expect(try field("offset") == "8k")
      // The box stays where it is, whatever is typed.
      func top() throws -> Int {
        try #require(explorer.canvas().text().split(separator: "\n").firstIndex { $0.contains("| offset  ") })
      }
      let before = try top()
      for typed in ["x", "\u{2b}", "9"] {
        _ = try explorer.picture("type \(typed)")
        #expect(try top() == before)
      }
      // What cannot be done is not offered.
      #expect(explorer.canvas().text().contains("Not possible"))
      #expect(!explorer.canvas().text().contains("do it"))
      _ = try explorer.picture("Esc")
    }
  }

  // MARK: Counts

  @Test("one screen has one count, the one of the check where it is known")
  func counts() throws {
    let explorer = try DemoDamage.damaged.explorer(width: 120, height: 40)
    #expect(explorer.canvas().rowText(0).contains("(scan)"), "\(explorer.canvas().rowText(0))")
    _ = try press("!", explorer)
    let title = explorer.canvas().rowText(0)
    let counts = try #require(
      title.firstMatch(of: /(\d+) errors?, (\d+) leaked clusters?/), "\(title)")
    #expect(!title.contains("(scan)"))
    for (count, word) in [(counts.1, "error"), (counts.2, "leak")] where count != "0" {
      #expect(
        title.matches(of: /(\d+) (error|leak)/).filter { $0.2 == word }.allSatisfy { $0.1 == count },
        "\(title)")
    }
    // Worst first.
    let rows = explorer.canvas().text().split(separator: "\n")
    let first = try #require(rows.firstIndex { $0.contains("severity") })
    #expect(rows[first + 1].contains("ERROR"), "\(rows[first + 1])")
    _ = try press("q", explorer)
    #expect(!explorer.canvas().rowText(0).contains("(scan)"))
  }
}
