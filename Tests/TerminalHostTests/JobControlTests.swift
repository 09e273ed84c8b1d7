// Stopping and continuing under a real shell, and the second opinion of tmux on what is left behind.
// A shell with job control is needed: without one the kernel does not stop a program.

import Foundation
import TestSupport
import Testing

@Suite("Job control", .serialized, .tags(.terminal), .waits)
struct JobControlTests {
  /// A shell in tmux with a prompt that shows the last status.
  static func shell() throws -> Tmux {
    try requireTool("bash")
    let tmux = try Tmux(
      "env PS1='[$?]> ' bash --norc --noprofile",
      environment: testEnvironment([
        "HISTFILE": "", "PROBE": try builtProduct("terminal-probe"),
      ]))
    try tmux.waitFor("[0]>")
    return tmux
  }

  static let flags = "#{alternate_on} #{cursor_flag} #{mouse_any_flag}"

  @Test("^Z gives the shell its screen, fg repaints, also at another size")
  func stopAndContinue() throws {
    let tmux = try JobControlTests.shell()
    try tmux.type("\"$PROBE\" --ascii")
    try tmux.press("Enter")
    try tmux.waitFor("ready")
    #expect(try tmux.display(JobControlTests.flags) == "1 1 1")
    let picture = try tmux.capture()

    try tmux.press("C-z")
    try tmux.waitFor("Stopped")
    #expect(try tmux.display(JobControlTests.flags) == "0 1 0")
    try tmux.type("echo back in the shell")
    try tmux.press("Enter")
    try tmux.waitFor("\nback in the shell")
    try tmux.type("fg")
    try tmux.press("Enter")
    try tmux.waitFor("resumed here")
    #expect(try tmux.display(JobControlTests.flags) == "1 1 1")
    #expect(try tmux.capture().split(separator: "\n").prefix(10) == picture.split(separator: "\n").prefix(10))

    try tmux.press("C-z")
    try tmux.waitFor("Stopped")
    try tmux.resize(columns: 100, rows: 30)
    try tmux.type("fg")
    try tmux.press("Enter")
    try tmux.waitFor("1 Probe 100x30")
    try tmux.waitFor("ready")
    try tmux.press("q")
    try tmux.waitUntil("the shell") { try tmux.display(JobControlTests.flags) == "0 1 0" }
  }

  @Test("a stop from outside repaints when it continues")
  func stoppedFromOutside() throws {
    let tmux = try JobControlTests.shell()
    try tmux.type("\"$PROBE\"")
    try tmux.press("Enter")
    try tmux.waitFor("ready")
    let program = try tmux.display("#{pane_pid}")
    let child = try run("pgrep", ["-P", program]).stdout.trimmingCharacters(in: .whitespacesAndNewlines)
    let number = try #require(pid_t(child))
    kill(number, SIGSTOP)
    try tmux.waitFor("Stopped")
    try tmux.type("fg")
    try tmux.press("Enter")
    try tmux.waitFor("resumed by others")
    try tmux.press("q")
    try tmux.waitUntil("the shell") { try tmux.display(JobControlTests.flags) == "0 1 0" }
  }

  @Test(
    "tmux agrees that everything is restored",
    arguments: [
      (SIGTERM, 143), (SIGHUP, 129), (SIGINT, 130), (SIGQUIT, 131), (SIGSEGV, 139), (SIGABRT, 134), (0, 132),
    ]
  )
  func restored(_ signal: Int32, _ status: Int) throws {
    let tmux = try JobControlTests.shell()
    try tmux.type(
      "ulimit -c 0; stty -g > /dev/null; before=$(stty -g); \"$PROBE\"; code=$?; "
        + "[ \"$before\" = \"$(stty -g)\" ] && echo \"same $code.\" || echo \"changed $code.\"")
    try tmux.press("Enter")
    try tmux.waitFor("ready")
    if signal == 0 {
      try tmux.press("t")
    } else {
      let shell = try tmux.display("#{pane_pid}")
      let child = try run("pgrep", ["-P", shell]).stdout.trimmingCharacters(in: .whitespacesAndNewlines)
      kill(try #require(pid_t(child)), signal)
    }
    // A shell that sees SIGINT gives up the rest of its line.
    if signal == SIGINT {
      try tmux.waitFor("[130]>")
    } else {
      try tmux.waitFor("same \(status).")
    }
    #expect(try tmux.display(JobControlTests.flags) == "0 1 0")
  }

  @Test("tmux sees the same screen as the emulator of these tests")
  func secondOpinion() throws {
    let tmux = try Tmux("\(try builtProduct("terminal-probe"))", columns: 100, rows: 30)
    try tmux.waitFor("ready")
    let session = try PtySession(
      try builtProduct("terminal-probe"), columns: 100, rows: 30,
      environment: testEnvironment(["TERM": "tmux-256color"]))
    try session.waitFor("ready")
    session.settle()
    let lines = try tmux.capture().split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    for y in 0..<30 { #expect(session.screen.line(y) == lines[y]) }
    try tmux.resize(columns: 60, rows: 15)
    try tmux.waitFor("60x15")
    #expect(try tmux.display("#{cursor_x} #{cursor_y}") == "3 3")
  }
}
