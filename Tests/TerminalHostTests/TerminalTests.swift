// What the terminal must survive and how little it may write, shown on a probe program in a pty.
// The functions take any program, so that the same promises can be asked of the real one.

import Foundation
import TestSupport
import Testing

/// A program under test, with the text that says it is ready.
struct Subject {
  let path: String
  var arguments: [String] = []
  var ready = "ready"

  func start(
    columns: Int = 80, rows: Int = 24, changes: [String: String?] = [:], more: [String] = [],
    stdin: Int32 = -1
  ) throws -> PtySession {
    let session = try PtySession(
      path, arguments + more, columns: columns, rows: rows, environment: testEnvironment(changes),
      stdin: stdin)
    try session.waitFor(ready)
    session.settle()
    return session
  }

  static func probe() throws -> Subject { Subject(path: try builtProduct("terminal-probe")) }
}

@Suite("Terminal", .serialized, .tags(.terminal), .waits)
struct TerminalTests {
  /// A way to die and the exit status that a shell shows for it.
  struct Death: CustomTestStringConvertible {
    var name: String
    var key = ""
    var signal: Int32 = 0
    var status: Int32
    var testDescription: String { name }
  }

  static let deaths = [
    Death(name: "SIGTERM", signal: SIGTERM, status: 143),
    Death(name: "SIGHUP", signal: SIGHUP, status: 129),
    Death(name: "SIGINT", signal: SIGINT, status: 130),
    Death(name: "SIGQUIT", signal: SIGQUIT, status: 131),
    Death(name: "SIGSEGV sent", signal: SIGSEGV, status: 139),
    Death(name: "SIGABRT sent", signal: SIGABRT, status: 134),
    Death(name: "SIGBUS sent", signal: SIGBUS, status: 135),
    Death(name: "SIGFPE sent", signal: SIGFPE, status: 136),
    Death(name: "SIGTRAP sent", signal: SIGTRAP, status: 133),
    Death(name: "Swift trap", key: "t", status: 132),
    Death(name: "abort", key: "a", status: 134),
    Death(name: "SIGSEGV raised", key: "s", status: 139),
    Death(name: "stack overflow", key: "O", status: 139),
    Death(name: "ordinary end", key: "q", status: 0),
  ]

  @Test("restores the terminal and shows why it ended", arguments: deaths)
  func restores(_ death: Death) throws {
    let session = try Subject.probe().start()
    #expect(session.screen.isAlternate && session.screen.reportsMouse && session.screen.hasBracketedPaste)
    #expect(session.settings != session.initialSettings)
    if death.signal != 0 { session.signal(death.signal) } else { session.send(death.key) }
    #expect(try session.waitForExit() == death.status)
    #expect(session.leftovers == [])
  }

  @Test("a trap's message is printed after the screen is restored")
  func trapMessage() throws {
    let session = try Subject.probe().start()
    session.send("t")
    #expect(try session.waitForExit() == 132)
    // The last part is what came after the alternate screen was left.
    let parts = String(decoding: session.received, as: UTF8.self).components(separatedBy: "\u{1b}[?1049l")
    #expect(parts.count == 2 && parts.last?.contains("Index out of range") == true)
  }

  @Test("the backtracer does not hold the terminal")
  func backtracer() throws {
    let session = try Subject.probe().start(changes: ["SWIFT_BACKTRACE": "enable=yes,interactive=no,color=no"]
    )
    session.send("t")
    #expect(try session.waitForExit(timeout: 60) == 132)
    #expect(!session.screen.isAlternate && session.screen.cursorIsVisible)
    #expect(session.settings == session.initialSettings)
  }

  @Test("what libraries print is kept for after the end")
  func capturedStandardError() throws {
    let session = try Subject.probe().start()
    session.send("e")
    session.settle()
    #expect(!session.screen.text.contains("complains"))
    session.send("q")
    #expect(try session.waitForExit() == 0)
    #expect(session.screen.text.contains("a library complains"))
  }

  @Test("a second request to end is obeyed even if nobody reads the first")
  func impatientEnd() throws {
    let session = try Subject.probe().start()
    // Stopped, it can read neither; both are pending when it continues.
    session.signal(SIGSTOP)
    try session.waitUntilStopped()
    session.signal(SIGTERM)
    session.signal(SIGINT)
    session.signal(SIGCONT)
    let status = try session.waitForExit()
    #expect(status == 130 || status == 143)
    #expect(session.leftovers == [])
  }

