// The line in which commands and searches are typed, with completion and a history.

import Cartography
import CellScreen

final class Prompt: Overlay {
  private let desk: Desk
  private(set) var editor: LineEditor
  /// A command is typed, not what is searched for.
  private let isCommand: Bool

  /// For a command, with the lines that can be recalled.
  init(command desk: Desk, history: [String]) {
    self.desk = desk
    editor = LineEditor(history: history)
    isCommand = true
  }

  /// For what is searched for.
  init(search desk: Desk) {
    self.desk = desk
    editor = LineEditor()
    isCommand = false
  }

  var takesPromptRow: Bool { true }

  /// The keys that the line editor itself knows.
  static let complete = Key.tab
  static let recall = Key.up
  static let recallMatching = Key.control("r")

  var hints: [Hint] {
    [
      Hint(Key.enter.notation, "do it"), Hint(Key.escape.notation, "cancel"),
      Hint(Self.complete.notation, "complete"), Hint(Self.recall.notation, "recall"),
      Hint(Self.recallMatching.notation, "search"),
    ]
  }

  func press(_ key: Key) -> OverlayOutcome {
    let outcome = editor.handle(key) { line, cursor in
      guard isCommand else { return nil }
      return CommandCompletion.complete(line, cursor: cursor) { self.desk.files.names(beginningWith: $0) }
    }
    switch outcome {
    case .handled, .ignored: return .stays
    case .cancelled: return .closes
    case .submitted(let line):
      return isCommand ? submitCommand(line) : .closesAnd(search(line))
    }
  }

  private func submitCommand(_ line: String) -> OverlayOutcome {
    let history = editor.history
    return .closesAnd { explorer throws(CommandError) in
      explorer.desk.message = nil
      explorer.commandHistory = history
      if !line.allSatisfy({ $0 == " " }) { explorer.desk.files.remember(line) }
      try explorer.submit(line)
    }
  }

  private func search(_ line: String) -> (Explorer) throws(CommandError) -> Void {
    { explorer throws(CommandError) in
      explorer.desk.message = nil
      if !line.isEmpty { try explorer.execute(Command(.search, [line])) }
    }
  }

  func paste(_ text: String) -> OverlayOutcome? {
    editor.insert(text)
    return .stays
  }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    let row = frame.prompt
    editor.draw(prompt: isCommand ? ":" : "/", at: row.x, row.y, width: row.width, on: &canvas)
    drawCandidates(frame.hints, on: &canvas)
  }

  /// The list of completions over the hints.
  private func drawCandidates(_ row: Rect, on canvas: inout Canvas) {
    guard !editor.candidates.isEmpty else { return }
    canvas.fill(row)
    var x = row.x
    for (index, candidate) in editor.candidates.enumerated() {
      guard x + TextWidth.width(candidate) < row.endX - 4 else {
        canvas.put("...", at: x, row.y, role: .muted)
        break
      }
      x += canvas.put(
        candidate, at: x, row.y, role: .completion,
        marks: index == editor.candidateIndex ? .selected : [])
      x += 2
    }
  }
}
