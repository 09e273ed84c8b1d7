// Marks: a letter keeps a place on any screen, and leads back to it.

import Cartography
import CellScreen

extension CommandID {
  static let mark = CommandID("mark")
  static let goToMark = CommandID("go-to-mark")
}

/// Waits for the letter of a mark.
final class LetterPrompt: Overlay {
  private let id: CommandID
  private let text: String

  init(_ id: CommandID, _ text: String) {
    self.id = id
    self.text = text
  }

  private static let cancel = OverlayKey(key: .escape, word: "cancel", footer: "cancel")

  var takesPromptRow: Bool { true }
  var hints: [Hint] { [Self.cancel.hint] }

  func press(_ key: Key) -> OverlayOutcome {
    guard key != Self.cancel.key, key != .control("c") else { return .closes }
    let id = id
    let word = key.typed.map { String($0) } ?? TextWidth.sanitized(key.notation)
    return .closesAnd { explorer throws(CommandError) in try explorer.execute(Command(id, [word])) }
  }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    canvas.put(text, at: frame.prompt.x, frame.prompt.y, role: .prompt, maxWidth: frame.prompt.width)
    canvas.cursor = Point(
      x: min(frame.prompt.endX - 1, frame.prompt.x + TextWidth.width(text) + 1), y: frame.prompt.y)
  }
}

enum Marking {
  static let commands: [CommandSpec] = [
    CommandSpec(
      .mark, .moving, arguments: [CommandArgument("LETTER", .text, optional: true)],
      keys: [KeyRule("m", in: .image)], hint: "mark",
      help: "keep this place under a letter; \(key: .goToMark) and the letter lead back",
      run: { explorer, command throws(CommandError) in
        guard let chosen = try letter(of: command) else {
          return explorer.overlay = LetterPrompt(.mark, "mark this place with a letter:")
        }
        explorer.desk.mark(chosen)
        explorer.desk.tell("marked as \(chosen)")
      }),
    CommandSpec(
      .goToMark, .moving, arguments: [CommandArgument("LETTER", .text, optional: true)],
      keys: [KeyRule("'", in: .image)], hint: "go to mark",
      help: "to the place that a letter was given; the key twice goes back to where that jump began",
      run: { explorer, command throws(CommandError) in
        guard let chosen = try letter(of: command, orBack: true) else {
          return explorer.overlay = LetterPrompt(.goToMark, "go to the mark of a letter, or ' for back:")
        }
        try explorer.desk.go(toMark: chosen)
      }),
  ]

  /// The letter behind a command; nil without one.
  private static func letter(
    of command: Command, orBack: Bool = false
  ) throws(CommandError) -> Character? {
    guard let word = command.arguments.first else { return nil }
    guard word.count == 1, let letter = word.first,
      "a"..."z" ~= letter || "A"..."Z" ~= letter || orBack && letter == "'"
    else { throw CommandError("marks are letters, a to z and A to Z") }
    return letter
  }
}
