// Starting the real program in a terminal, and reading off its screen where its cursor is.

import Foundation
import TestSupport

/// The program under test.
enum Program {
  /// `qatlas` in a pseudo terminal, its first picture complete. Without arguments: the demo image.
  static func start(
    _ arguments: [String] = ["--ascii"], columns: Int = 120, rows: Int = 40,
    changes: [String: String?] = [:], stdin: Int32 = -1, patience: Double = 10
  ) throws -> PtySession {
    let session = try PtySession(
      try builtProduct("qatlas"), arguments, columns: columns, rows: rows,
      environment: testEnvironment(changes), stdin: stdin)
    try session.waitFor("1 Guest map")
    try session.waitUntil("the end of the scan", timeout: patience) {
      !$0.text.contains("scanning ") && $0.text.range(of: "scan [0-9]+%", options: .regularExpression) == nil
    }
    session.settle()
    return session
  }

  /// A shell in tmux with the program's path in `$QATLAS`.
  static func shell(columns: Int = 120, rows: Int = 40, _ changes: [String: String?] = [:]) throws -> Tmux {
    try requireTool("bash")
    var all = changes
    all["HISTFILE"] = ""
    all["QATLAS"] = try builtProduct("qatlas")
    let tmux = try Tmux(
      "env PS1='[$?]> ' bash --norc --noprofile", columns: columns, rows: rows,
      environment: testEnvironment(all))
    try tmux.waitFor("[0]>")
    return tmux
  }

  /// The alternate screen, the cursor, the mouse.
  static let flags = "#{alternate_on} #{cursor_flag} #{mouse_any_flag}"

  /// The process that tmux runs.
  static func pane(of tmux: Tmux) throws -> pid_t {
    let text = try tmux.display("#{pane_pid}")
    guard let number = pid_t(text) else { throw TestFailure("tmux runs `\(text)`") }
    return number
  }

  /// The process that a tmux shell runs.
  static func child(of tmux: Tmux) throws -> pid_t {
    let text = try run("pgrep", ["-P", String(pane(of: tmux))]).stdout.trimmingCharacters(
      in: .whitespacesAndNewlines)
    guard let number = pid_t(text) else { throw TestFailure("the shell runs `\(text)`") }
    return number
  }

  /// A sparse image of 1 TiB whose L2 tables all exist, about 128 MiB of them.
  static func largeImage(in folder: TemporaryDirectory) throws -> String {
    let path = folder.path("large.qcow2")
    let made = try run(
      try requireTool("qemu-img"),
      ["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", path, "1T"],
      timeout: 120)
    guard made.status == 0 else { throw TestFailure("qemu-img: \(made.stderr)") }
    return path
  }
}

extension PtySession {
  /// The address that follows `label` in "Where is it?".
  func address(_ label: String = "guest") -> UInt64? {
    for y in 0..<screen.height {
      let words = screen.line(y).split { $0 == " " || $0 == "|" || $0 == "│" || $0 == "." }
      guard words.first == label[...], let word = words.dropFirst().first, word.hasPrefix("0x") else {
        continue
      }
      return UInt64(word.dropFirst(2), radix: 16)
    }
    return nil
  }

  /// Sends keys and waits until the cursor is at an address.
  func press(_ keys: String, _ what: String, label: String = "guest", expect wanted: UInt64) throws {
    send(keys)
    let deadline = Deadline(5)
    while address(label) != wanted {
      guard !deadline.isOver else {
        throw TestFailure(
          "\(what): \(label) is \(String(address(label) ?? 0, radix: 16)), not \(String(wanted, radix: 16)):\n\(screen.text)"
        )
      }
      pump(seconds: 0.05, quiet: 0.01)
    }
  }

  /// The number of bytes that keys make the program write.
  func cost(of keys: String) -> Int {
    let before = byteCount
    send(keys)
    settle()
    return byteCount - before
  }
}

/// The bytes that a terminal sends for keys in the notation of the help.
func bytes(of notation: String) -> String {
  let named = [
    "Left": "\u{1b}[D", "Right": "\u{1b}[C", "Up": "\u{1b}[A", "Down": "\u{1b}[B", "Home": "\u{1b}[H",
    "End": "\u{1b}[F", "PgUp": "\u{1b}[5~", "PgDn": "\u{1b}[6~", "Tab": "\t", "S-Tab": "\u{1b}[Z",
    "Enter": "\r", "Esc": "\u{1b}", "Backspace": "\u{7f}", "F1": "\u{1b}OP", "Space": " ",
  ]
  if let bytes = named[notation] { return bytes }
  if notation.hasPrefix("C-"), let letter = notation.unicodeScalars.last {
    return String(UnicodeScalar(UInt8(letter.value & 0x1f)))
  }
  if notation.hasPrefix("M-") { return "\u{1b}" + notation.dropFirst(2) }
  return notation
}
