// The conventions of a terminal program by number: which tests hold each of them, and tests of the real program for
// those that had none.

import Foundation
import TestSupport
import Testing

@Suite("qatlas keeps conventions", .tags(.terminal), .waits)
struct ConventionListTests {
  /// The number, the file under `Tests`, and what the test is called there.
  private static let kept: [(number: Int, file: String, title: String)] = [
    (1, "TerminalTests/KeyTests", "every movement key moves in the guest map"),
    (1, "TerminalTests/KeyTests", "movement keys move in the host map, the table, the bytes and the lists"),
    (2, "TerminalTests/KeyTests", "q closes the innermost thing and quits from the maps; Esc never quits"),
    (3, "TerminalTests/KeyTests", "Esc alone reacts within 100 ms"),
    (
      4, "TerminalTests/KeyTests",
      "help begins with the place it was called from, and no key it lists is unknown"
    ),
    (
      5, "TerminalTests/KeyTests",
      "a search finds, goes on and back, and keeps the place when there is nothing"
    ),
    (
      6, "TerminalTests/KeyTests",
      "the prompt remembers, completes and edits; the history outlives the program"
    ),
    (7, "TerminalTests/KeyTests", "the focus moves with Tab and is marked without colour"),
    (8, "TerminalTests/KeyTests", "counts and every form of an address"),
    (9, "TerminalTests/KeyTests", "an unknown key says so in one line and does not beep"),
    (
      10, "TerminalTests/ConventionListTests",
      "convention 10: a click selects, and the mouse can be left alone"
    ),
    (11, "TerminalTests/WireTests", "the first frame of a 1 TiB image with full tables comes within 100 ms"),
    (
      12, "TerminalTests/WireTests",
      "a cursor move on 1 TiB with all L2 tables writes at most 400 bytes and never clears"
    ),
    (12, "TerminalTests/WireTests", "an idle second writes nothing and uses no time"),
    (13, "TerminalTests/DrawingTests", "a resize repaints and keeps the cursor on its address"),
    (
      14, "TerminalTests/DrawingTests",
      "small windows: one pane, then a message with both sizes, then recovery"
    ),
    (15, "TerminalTests/EndingTests", "^Z gives the shell its screen, fg repaints, also at another size"),
    (
      16, "TerminalTests/EndingTests",
      "every signal leaves the terminal as it was and shows in the exit status"
    ),
    (17, "TerminalTests/EndingTests", "a vanished terminal ends the program without a spin"),
    (18, "TerminalTests/EndingTests", "stdout that is no terminal: one line on stderr, exit 2, no escapes"),
    (18, "TerminalTests/EndingTests", "stdin that is no terminal: keys come from the terminal all the same"),
    (19, "TerminalTests/EndingTests", "a useless terminal type is refused with the text commands"),
    (20, "TerminalTests/DrawingTests", "every terminal type shows the same text"),
    (21, "TerminalTests/DrawingTests", "LANG=C and --ascii send no byte above 0x7e"),
    (22, "TerminalTests/DrawingTests", "NO_COLOR and --color=never send no colour, --color=always overrules"),
    (
      23, "TerminalTests/DrawingTests",
      "no two states look alike in any lens and glyph set, and marks stand out without colour"
    ),
    (
      24, "TerminalTests/DrawingTests", "a hostile file name neither reaches the terminal nor shifts a column"
    ),
    (24, "ScriptTests/ConventionTests", "names do not turn the screen around"),
    (25, "TerminalTests/DrawingTests", "the hardware cursor stands on the selected cell or row"),
    (26, "TerminalHostTests/TerminalTests", "what libraries print is kept for after the end"),
    (27, "TerminalTests/WireTests", "a slow line drops frames, not keys"),
    (
      28, "TerminalTests/ConventionListTests",
      "convention 28: help and version on stdout, a wrong option on stderr"
    ),
    (
      29, "TerminalTests/ConventionListTests",
      "convention 29: exit codes of check are those of the genuine tool"
    ),
    (30, "CommandLineTests/WhereTests", "text and JSON have the same steps"),
    (30, "CommandLineTests/FragTests", "text and JSON say the same"),
    (
      31, "CommandLineTests/ManualTests",
      "every subcommand and every option of --help is in its page, and in the completions of every shell"
    ),
    (
      32, "TerminalTests/ConventionListTests",
      "convention 32: files only in the folders of configuration and state"
    ),
    (
      33, "CommandLineTests/LockTests",
      "the explorer refuses an image in use, names the flag, and looks at it with the flag"
    ),
    (
      34, "TerminalTests/ConventionListTests",
      "convention 34: the title says how the image is open, and nothing is written unasked"
    ),
    (
      35, "TerminalTests/GivingUpTests",
      "requests of many GiB, undo, copies, the plot and the scan end within 200 ms and leave no trace"
    ),
    (
      36, "TerminalTests/ConventionListTests",
      "convention 36: a script of keys saves a screen without a terminal"
    ),
  ]

  /// Conventions that no single test holds, and why.
  private static let missing = [
    37: "numbers are held by the pictures of all screens and NotationTests, not by one test",
    38: "y copies findings and fragmentation; on the maps it is no key yet",
  ]