  @Test("Esc alone reacts within 100 ms")
  func escapeDelay() throws {
    let session = try Subject.probe().start()
    var best = Double.infinity
    for round in 1...3 {
      let before = Date()
      session.send("\u{1b}")
      try session.waitUntil("Esc \(round)") { $0.text.components(separatedBy: "key Esc").count > round }
      best = min(best, Date().timeIntervalSince(before))
    }
    #expect(best < 0.1)
  }

  @Test("a cursor move is cheap and never clears", arguments: [(80, 24), (120, 40), (200, 60)])
  func cursorMove(_ columns: Int, _ rows: Int) throws {
    let session = try Subject.probe().start(columns: columns, rows: rows)
    let clears = session.screen.clears
    for key in ["\u{1b}[C", "\u{1b}[B", "\u{1b}OD", "\u{1b}OA"] {
      let before = session.byteCount
      session.send(key)
      session.settle()
      let cost = session.byteCount - before
      #expect(cost > 0 && cost <= 400)
    }
    #expect(session.screen.clears == clears)
  }

  @Test("an idle second writes nothing and uses no time")
  func idle() throws {
    let session = try Subject.probe().start()
    let before = session.byteCount
    let time = session.cpuTime
    session.pump(seconds: 1.2)
    #expect(session.byteCount == before)
    #expect(session.cpuTime - time <= 20)
  }

  @Test("no resize is lost")
  func resizes() throws {
    let session = try Subject.probe().start()
    let sizes = [(60, 15), (120, 40), (200, 60), (39, 11), (81, 25), (80, 24)]
    for round in 0..<20 {
      let (columns, rows) = sizes[round % sizes.count]
      session.resize(columns: columns, rows: rows)
      try session.waitUntil("size \(columns)x\(rows)") {
        $0.line(0).contains("\(columns)x\(rows)") && $0.line(rows - 1).contains("ready")
          && $0.line(rows - 7).hasSuffix("╛")
      }
    }
    // A burst: only the last size has to be shown.
    for (columns, rows) in sizes { session.resize(columns: columns, rows: rows) }
    try session.waitUntil("the last size") { $0.line(0).contains("80x24") && $0.line(23).contains("ready") }
    session.send("q")
    #expect(try session.waitForExit() == 0)
    #expect(session.leftovers == [])
  }

  @Test("a change of size and back repaints what the window cut off")
  func sizeAndBack() throws {
    let session = try Subject.probe().start()
    for round in 1...10 {
      session.resize(columns: 40, rows: 10)
      session.resize(columns: 80, rows: 24)
      session.send("\u{1b}[C")
      try session.waitUntil("the whole frame") {
        $0.line(0).hasSuffix("╕") && $0.line(0).count == 80 && $0.line(17).hasSuffix("╛")
          && $0.line(23).contains("cursor \(3 + round),3 ready")
      }
    }
  }

  @Test("tiny windows", arguments: [(20, 5), (2, 2), (1, 1)])
  func tiny(_ columns: Int, _ rows: Int) throws {
    let session = try Subject.probe().start()
    session.resize(columns: columns, rows: rows)
    session.settle()
    session.resize(columns: 80, rows: 24)
    try session.waitUntil("recovery") { $0.line(0).contains("80x24") && $0.line(23).contains("ready") }
    session.send("q")
    #expect(try session.waitForExit() == 0)
  }

  @Test("a vanished terminal ends the program without a spin")
  func hangup() throws {
    let session = try Subject.probe().start()
    let time = session.cpuTime
    session.hangUp()
    #expect([129, 3].contains(try session.waitForExit()))
    #expect(session.cpuTime <= time + 100)
  }

  @Test("a vanished terminal is reported once when SIGHUP is ignored")
  func hangupWithoutSignal() throws {
    let probe = try builtProduct("terminal-probe")
    let session = try PtySession("bash", ["-c", "trap '' HUP; exec \"$0\"", probe])
    try session.waitFor("ready")
    session.hangUp()
    let start = Date()
    #expect(try session.waitForExit() == 3)
    #expect(Date().timeIntervalSince(start) > 0.2)
  }

  @Test("keys come from the terminal when stdin is a pipe")
  func pipedInput() throws {
    let pipe = Pipe()
    let session = try Subject.probe().start(stdin: pipe.fileHandleForReading.fileDescriptor)
    session.send("x")
    try session.waitFor("key x")
    session.send("q")
    #expect(try session.waitForExit() == 0)
    #expect(session.leftovers == [])
  }

