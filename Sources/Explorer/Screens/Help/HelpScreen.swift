// The help page: rows of keys and sentences, scrolled; what a search found is marked.

import Cartography
import CellScreen

extension ScreenKind {
  /// The screen of help.
  package static let help = ScreenKind("help")
}

extension Context {
  /// Where its keys are.
  package static let help = Context("help", title: "Help", [.searched])
}

final class HelpScreen: Screen {
  static let kind = ScreenKind.help
  static let contexts: [Context] = [.help]

  let desk: Desk
  /// What is under the help page, and the context that it was opened from.
  private var below = ScreenKind.explorer
  private var helped = Context.guestMap
  private var top = 0
  private var found: Int?

  init(_ desk: Desk) { self.desk = desk }

  var context: Context { .help }
  var titles: [String] { [" help", "help"] }
  var cursorText: String { "" }
  var hints: [HintRule] {
    [HintRule([.down, .up], "move"), HintRule(.search), HintRule(.searchNext), .back]
  }

  /// All lines, not wrapped.
  private var lines: [HelpLine] { HelpPage.lines(for: helped, desk.keys) }

  func settle() {
    let rows = max(1, desk.frame.body.height - 2)
    top = max(0, min(top, lines.count - rows))
  }

  func move(_ movement: Movement, _ count: Int) {
    found = nil
    top = movement.row(from: top, count, in: lines.count, page: max(1, desk.frame.body.height - 3))
  }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    let lines = lines
    let row = Searching.row(with: text, in: lines.count, from: found ?? top - 1, forward: forward) {
      lines[$0].text
    }
    guard let row else { return false }
    found = row
    top = row
    return true
  }

  func click(at point: Point, _ frame: ScreenFrame) {}
  func close() throws(CommandError) { desk.show(below) }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    let inner = canvas.frame(
      frame.body, title: "Help",
      footer: "\(desk.key(.search)) finds, \(desk.key(.searchNext)) next   \(desk.key(.close)) closes",
      focused: true, glyphs: desk.glyphs
    ).inset(1, 0)
    let keyWidth = min(24, max(12, inner.width / 3))
    var y = inner.y
    for (offset, line) in lines.dropFirst(top).enumerated() {
      guard y < inner.endY else { break }
      let marks: Marks = found == top + offset ? .selected : []
      if line.isHeading {
        canvas.put(line.text, at: inner.x, y, role: .paneTitle, marks: marks, maxWidth: inner.width)
        y += 1
        continue
      }
      // Long usages stand alone on their line.
      let isLong = TextWidth.width(line.keys) > keyWidth - 2
      if !line.keys.isEmpty {
        canvas.put(line.keys, at: inner.x + 2, y, role: .key, marks: marks, maxWidth: inner.width - 2)
        if isLong { y += 1 }
      }
      let textX = line.keys.isEmpty ? 2 : keyWidth + 2
      for text in TextWrap.wrap(line.text, width: inner.width - textX) where y < inner.endY {
        canvas.put(text, at: inner.x + textX, y, marks: marks)
        y += 1
      }
    }
    canvas.cursor = Point(x: inner.x, y: inner.y)
  }

  // MARK: Commands

  fileprivate func open(_ topic: String?) throws(CommandError) {
    if !isShown {
      below = desk.currentKind
      helped = desk.current.context
    }
    top = 0
    found = nil
    desk.show(.help)
    guard let topic else { return }
    guard let spec = try? CommandTable.named(topic.hasPrefix(":") ? String(topic.dropFirst()) : topic),
      let row = lines.lastIndex(where: { $0.keys == spec.usage || $0.text.hasPrefix(spec.usage + "  ") })
    else {
      throw CommandError("there is no help on '\(TextWidth.sanitized(topic))'; this is all there is")
    }
    top = row
    found = row
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .help, .program, aliases: ["h"], arguments: [CommandArgument("TOPIC", .topic, optional: true)],
      keys: [KeyRule("? F1", in: .all)], hint: "help", help: "this help, from the start or at a topic",
      run: run { screen, command throws(CommandError) in try screen.open(command.arguments.first) })
  ]
}

extension CommandID {
  static let help = CommandID("help")
}

extension ValueType where Value == String {
  /// What help can be opened at.
  static var topic: ValueType {
    ValueType(candidates: { _ in CommandTable.all.map(\.name) }) { word throws(CommandError) in word }
  }
}