  @Test("every convention has a number, and a test of that name or a reason")
  func list() throws {
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    var sources: [String: String] = [:]
    for (number, file, title) in Self.kept {
      let source =
        try sources[file]
        ?? String(contentsOf: tests.appendingPathComponent("\(file).swift"), encoding: .utf8)
      sources[file] = source
      // The list itself names its tests once, the test a second time.
      let wanted = file.hasSuffix("ConventionListTests") ? 3 : 2
      #expect(
        source.components(separatedBy: "\"\(title)\"").count >= wanted,
        "convention \(number): \(file): \(title)")
    }
    #expect(Set(Self.kept.map(\.number)).union(Self.missing.keys) == Set(1...38))
  }

  private func image(_ judge: Judge) throws -> String {
    let path = judge.path("disk.qcow2")
    try judge.must("qemu-img", ["create", "-q", "-f", "qcow2", path, "64M"])
    try judge.must("qemu-io", ["-f", "qcow2", "-c", "write 0 1M", path])
    return path
  }

  @Test("convention 10: a click selects, and the mouse can be left alone")
  func mouse() throws {
    let judge = try Judge()
    let path = try image(judge)
    let session = try Program.start(["--ascii", path], columns: 80, rows: 24)
    #expect(session.screen.reportsMouse)
    let row = try #require((0..<24).first { session.screen.line($0).hasPrefix("| 0000000  ") })
    // The third cell of the first row; the terminal counts from 1.
    let place = "14;\(row + 1)"
    try session.press("\u{1b}[<0;\(place)M\u{1b}[<0;\(place)m", "a click", expect: 0x20000)
    let quiet = try Program.start(["--ascii", "--no-mouse", path], columns: 80, rows: 24)
    #expect(!quiet.screen.reportsMouse)
  }

  @Test("convention 28: help and version on stdout, a wrong option on stderr")
  func options() throws {
    let judge = try Judge()
    for option in ["--help", "--version"] {
      let said = try judge.ours([option])
      #expect(said.status == 0 && said.errors.isEmpty && !said.output.isEmpty, "\(option): \(said)")
    }
    // 1 as in the genuine tools, whose exit codes scripts know.
    let wrong = try judge.ours(["explore", "--no-such-option"])
    #expect(wrong.status == 1 && wrong.output.isEmpty && wrong.errors.contains("--help"), "\(wrong)")
  }

  @Test("convention 29: exit codes of check are those of the genuine tool")
  func exitCodes() throws {
    let judge = try Judge()
    let path = try image(judge)
    func expectSame(_ code: Int32, _ format: String = "qcow2") throws {
      let arguments = ["check", "-f", format, path]
      #expect(try judge.genuine("qemu-img", arguments).status == code)
      #expect(try judge.ours(arguments).status == code)
    }
    try expectSame(0)
    try expectSame(63, "raw")
    let reader = try PlainReader(path)
    let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
    // An entry taken away leaks its cluster; its COPIED flag taken away is an error.
    let entry = try #require(reader.entries[3])
    try file.seek(toOffset: entry.address)
    try file.write(contentsOf: Data(count: 8))
    try expectSame(3)
    try file.seek(toOffset: try #require(reader.entries[4]).address)
    try file.write(contentsOf: Data(count: 1))
    try expectSame(2)
  }

  @Test("convention 32: files only in the folders of configuration and state")
  func home() throws {
    let judge = try Judge()
    let path = try image(judge)
    let home = judge.path("home")
    try FileManager.default.createDirectory(atPath: home, withIntermediateDirectories: true)
    let session = try Program.start(
      ["--ascii", path], columns: 80, rows: 24,
      changes: ["HOME": home, "XDG_CONFIG_HOME": nil, "XDG_STATE_HOME": nil])
    try session.press(":goto 1M\r", "a command", expect: 1 << 20)
    session.send("q")
    #expect(try session.waitForExit() == 0)
    let made = try FileManager.default.subpathsOfDirectory(atPath: home)
    let files = made.filter { name in !made.contains { $0.hasPrefix(name + "/") } }
    #expect(
      files.allSatisfy { $0.hasPrefix(".local/state/qatlas/") || $0.hasPrefix(".config/qatlas/") }, "\(files)"
    )
    #expect(!files.isEmpty, "the history is kept")
  }

  @Test(
    "convention 34: the title says how the image is open, and nothing is written unasked",
    arguments: [("--ro", "[ro]"), ("", "[scratch]"), ("--rw", "[rw]")])
  func titles(_ option: String, _ mark: String) throws {
    let judge = try Judge()
    let path = try image(judge)
    let before = try #require(judge.bytes("disk.qcow2"))
    let options = option.isEmpty ? [] : [option]
    let session = try Program.start(["--ascii"] + options + [path], columns: 80, rows: 24)
    #expect(session.screen.line(0).contains(mark))
    for key in ["X", "i", "S", "R", "F", "!", "?"] {
      session.send(key)
      session.settle()
      #expect(session.screen.line(0).contains(mark), "\(key): \(session.screen.line(0))")
      session.send("q")
      session.settle()
    }
    #expect(judge.bytes("disk.qcow2") == before, "looking writes nothing")
    session.send(":write -P 0x5a 8M 64k\r")
    session.settle()
    let isWritten = option == "--rw"
    let deadline = Deadline(isWritten ? 10 : 0.2)
    while !deadline.isOver && judge.bytes("disk.qcow2") == before { session.pump(seconds: 0.05) }
    #expect((judge.bytes("disk.qcow2") != before) == isWritten, "\(session.screen.text)")
  }

  @Test("convention 36: a script of keys saves a screen without a terminal")
  func script() throws {
    let judge = try Judge()
    let path = try image(judge)
    let (script, picture) = (judge.path("keys"), judge.path("picture"))
    try "size 80x24\n:goto 0x50000\n:save-screen \(picture)\n".write(
      toFile: script, atomically: true, encoding: .utf8)
    let said = try judge.ours(["explore", "--script", script, path])
    #expect(said.status == 0 && said.output.isEmpty && said.errors.isEmpty, "\(said)")
    let text = String(decoding: try #require(judge.bytes("picture")), as: UTF8.self)
    #expect(text.contains("guest    0x50000") && !text.contains("\u{1b}"), "\(text)")
  }
}
