// Keys, prompt, search and focus of the real program in a terminal.

import Foundation
import TestSupport
import Testing

@Suite("qatlas keys", .serialized, .tags(.terminal), .waits)
struct KeyTests {
  static let cluster: UInt64 = 0x10000

  @Test("every movement key moves in the guest map")
  func guestMap() throws {
    let session = try Program.start()
    // 64 clusters in a row, 16 rows, from cluster 100.
    let moves: [(String, UInt64)] = [
      ("h", 99), ("Left", 99), ("l", 101), ("Right", 101), ("j", 164), ("Down", 164), ("k", 36), ("Up", 36),
      ("C-n", 164), ("C-p", 36), ("g", 0), ("G", 1023), ("0", 64), ("$", 127), ("Home", 64), ("End", 127),
      ("PgDn", 996), ("C-f", 996), ("PgUp", 36), ("C-b", 36), ("C-d", 612), ("C-u", 36),
    ]
    for (key, expected) in moves {
      try session.press(":goto guest 0x640000\r", "back to the start", expect: 0x640000)
      try session.press(bytes(of: key), key, expect: expected * Self.cluster)
    }
  }

  @Test("movement keys move in the host map, the table, the bytes and the lists")
  func otherPlaces() throws {
    let session = try Program.start()
    let host: [(String, UInt64)] = [
      ("h", 4), ("Left", 4), ("l", 6), ("Right", 6), ("g", 0), ("G", 12), ("0", 0), ("$", 12), ("Home", 0),
      ("End", 12),
    ]
    for (key, expected) in host {
      try session.press(":goto host 0x50000\r", "back to the start", label: "host", expect: 0x50000)
      try session.press(bytes(of: key), key, label: "host", expect: expected * Self.cluster)
    }
    // The table: its entry pane names the selected entry.
    session.send(":goto L2 0 17\r")
    try session.waitFor("entry 17 at")
    for (key, back, entry) in [
      ("j", "k", 18), ("Down", "Up", 18), ("C-n", "C-p", 18), ("J", "K", 18), ("G", "K", 1024), ("g", "J", 0),
    ] {
      session.send(":goto L2 0 17\r")
      try session.waitFor("entry 17 at")
      session.send(bytes(of: key))
      try session.waitFor("entry \(entry) at")
      session.send(bytes(of: back))
      try session.waitUntil("\(back) moves") { !$0.text.contains("entry \(entry) at") }
    }
    for key in ["PgDn", "C-f", "C-d"] {
      session.send("g")
      try session.waitFor("entry 0 at")
      session.send(bytes(of: key))
      try session.waitUntil("\(key) in the table") { !$0.text.contains("entry 0 at") }
    }
    // Bytes.
    session.send("q:goto host 0x40000\rp")
    try session.waitFor("host 0x40000")
    for (key, address) in [
      ("l", "0x40001"), ("j", "0x40011"), ("$", "0x4001f"), ("0", "0x40010"), ("k", "0x40000"), ("g", "0x0"),
      ("G", "0xcffff"),
    ] {
      session.send(bytes(of: key))
      try session.waitUntil(key) { $0.text.hasSuffix("host " + address) }
    }
    // The log and help have rows.
    session.send("q4")
    try session.waitFor("+= 4 Log")
    for (key, operation) in [("g", "1"), ("j", "2"), ("G", "6"), ("k", "5"), ("PgUp", "1"), ("PgDn", "6")] {
      session.send(bytes(of: key))
      try session.waitUntil("\(key) to operation \(operation)") { $0.text.contains("|>\(operation) ") }
    }
    session.send("?")
    // The picture comes in parts: until the row is whole, some of what was there before follows its words.
    try session.waitUntil("the first row of help") {
      $0.line(2).trimmingCharacters(in: CharacterSet(charactersIn: "| ")) == "Log: the keys here"
    }
    for (key, back) in [("j", "k"), ("G", "g"), ("PgDn", "PgUp"), ("C-d", "C-u")] {
      let before = session.screen.line(2)
      session.send(bytes(of: key))
      try session.waitUntil("\(key) in help") { $0.line(2) != before }
      session.send(bytes(of: back))
      try session.waitUntil("\(back) in help") { $0.line(2) == before }
    }
  }

