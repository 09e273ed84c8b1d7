// How the real program draws: every size, every terminal type, ASCII, without colour, hostile names.

import CellScreen
import Explorer
import Foundation
import TestSupport
import Testing

@Suite("qatlas drawing", .serialized, .tags(.terminal), .waits)
struct DrawingTests {
  @Test("a resize repaints and keeps the cursor on its address")
  func resize() throws {
    let tmux = try Tmux(
      "\(try builtProduct("qatlas")) --ascii", columns: 120, rows: 40)
    try tmux.waitFor("1 Guest map")
    try tmux.type(":goto 0x130000")
    try tmux.press("Enter")
    try tmux.waitFor("0x0000000000130000")
    // The scan must be over, or the first picture is not the last one.
    try tmux.waitUntil("the end of the scan") { try !tmux.capture().contains("scanning") }
    let first = try tmux.settledCapture(of: Program.pane(of: tmux))
    for (columns, rows) in [(60, 15), (80, 24), (200, 60), (120, 40)] {
      try tmux.resize(columns: columns, rows: rows)
      // Every size has a frame to its last column, and the address somewhere.
      try tmux.waitUntil("a frame of \(columns)x\(rows)") {
        let lines = try tmux.capture().split(separator: "\n", omittingEmptySubsequences: false)
        return lines.count >= rows && lines[1].count == columns && lines[1].hasPrefix("+= 1 Guest map")
          && lines[1].hasSuffix("+") && lines.contains { $0.contains("130000") }
      }
    }
    try tmux.waitUntil("the first picture") { try tmux.capture() == first }
  }

  @Test("small windows: one pane, then a message with both sizes, then recovery")
  func small() throws {
    let session = try Program.start(columns: 60, rows: 15)
    #expect(session.screen.text.contains("1 Guest map") && !session.screen.text.contains("2 Host map"))
    session.resize(columns: 40, rows: 12)
    try session.waitUntil("40x12") { $0.line(1).hasPrefix("+= 1 Guest map") && $0.line(1).count == 40 }
    for (columns, rows, words) in [(39, 11, "needed 40x12"), (20, 5, "needed 40x12"), (1, 1, "")] {
      session.resize(columns: columns, rows: rows)
      if words.isEmpty {
        session.settle()
      } else {
        try session.waitUntil("\(columns)x\(rows)") {
          $0.text.contains("\(columns)x\(rows)") && $0.text.contains(words)
        }
      }
      session.resize(columns: 80, rows: 24)
      try session.waitUntil("recovery from \(columns)x\(rows)") {
        $0.line(1).contains("1 Guest map") && $0.line(1).count == 80 && $0.text.contains("3 Where is it?")
      }
    }
    session.send("q")
    #expect(try session.waitForExit() == 0)
  }

