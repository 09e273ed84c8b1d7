// A program in tmux: an independent terminal emulator as a second opinion on screens and modes.
// Every instance has its own server and socket in a folder of its own and ends both.

import CPty
import Foundation

/// One tmux server with one session of one pane.
package final class Tmux {
  private let directory: TemporaryDirectory
  private let environment: [String: String]
  private let server: pid_t

  /// Starts a shell command line in a pane of a size.
  package init(
    _ command: String, columns: Int = 80, rows: Int = 24,
    environment: [String: String] = testEnvironment(["TERM": "xterm-256color"])
  ) throws {
    try requireTool("tmux")
    directory = try TemporaryDirectory()
    self.environment = environment
    let settings = directory.path("tmux.conf")
    try """
    set -g default-terminal tmux-256color
    set -g escape-time 0
    set -g status off
    set -g remain-on-exit on
    """.write(toFile: settings, atomically: true, encoding: .utf8)
    let started = try run(
      "tmux",
      [
        "-S", directory.path("socket"), "-f", settings, "-u", "new-session", "-d", "-x", "\(columns)", "-y",
        "\(rows)", command,
      ], environment: environment)
    guard started.status == 0 else { throw TestFailure("tmux did not start: \(started.stderr)") }
    let asked = try run(
      "tmux", ["-S", directory.path("socket"), "display", "-p", "#{pid}"], environment: environment)
    server = pid_t(asked.stdout.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0
  }

  deinit {
    _ = try? tmux("kill-server")
    if server > 1 && kill(server, 0) == 0 { kill(server, SIGTERM) }
  }

  /// Runs a tmux command and returns what it prints.
  @discardableResult
  package func tmux(_ arguments: String...) throws -> String {
    let result = try run(
      "tmux", ["-S", directory.path("socket")] + arguments, environment: environment)
    guard result.status == 0 else {
      throw TestFailure("tmux \(arguments.joined(separator: " ")): \(result.stderr)")
    }
    return result.stdout
  }

  /// Presses keys by their tmux names (`Enter`, `C-z`, `a`).
  package func press(_ keys: String...) throws {
    for key in keys { try tmux("send-keys", key) }
  }

  /// Types text as it is.
  package func type(_ text: String) throws { try tmux("send-keys", "-l", text) }

  package func resize(columns: Int, rows: Int) throws {
    try tmux("resize-window", "-x", "\(columns)", "-y", "\(rows)")
  }

  /// The text of the screen.
  package func capture(escapes: Bool = false) throws -> String {
    try escapes ? tmux("capture-pane", "-e", "-p") : tmux("capture-pane", "-p")
  }

  /// A format of tmux, for example `#{alternate_on} #{cursor_flag} #{mouse_any_flag}`.
  package func display(_ format: String) throws -> String {
    try tmux("display", "-p", format).trimmingCharacters(in: .newlines)
  }

  package func waitUntil(
    _ what: String, timeout: Double = 10, _ condition: () throws -> Bool
  ) throws {
    guard try Deadline(timeout).wait(until: condition) else {
      throw TestFailure("\(what) did not happen within \(timeout) s; the screen is:\n\(try capture())")
    }
  }

  /// The picture once it stays as it is and the program waits for keys.
  package func settledCapture(of program: pid_t) throws -> String {
    var picture = try capture()
    var looks = 0
    try waitUntil("a picture that stays") {
      let next = try capture()
      looks = next == picture && processState(program) != "R" ? looks + 1 : 0
      picture = next
      return looks == 6
    }
    return picture
  }

  package func waitFor(_ text: String, timeout: Double = 10) throws {
    try waitUntil("`\(text)` on the screen", timeout: timeout) { try capture().contains(text) }
  }
}