  @Test("q closes the innermost thing and quits from the maps; Esc never quits")
  func closing() throws {
    let session = try Program.start()
    let picture = session.screen.text
    session.send("\u{1b}\u{1b}\u{1b}")
    session.pump(seconds: 0.4, quiet: 0.2)
    #expect(session.screen.text == picture)
    session.send(":goto 5")
    try session.waitFor(":goto 5")
    session.send("\u{1b}")
    try session.waitUntil("the prompt is gone") { !$0.text.contains(":goto 5") }
    session.send("w")
    try session.waitFor("What would happen:")
    session.send("\u{1b}")
    try session.waitUntil("the dialog is gone") { !$0.text.contains("What would happen:") }
    session.send("t")
    try session.waitFor("5 L2 table")
    session.send("?")
    try session.waitFor("the keys here")
    session.send("q")
    try session.waitFor("5 L2 table")
    session.send("q")
    try session.waitFor("1 Guest map")
    session.send("q")
    #expect(try session.waitForExit() == 0)
    #expect(session.leftovers == [])
  }

  @Test("Esc alone reacts within 100 ms")
  func escapeDelay() throws {
    let session = try Program.start()
    var best = Double.infinity
    for _ in 1...5 {
      session.send(":")
      try session.waitUntil("the prompt") { $0.line(39).hasPrefix(":") }
      session.settle()
      let before = Date()
      session.send("\u{1b}")
      try session.waitUntil("no prompt") { !$0.line(39).hasPrefix(":") }
      best = min(best, Date().timeIntervalSince(before))
    }
    #expect(best < 0.1)
  }

  @Test(
    "help begins with the place it was called from, and no key it lists is unknown",
    arguments: [
      ("focus 1", "Guest map"), ("focus 2", "Host map"), ("focus 3", "Where is it?"), ("focus 4", "Log"),
      ("l2", "L2 table"), ("hex", "Hex page"),
    ])
  func help(_ way: String, _ title: String) throws {
    // So many rows that all of help is one screen.
    let session = try Program.start(rows: 190)
    // Typed commands: digits one after the other would be a count.
    session.send(":\(way)\r")
    session.settle()
    session.send("?")
    try session.waitFor("\(title): the keys here")
    session.settle()
    #expect(session.screen.line(2).contains("\(title): the keys here"))
    var keys: [String] = []
    for y in 3..<session.screen.height {
      let line = session.screen.line(y)
      guard line.hasPrefix("|   "), !line.hasPrefix("|    ") else { break }
      keys += line.dropFirst(4).prefix(24).split(separator: " ").map(String.init)
    }
    #expect(keys.count > 15, "\(keys)")
    session.send("q")
    session.settle()
    for key in keys where key != "q" {
      session.send(bytes(of: key))
      session.settle()
      #expect(!session.screen.text.contains("is not a key here"), "\(key)")
      // Back to the same place whatever the key opened. A byte right behind Esc would be Alt with it.
      let bottom = session.screen.line(session.screen.height - 1)
      let isOpen =
        bottom.hasPrefix(":") || bottom.hasPrefix("/") || session.screen.text.contains("Esc cancel")
      if isOpen { session.send("\u{1b}") }
      if isOpen || key == "Esc" { session.pump(seconds: 0.25) }
      session.send(":explorer\r:goto 1M\r:\(way)\r")
      session.settle()
    }
    session.send(":help\r/Saving\r")
    try session.waitFor("Saving and leaving")
  }

  @Test("a search finds, goes on and back, and keeps the place when there is nothing")
  func search() throws {
    let session = try Program.start()
    try session.press(":goto 0\r", "start", expect: 0)
    try session.press("/zero\r", "/zero", expect: 0x200000)
    try session.press("n", "n", expect: 0x500000)
    try session.press("N", "N", expect: 0x200000)
    session.send("/compressed\r")
    try session.waitFor("the cursor stays")
    #expect(session.address() == 0x200000)
    session.send("/no such thing\r")
    try session.waitFor("'no such thing' is no address and no state")
    #expect(session.address() == 0x200000)
  }