  /// The screen that the explorer draws without a terminal.
  private func reference(columns: Int, rows: Int) throws -> [String] {
    let folder = try TemporaryDirectory()
    try "size \(columns)x\(rows)\n:goto 1M\n:save-screen \(folder.path("screen"))\n".write(
      toFile: folder.path("script"), atomically: true, encoding: .utf8)
    let played = try run(try builtProduct("qatlas"), ["--script", folder.path("script")])
    guard played.status == 0 else { throw TestFailure(played.stderr) }
    return try String(contentsOfFile: folder.path("screen"), encoding: .utf8)
      .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  @Test(
    "every terminal type shows the same text",
    arguments: ["vt100", "linux", "screen", "tmux-256color", "xterm-256color", "xterm"])
  func types(_ type: String) throws {
    let session = try Program.start(changes: ["TERM": type])
    try session.press(":goto 1M\r", "goto", expect: 0x100000)
    session.settle()
    let lines = try reference(columns: 120, rows: 40)
    for y in 0..<40 { #expect(session.screen.line(y) == lines[y], "row \(y)") }
    #expect(session.screen.unknown == [])
    session.send("q")
    #expect(try session.waitForExit() == 0)
    #expect(session.leftovers == [])
  }

  @Test("a direct-colour terminal shows the same text, its colours as values")
  func directColour() throws {
    let folder = try TemporaryDirectory()
    // Not every system ships xterm-direct, so the test describes it.
    try """
    xterm-direct|direct colour,
    \tRGB, colors#0x1000000, pairs#0x7FFF,
    \tsetaf=\\E[%?%p1%{8}%<%t3%p1%d%e38:2::%p1%{65536}%/%d:%p1%{256}%/%{255}%&%d:%p1%{255}%&%d%;m,
    \tsetab=\\E[%?%p1%{8}%<%t4%p1%d%e48:2::%p1%{65536}%/%d:%p1%{256}%/%{255}%&%d:%p1%{255}%&%d%;m,
    \tuse=xterm-256color,

    """.write(toFile: folder.path("direct.ti"), atomically: true, encoding: .utf8)
    let compiled = try run("tic", ["-x", "-o", folder.path("terminfo"), folder.path("direct.ti")])
    #expect(compiled.status == 0, "\(compiled.stderr)")
    let session = try Program.start(changes: ["TERM": "xterm-direct", "TERMINFO": folder.path("terminfo")])
    try session.press(":goto 1M\r", "goto", expect: 0x100000)
    session.settle()
    let lines = try reference(columns: 120, rows: 40)
    for y in 0..<40 { #expect(session.screen.line(y) == lines[y], "row \(y)") }
    #expect(session.screen.cells.joined().contains { $0.attributes.background == "86,180,233" })
    #expect(session.screen.unknown == [])
  }

  @Test(
    "LANG=C and --ascii send no byte above 0x7e",
    arguments: [(["LANG": "C"], []), ([:], ["--ascii"])] as [([String: String?], [String])])
  func ascii(_ changes: [String: String?], _ arguments: [String]) throws {
    let session = try Program.start(arguments, changes: changes)
    for keys in ["t", "q", "p", "q", "?", "q", "O", "\u{1b}", "2", "w", "\u{1b}"] {
      session.send(keys)
      session.pump(seconds: 0.5, quiet: 0.05)
    }
    #expect(session.received.allSatisfy { $0 <= 0x7e })
    #expect(session.received.count > 10_000)
  }

  @Test(
    "NO_COLOR and --color=never send no colour, --color=always overrules",
    arguments: [
      ("1", [], false), ("", [], true), (nil, [], true), (nil, ["--color=never"], false),
      (nil, ["--color=auto"], true), ("1", ["--color=always"], true), ("1", ["--color=auto"], false),
    ] as [(String?, [String], Bool)])
  func colour(_ noColor: String?, _ arguments: [String], _ isColoured: Bool) throws {
    let session = try Program.start(arguments, changes: ["NO_COLOR": noColor])
    for keys in ["l", "t", "q", "2", ":write 6M 64k\r", ":nonsense\r"] {
      session.send(keys)
      session.settle()
    }
    #expect((session.screen.colourChanges > 0) == isColoured)
    #expect(session.screen.unknown == [])
    // Without colour the cursor still stands out.
    #expect(session.screen.cells.joined().contains { $0.attributes.reverse })
  }

  @Test("no two states look alike in any lens and glyph set, and marks stand out without colour")
  func states() {
    let guest: [GuestGlyph] = GuestGlyph.allCases
    for set in GlyphSet.allCases {
      // Kind: both maps, with every glyph of a partly filled cell.
      let parts = Set((0...1000).map { Glyphs.part($0, of: 1000, set) })
      let kinds = guest.filter { $0 != .part }.map { Glyphs.guest($0).scalar(set) } + parts
      #expect(Set(kinds).count == guest.count - 1 + parts.count)
      #expect(Set(HostGlyph.allCases.map { Glyphs.host($0).scalar(set) }).count == HostGlyph.allCases.count)
      // Fill: nothing, the parts, everything.
      let fill = Set((0...1000).map { Glyphs.fill($0, of: 1000, set) })
      #expect(fill.count == parts.count + 2)
      // Refcount: 0 to 9 and more.
      #expect(Set((0...10).map { Glyphs.refcount($0) }).count == 11)
    }
    // Order: places and what is none. Layer and age: digits and none, missing, unreadable. Difference: four.
    let places = Set("0123456789abcdefghijklmnopqrstuvwxyz".unicodeScalars)
    #expect(places.isDisjoint(with: ".:?!TSVX_".unicodeScalars) && places.count == 36)
    // A new lens must come with its glyphs here; those of the bytes of clusters are compared in ByteLensTests.
    #expect(
      Lens.allCases.map(\.name) == [
        "kind", "fill", "refcount", "order", "owner", "layer", "age", "difference", "bitmap",
        "looks-like", "compressible", "reclaimable",
      ])
    let theme = Theme(mode: .none)
    for role in Role.allCases where role.isMap {
      let plain = theme.style(for: Cell("#", role: role))
      for marks in [Marks.selected, .twin, .changed] {
        #expect(theme.style(for: Cell("#", role: role, marks: marks)) != plain, "\(role) \(marks.names)")
      }
      // The cursor is reversed on every cell, whatever that looks like, and unlike any cell without it.
      for glyph in ["#", "=", ".", "\u{b7}", "\u{2584}", "0", "z"] as [Unicode.Scalar] {
        let cursor = theme.style(for: Cell(glyph, role: role, marks: .selected))
        #expect(cursor.attributes.contains(.reverse), "\(role) \(glyph)")
        for other in Role.allCases where other.isMap {
          #expect(theme.style(for: Cell(glyph, role: other)) != cursor || other != role)
        }
      }
    }
    #expect(theme.style(.error) != theme.style(.text) && theme.style(.borderFocus) != theme.style(.border))
  }

  @Test("a hostile file name neither reaches the terminal nor shifts a column")
  func names() throws {
    let folder = try TemporaryDirectory()
    for name in ["a\u{1b}[31mred\u{7}.qcow2", "\u{4f60}\u{597d}.qcow2", "e\u{301}e\u{301}\u{301}.qcow2"] {
      let path = folder.path(name)
      let made = try run(try requireTool("qemu-img"), ["create", "-q", "-f", "qcow2", path, "64M"])
      #expect(made.status == 0, "\(made.stderr)")
      let session = try Program.start([path], columns: 120, rows: 40)
      try session.waitUntil("the end of the scan") { $0.line(0).hasSuffix("sound") }
      let title = session.screen.line(0)
      #expect(title.contains("[scratch]") && title.contains("qcow2"))
      // The right edge of the title is where it is for every name.
      #expect(title.hasSuffix("0 ops  sound"))
      #expect(session.screen.cells[0].count == 120 && session.screen.cells[0][118].text == "d")
      #expect(session.screen.cells[1][119].text == "┐")
      #expect(!session.received.contains(7))
      #expect(session.screen.cells[0].allSatisfy { $0.attributes.foreground != "1" })
      #expect(session.screen.unknown == [])
    }
  }

  @Test("the hardware cursor stands on the selected cell or row")
  func hardwareCursor() throws {
    let tmux = try Tmux("\(try builtProduct("qatlas")) --ascii", columns: 120, rows: 40)
    try tmux.waitFor("1 Guest map")
    func at(_ x: Int, _ y: Int, _ what: String) throws {
      try tmux.waitUntil("the cursor at \(x),\(y) \(what)") {
        try tmux.display("#{cursor_x} #{cursor_y} #{cursor_flag}") == "\(x) \(y) 1"
      }
    }
    try at(11, 3, "at the start")
    try tmux.press("j", "l")
    try at(12, 4, "one down and right")
    try tmux.type(":goto L2 0 19")
    try tmux.press("Enter")
    try tmux.waitFor("entry 19 at")
    let row = try #require(
      try tmux.capture().split(separator: "\n", omittingEmptySubsequences: false).firstIndex {
        $0.hasPrefix("|>    19")
      })
    let line = try tmux.capture().split(separator: "\n", omittingEmptySubsequences: false)[row]
    let bitmap = try #require(line.range(of: "####....")).lowerBound
    try at(line.distance(from: line.startIndex, to: bitmap), row, "on the bitmap")
  }
}
