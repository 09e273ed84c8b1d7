// The line in which commands and searches are typed, with completion and a history.

import Cartography
import CellScreen

final class Prompt: Overlay {
  private let desk: Desk
  private(set) var editor: LineEditor
  /// A command is typed, not what is searched for.
  private let isCommand: Bool

  /// For a command, with the lines that can be recalled and what is typed already.
  init(command desk: Desk, history: [String], typed: String = "") {
    self.desk = desk
    editor = LineEditor(typed, history: history)
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
    drawCandidates(frame, on: &canvas)
  }

  /// The list of completions over the hints, and in columns above them where it is long; what the selected one does
  /// stands in front.
  private func drawCandidates(_ frame: ScreenFrame, on canvas: inout Canvas) {
    let all = editor.candidates
    guard !all.isEmpty else { return }
    let width = frame.hints.width
    let isLong = all.reduce(0) { $0 + TextWidth.width($1) + 2 } > width
    // In one row as they are, else in columns.
    let column = min(width, (all.map(TextWidth.width).max() ?? 0) + 2)
    let columns = isLong ? max(1, width / max(1, column)) : all.count
    let count = (all.count + columns - 1) / columns
    let chosen = editor.candidateIndex
    let words = isCommand ? chosen.flatMap { sentence(of: all[$0]) } : nil
    let height = max(1, min(count, frame.body.height - 4))
    let window = ListWindow(count: count, height: height, selected: (chosen ?? 0) / columns)
    let more =
      window.visible.count < count ? "\(all.count) of them; \(Self.complete.notation) goes through them" : nil
    let head = words ?? more
    let top = frame.hints.y - window.visible.count + 1
    let above = head == nil ? 0 : 1
    canvas.fill(
      Rect(x: frame.hints.x, y: top - above, width: width, height: window.visible.count + above))
    if let head {
      canvas.put(
        TextWidth.truncated(head, to: width, glyphs: desk.glyphs), at: frame.hints.x, top - 1, role: .muted)
    }
    for (row, line) in window.visible.enumerated() {
      var x = frame.hints.x
      for index in line * columns..<min(all.count, (line + 1) * columns) {
        let put = canvas.put(
          all[index], at: x, top + row, role: .completion, marks: index == chosen ? .selected : [],
          maxWidth: frame.hints.endX - x)
        x += isLong ? column : put + 2
      }
    }
  }

  /// What a command does; nil for other words.
  private func sentence(of candidate: String) -> String? {
    guard editor.text == candidate, let spec = try? CommandTable.named(candidate) else { return nil }
    return spec.usage + "  " + spec.help.text(desk.keys, in: desk.current.context)
  }
}