  @Test("the prompt remembers, completes and edits; the history outlives the program")
  func prompt() throws {
    let state = try TemporaryDirectory()
    let changes: [String: String?] = ["XDG_STATE_HOME": state.path]
    let first = try Program.start(changes: changes)
    try first.press(":goto 0x120000\r", "goto", expect: 0x120000)
    try first.press(":goto 0x340000\r", "goto", expect: 0x340000)
    first.send("q")
    #expect(try first.waitForExit() == 0)
    #expect(FileManager.default.fileExists(atPath: state.path("qatlas/history")))

    let session = try Program.start(changes: changes)
    let bottom = 39
    session.send(":\u{1b}[A")
    try session.waitUntil("the last command") { $0.line(bottom) == ":goto 0x340000" }
    session.send("\u{1b}[A")
    try session.waitUntil("the one before") { $0.line(bottom) == ":goto 0x120000" }
    session.send("\u{1b}[B")
    try session.waitUntil("down again") { $0.line(bottom) == ":goto 0x340000" }
    session.send("\u{15}")
    try session.waitUntil("C-u empties") { $0.line(bottom) == ":" }
    session.send("\u{12}x12")
    try session.waitUntil("C-r searches") { $0.line(bottom).contains("goto 0x120000") }
    session.send("\r")
    try session.waitUntil("found") { $0.text.contains("0x0000000000120000") }
    session.send("\u{1b}")
    session.pump(seconds: 0.3, quiet: 0.1)
    // Completion: once completes, twice lists.
    session.send(":disc\t")
    try session.waitUntil("Tab completes") { $0.line(bottom).hasPrefix(":discard") }
    session.send("\u{15}s\t\t")
    try session.waitUntil("Tab twice lists") { screen in
      (bottom - 4..<bottom).contains { screen.line($0).contains(" save-screen ") }
    }
    session.send("\u{1b}")
    session.pump(seconds: 0.3, quiet: 0.1)
    // C-a, C-e, C-w, C-k.
    session.send("\u{1b}")
    session.pump(seconds: 0.3, quiet: 0.1)
    session.send(":two three\u{1}one \u{5} four")
    try session.waitUntil("C-a and C-e") { $0.line(bottom) == ":one two three four" }
    session.send("\u{17}")
    try session.waitUntil("C-w") { $0.line(bottom) == ":one two three" }
    session.send("\u{1}\u{1b}[C\u{1b}[C\u{1b}[C\u{b}")
    try session.waitUntil("C-k") { $0.line(bottom) == ":one" }
  }

  @Test("the focus moves with Tab and is marked without colour")
  func focus() throws {
    let session = try Program.start(["--ascii", "--color=never"])
    let titles = ["1 Guest map", "2 Host map", "3 Where is it?", "4 Log"]
    func expectFocus(_ index: Int) throws {
      try session.waitUntil("focus on \(titles[index])") { screen in
        titles.indices.allSatisfy { screen.text.contains(($0 == index ? "+= " : "+- ") + titles[$0]) }
      }
    }
    try expectFocus(0)
    for index in [1, 2, 3, 0] {
      session.send("\t")
      try expectFocus(index)
    }
    for index in [3, 2, 1, 0] {
      session.send("\u{1b}[Z")
      try expectFocus(index)
    }
    #expect(session.screen.colourChanges == 0)
  }

  @Test("counts and every form of an address")
  func addresses() throws {
    let session = try Program.start()
    try session.press(":goto 0\r", "start", expect: 0)
    try session.press("20l", "20l", expect: 20 * Self.cluster)
    for (form, address) in [
      ("0x500000", 0x500000), ("5M", 0x500000), ("5242880", 0x500000), ("guest 3M", 0x300000),
      ("65536", 0x10000), ("L2 0 17", 0x110000), ("L1 0", 0), ("512k", 0x80000),
    ] as [(String, UInt64)] {
      session.send(":explorer\r:goto \(form)\r")
      session.settle()
      session.send(":explorer\r")
      try session.press("", ":goto \(form)", expect: address)
    }
    try session.press(":goto host 0xa0000\r", "host", label: "host", expect: 0xa0000)
    try session.press("", "its twin", expect: 0x2800000)
  }

  @Test("an unknown key says so in one line and does not beep")
  func unknownKey() throws {
    let session = try Program.start()
    let lines = (0..<39).map { session.screen.line($0) }
    session.send("Y")
    try session.waitFor("Y is not a key here; ? lists those that are")
    #expect((0..<39).map { session.screen.line($0) } == lines)
    #expect(!session.received.contains(7))
  }
}
