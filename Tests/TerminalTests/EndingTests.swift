// How the real program stops, continues, refuses to start and dies: the terminal is always given back.

import Foundation
import TestSupport
import Testing

@Suite("qatlas endings", .serialized, .tags(.terminal), .waits)
struct EndingTests {
  @Test("^Z gives the shell its screen, fg repaints, also at another size")
  func suspend() throws {
    let tmux = try Program.shell()
    try tmux.type("\"$QATLAS\" --ascii")
    try tmux.press("Enter")
    try tmux.waitFor("1 Guest map")
    try tmux.type(":goto 0x130000")
    try tmux.press("Enter")
    try tmux.waitFor("0x0000000000130000")
    try tmux.waitUntil("all modes") { try tmux.display(Program.flags) == "1 1 1" }
    let picture = try tmux.settledCapture(of: Program.child(of: tmux))
    try tmux.press("C-z")
    try tmux.waitFor("Stopped")
    #expect(try tmux.display(Program.flags) == "0 1 0")
    try tmux.type("fg")
    try tmux.press("Enter")
    try tmux.waitUntil("the same picture") { try tmux.capture() == picture }
    #expect(try tmux.display(Program.flags) == "1 1 1")
    try tmux.press("C-z")
    try tmux.waitFor("Stopped")
    try tmux.resize(columns: 80, rows: 24)
    try tmux.type("fg")
    try tmux.press("Enter")
    try tmux.waitUntil("a picture of 80x24") {
      let lines = try tmux.capture().split(separator: "\n", omittingEmptySubsequences: false)
      return lines.count > 1 && lines[1].hasPrefix("+= 1 Guest map") && lines[1].count == 80
        && lines.contains { $0.contains("0x130000") }
    }
    try tmux.press("q")
    try tmux.waitUntil("the shell") { try tmux.display(Program.flags) == "0 1 0" }
  }

  /// SIGILL is what a Swift trap raises.
  @Test(
    "every signal leaves the terminal as it was and shows in the exit status",
    arguments: [
      (SIGTERM, 143), (SIGHUP, 129), (SIGINT, 130), (SIGQUIT, 131), (SIGSEGV, 139), (SIGABRT, 134),
      (SIGBUS, 135), (SIGFPE, 136), (SIGILL, 132),
    ] as [(Int32, Int32)])
  func signals(_ number: Int32, _ status: Int32) throws {
    let session = try Program.start(changes: ["SWIFT_BACKTRACE": "interactive=no,enable=no"])
    #expect(session.screen.isAlternate && session.screen.reportsMouse && session.screen.hasBracketedPaste)
    #expect(session.settings != session.initialSettings)
    session.signal(number)
    #expect(try session.waitForExit() == status)
    #expect(session.leftovers == [])
  }

  @Test(
    "tmux and stty agree that everything is restored",
    arguments: [(SIGTERM, 143), (SIGHUP, 129), (SIGQUIT, 131), (SIGSEGV, 139), (SIGABRT, 134), (SIGILL, 132)])
  func restored(_ signal: Int32, _ status: Int) throws {
    let tmux = try Program.shell()
    try tmux.type(
      "ulimit -c 0; before=$(stty -g); \"$QATLAS\" --ascii; code=$?; "
        + "[ \"$before\" = \"$(stty -g)\" ] && echo \"same $code.\" || echo \"changed $code.\"")
    try tmux.press("Enter")
    try tmux.waitFor("1 Guest map")
    kill(try Program.child(of: tmux), signal)
    try tmux.waitFor("same \(status).")
    #expect(try tmux.display(Program.flags) == "0 1 0")
  }

  @Test("a vanished terminal ends the program without a spin")
  func hangup() throws {
    let session = try Program.start()
    let time = session.cpuTime
    session.hangUp()
    #expect(try session.waitForExit() == 129)
    #expect(session.cpuTime <= time + 100)
  }

  @Test("a vanished terminal ends the program even if SIGHUP is ignored")
  func hangupIgnored() throws {
    let session = try PtySession(
      "bash", ["-c", "trap '' HUP; exec \"$0\" --ascii", try builtProduct("qatlas")])
    try session.waitFor("1 Guest map")
    session.settle()
    let time = session.cpuTime
    session.hangUp()
    #expect(try session.waitForExit() != 0)
    #expect(session.cpuTime <= time + 100)
  }

  @Test("SIGPIPE ends or leaves the program, and it does not spin")
  func brokenPipe() throws {
    let session = try Program.start()
    let time = session.cpuTime
    session.signal(SIGPIPE)
    session.pump(seconds: 0.5)
    #expect(session.cpuTime <= time + 100)
    session.send("q")
    let status = try session.waitForExit()
    #expect(status == 0 || status == 141)
    #expect(session.leftovers == [])
  }

  @Test("stdout that is no terminal: one line on stderr, exit 2, no escapes")
  func pipedOutput() throws {
    let result = try run(try builtProduct("qatlas"))
    #expect(result.status == 2)
    #expect(result.output == [])
    #expect(result.stderr.hasPrefix("qatlas: standard output is not a terminal"))
    #expect(result.stderr.split(separator: "\n").count == 1)
    #expect(!result.errorOutput.contains(0x1b))
  }

  @Test("stdin that is no terminal: keys come from the terminal all the same")
  func pipedInput() throws {
    let pipe = Pipe()
    let session = try Program.start(stdin: pipe.fileHandleForReading.fileDescriptor)
    try session.press("l", "l", expect: 0x10000)
    session.send("q")
    #expect(try session.waitForExit() == 0)
    #expect(session.leftovers == [])
  }

  @Test(
    "a useless terminal type is refused with the text commands",
    arguments: ["dumb", "unknown", "", "no-such-terminal", nil] as [String?])
  func refusals(_ type: String?) throws {
    let session = try PtySession(
      try builtProduct("qatlas"), columns: 400, environment: testEnvironment(["TERM": type]))
    #expect(try session.waitForExit() == 2)
    for command in ["qatlas info IMAGE", "qatlas map IMAGE", "qatlas l2 IMAGE", "qatlas layout IMAGE"] {
      #expect(session.screen.text.contains(command))
    }
    #expect(!session.received.contains(0x1b))
    #expect(session.settings == session.initialSettings)
  }
}