  @Test("a pipe as stdout is refused in one line without escapes")
  func pipedOutput() throws {
    let result = try run(try builtProduct("terminal-probe"))
    #expect(result.status == 2)
    #expect(result.output == [])
    #expect(
      result.stderr
        == "terminal-probe: standard output is not a terminal; the text commands work everywhere: "
        + "qatlas info IMAGE, qatlas map IMAGE, qatlas l2 IMAGE, qatlas layout IMAGE\n")
  }

  @Test("useless terminal types are refused", arguments: ["dumb", "unknown", "", "no-such-terminal"])
  func refusals(_ type: String) throws {
    let session = try PtySession(
      try builtProduct("terminal-probe"), columns: 400, environment: testEnvironment(["TERM": type]))
    #expect(try session.waitForExit() == 2)
    #expect(session.screen.text.contains("qatlas map IMAGE"))
    #expect(!session.received.contains(0x1b))
    #expect(session.settings == session.initialSettings)
  }

  @Test(
    "NO_COLOR and --color",
    arguments: [
      ("1", [], false), ("", [], true), (nil, [], true), (nil, ["--color=never"], false),
      ("1", ["--color=always"], true),
    ] as [(String?, [String], Bool)])
  func colour(_ noColor: String?, _ arguments: [String], _ coloured: Bool) throws {
    let session = try Subject.probe().start(changes: ["NO_COLOR": noColor], more: arguments)
    session.send("\u{1b}[C")
    session.settle()
    #expect((session.screen.colourChanges > 0) == coloured)
    #expect(session.screen.unknown == [])
  }

  @Test(
    "ASCII where Unicode cannot be shown",
    arguments: [
      (["LANG": "C"], []), ([:], ["--ascii"]), (["TERM": "linux"], []), (["TERM": "vt100"], []),
      (["LANG": "C"], ["--color=never"]),
    ] as [([String: String?], [String])])
  func ascii(_ changes: [String: String?], _ arguments: [String]) throws {
    let session = try Subject.probe().start(changes: changes, more: arguments)
    #expect(session.received.allSatisfy { $0 <= 0x7e })
    #expect(session.screen.line(0).hasPrefix("+= 1 Probe 80x24 ="))
    #expect(session.screen.line(2).contains(".:#1zZpcs?!"))
    // Wide characters keep their columns.
    #expect(session.screen.line(1).contains("|wide ????|?|^[[31mred|"))
    #expect(session.screen.unknown == [])
  }

  @Test(
    "the same text on every terminal type",
    arguments: [
      "xterm-256color", "xterm", "screen", "screen-256color", "tmux-256color", "linux", "vt100",

      "rxvt-unicode-256color",
    ])
  func types(_ type: String) throws {
    let session = try Subject.probe().start(changes: ["TERM": type], more: ["--ascii"])
    let reference = try Subject.probe().start(more: ["--ascii"])
    for keys in ["\u{1b}[C", "\u{1b}[B", "x"] {
      session.send(keys)
      reference.send(keys)
      try session.waitFor("ready")
      session.settle()
      reference.settle()
    }
    #expect(session.screen.text == reference.screen.text)
    session.send("q")
    #expect(try session.waitForExit() == 0)
    #expect(session.leftovers == [])
  }

  @Test("a direct-colour terminal gets colours, not palette numbers taken for colours")
  func directColour() throws {
    let folder = try TemporaryDirectory()
    // Debian ships no such type by default, so the test describes one.
    let source = """
      direct-test|direct colour,
      \tRGB, colors#0x1000000, pairs#0x7FFF,
      \tsetaf=\\E[%?%p1%{8}%<%t3%p1%d%e38:2::%p1%{65536}%/%d:%p1%{256}%/%{255}%&%d:%p1%{255}%&%d%;m,
      \tsetab=\\E[%?%p1%{8}%<%t4%p1%d%e48:2::%p1%{65536}%/%d:%p1%{256}%/%{255}%&%d:%p1%{255}%&%d%;m,
      \tuse=xterm-256color,

      """
    try source.write(toFile: folder.path("direct.ti"), atomically: true, encoding: .utf8)
    let compiled = try run("tic", ["-x", "-o", folder.path("terminfo"), folder.path("direct.ti")])
    #expect(compiled.status == 0, "\(compiled.stderr)")
    let session = try Subject.probe().start(
      changes: ["TERM": "direct-test", "TERMINFO": folder.path("terminfo")], more: ["--unicode"])
    let data = session.screen.cells[2][4]
    #expect(data.text == "\u{2588}" && data.attributes.foreground == "86,180,233")
    #expect(session.screen.unknown == [])
  }

  @Test("a slow line drops frames, not keys")
  func slowReader() throws {
    let session = try Subject.probe().start(columns: 200, rows: 60)
    // Nobody reads while whole repaints and keys pile up; the pty holds a few kilobytes.
    for round in 0..<20 {
      session.send("A\u{1b}[C")
      if round == 19 { session.send("z") }
    }
    try session.waitFor("key z", timeout: 20)
    try session.waitFor("cursor 23,3 ready", timeout: 20)
    session.send("q")
    #expect(try session.waitForExit() == 0)
    #expect(session.leftovers == [])
  }

  @Test("wide, combining and control characters keep the columns")
  func alignment() throws {
    let session = try Subject.probe().start()
    let line = session.screen.line(1)
    #expect(line.hasPrefix("│ |wide 你好|e\u{301}|^[[31mred|"))
    #expect(session.screen.column(of: "|^[", in: 1) == 2 + 1 + 5 + 4 + 1 + 1)
    #expect(session.screen.cells[1][79].text == "│")
    #expect(session.screen.cells[1].allSatisfy { $0.attributes.foreground != "1" })
  }

  @Test("glyphs change at runtime, and back")
  func glyphSwitch() throws {
    let session = try Subject.probe().start()
    session.send("A")
    try session.waitUntil("ASCII frame") { $0.line(0).hasPrefix("+=") && $0.line(2).contains("zZpcs") }
    session.settle()
    #expect(session.screen.text.unicodeScalars.allSatisfy { $0.isASCII })
    session.send("A")
    try session.waitUntil("Unicode frame") { $0.line(0).hasPrefix("╒═") }
  }

  @Test("the hardware cursor stands on the selected cell")
  func hardwareCursor() throws {
    let session = try Subject.probe().start()
    session.send("\u{1b}[C\u{1b}[B\u{1b}[B")
    try session.waitFor("cursor 4,5")
    session.settle()
    #expect(session.screen.cursor == (4, 5) && session.screen.cursorIsVisible)
    #expect(session.screen.cells[5][4].attributes.reverse)
  }

  @Test("mouse, paste and modified keys arrive")
  func input() throws {
    let session = try Subject.probe().start()
    let cases = [
      ("\u{1b}[<0;11;6M", "mouse press left 10,5"), ("\u{1b}[<0;11;6m", "mouse release left 10,5"),
      ("\u{1b}[<0;11;6M", "mouse doubleClick left 10,5"), ("\u{1b}[<64;3;4M", "mouse wheelUp none 2,3"),
      ("\u{1b}[<65;3;4M", "mouse wheelDown none 2,3"),
      ("\u{1b}[200~two\rlines\u{1b}[201~", "paste 9 [two^Jlines]"),
      ("\u{1b}[1;5C", "key C-Right"), ("\u{1b}x", "key M-x"), ("\u{12}", "key C-r"), ("é", "key é"),
      ("\u{1b}[Z", "key S-Tab"), ("\u{1b}OP", "key F1"), ("\u{1b}[5~", "key PgUp"), ("\r", "key Enter"),
    ]
    for (bytes, shown) in cases {
      session.send(bytes)
      try session.waitFor(shown, timeout: 5)
    }
  }

  @Test("copying asks the terminal, and only one that understands")
  func clipboard() throws {
    for (type, expected) in [("xterm-256color", true), ("vt100", false)] {
      let session = try Subject.probe().start(changes: ["TERM": type])
      session.send("yx")
      try session.waitFor("key x")
      let sent = String(decoding: session.received, as: UTF8.self)
      #expect(sent.contains("\u{1b}]52;c;MHg1MDAwMDA=\u{7}") == expected)
    }
  }

  @Test("mouse reporting can be switched")
  func mouseSwitch() throws {
    let session = try Subject.probe().start()
    session.send("m")
    try session.waitUntil("mouse off") { !$0.reportsMouse }
    session.send("m")
    try session.waitUntil("mouse on") { $0.reportsMouse }
    #expect(!(try Subject.probe().start(more: ["--no-mouse"])).screen.reportsMouse)
  }
}
