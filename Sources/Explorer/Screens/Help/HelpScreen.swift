// The help page: rows of keys and sentences, scrolled; what a search found is marked.

import Cartography
import CellScreen
import Storage

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

  /// What one row of the page shows of a line.
  private struct Row {
    /// The line that it is of.
    var line: Int
    var keys = ""
    var text = ""
    /// Where the text begins.
    var column = 0
    var isHeading = false
  }

  let desk: Desk
  /// The context that it was opened from.
  private var helped = Context.guestMap
  /// The first row that is seen.
  private var top = 0
  /// The line that was found.
  private var found: Int?
  private var page: (context: Context, hasLesson: Bool, width: Int, lines: [HelpLine], rows: [Row])?

  init(_ desk: Desk) { self.desk = desk }

  var context: Context { .help }
  var titles: [String] { [" help", "help"] }
  var cursorText: String { "" }
  var hidesLesson: Bool { true }
  var searchScope: String { "in help" }
  var hints: [HintRule] {
    [
      HintRule([.down, .up], "move"), HintRule([.pageDown, .pageUp], "page"), HintRule(.search),
      HintRule(.searchNext), .back,
    ]
  }

  private var inner: Rect { desk.frame.body.inset(1, 1).inset(1, 0) }

  /// All lines, and the rows that they take at this width.
  private var content: (lines: [HelpLine], rows: [Row]) {
    let width = max(1, inner.width)
    let hasLesson = desk.lesson != nil
    if let page, page.context == helped, page.hasLesson == hasLesson, page.width == width {
      return (page.lines, page.rows)
    }
    let lines = HelpPage.lines(for: helped, desk.keys, hasLesson: hasLesson)
    let rows = lines.indices.flatMap { Self.rows(of: lines[$0], $0, width) }
    page = (helped, hasLesson, width, lines, rows)
    return (lines, rows)
  }

  /// The rows of a line; one at least.
  private static func rows(of line: HelpLine, _ number: Int, _ width: Int) -> [Row] {
    if line.isHeading { return [Row(line: number, text: line.text, isHeading: true)] }
    let keyWidth = min(24, max(12, width / 3))
    let column = line.keys.isEmpty ? 2 : keyWidth + 2
    // Long usages stand alone, on as many rows as they take.
    let isLong = TextWidth.width(line.keys) > keyWidth - 2
    var rows =
      isLong ? TextWrap.wrap(line.keys, width: max(1, width - 2)).map { Row(line: number, keys: $0) } : []
    for text in TextWrap.wrap(line.text, width: max(1, width - column)) {
      rows.append(Row(line: number, text: text, column: column))
    }
    if rows.isEmpty { rows = [Row(line: number)] }
    if !isLong { rows[0].keys = line.keys }
    return rows
  }

  private var height: Int { max(1, inner.height) }

  func settle() { top = max(0, min(top, content.rows.count - height)) }

  func move(_ movement: Movement, _ count: Int) {
    found = nil
    // A page keeps its last row in sight.
    top = movement.row(from: top, count, in: content.rows.count, page: max(1, height - 1))
    settle()
  }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    let (lines, rows) = content
    let from = found ?? (rows.indices.contains(top) ? rows[top].line - (forward ? 1 : 0) : 0)
    let line = Searching.row(with: text, in: lines.count, from: from, forward: forward) {
      lines[$0].keys + " " + lines[$0].text
    }
    guard let line else { return false }
    show(line)
    return true
  }

  /// The rows of a line come into view, and are marked.
  private func show(_ line: Int) {
    found = line
    top = content.rows.firstIndex { $0.line == line } ?? 0
    settle()
  }

  func click(at point: Point, _ frame: ScreenFrame) {}

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    let rows = content.rows
    let last = min(rows.count, top + height)
    let inner = canvas.frame(
      frame.body, title: "Help",
      footer: "\(desk.key(.search)) finds, \(desk.key(.searchNext)) next   \(desk.key(.close)) closes   "
        + "rows \(top + 1)-\(last) of \(rows.count)",
      focused: true, glyphs: desk.glyphs
    ).inset(1, 0)
    for (number, row) in rows.dropFirst(top).prefix(inner.height).enumerated() {
      let y = inner.y + number
      let marks: Marks = found == row.line ? .selected : []
      if row.isHeading {
        canvas.put(row.text, at: inner.x, y, role: .paneTitle, marks: marks, maxWidth: inner.width)
        continue
      }
      if !row.keys.isEmpty {
        canvas.put(row.keys, at: inner.x + 2, y, role: .key, marks: marks, maxWidth: inner.width - 2)
      }
      if !row.text.isEmpty { canvas.put(row.text, at: inner.x + row.column, y, marks: marks) }
    }
    canvas.cursor = Point(x: inner.x, y: inner.y)
  }

  // MARK: Commands

  fileprivate func open(_ topic: String?) throws(CommandError) {
    if !isShown { helped = desk.current.context }
    top = 0
    found = nil
    desk.show(.help)
    guard let topic else { return }
    let lines = content.lines
    if let spec = try? CommandTable.named(topic.hasPrefix(":") ? String(topic.dropFirst()) : topic),
      let line = lines.lastIndex(where: { $0.keys == spec.usage || $0.text.hasPrefix(spec.usage + "  ") })
    {
      return show(line)
    }
    // A word of the sentences.
    desk.lastSearch = topic
    guard try find(topic, forward: true) else {
      throw CommandError("there is no help on '\(TextWidth.sanitized(topic))'; this is all there is")
    }
    let count = lines.count { Searching.contains(($0.keys + " " + $0.text).lowercased(), topic.lowercased()) }
    desk.tell(
      "'\(TextWidth.sanitized(topic))' is in \(counted(count, "line")); \(desk.key(.searchNext)) goes to the next"
    )
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .help, .program, aliases: ["h"], arguments: [CommandArgument("TOPIC", .topic, optional: true)],
      keys: [KeyRule("? F1", in: .all)], hint: "help",
      help: "this help, from the start, at a command, or at a word of its sentences",
      run: run { screen, command throws(CommandError) in
        try screen.open(command.arguments.isEmpty ? nil : command.arguments.joined(separator: " "))
      })
  ]
}

extension CommandID {
  static let help = CommandID("help")
}

extension ValueType where Value == String {
  /// What help can be opened at.
  static var topic: ValueType {
    var type = ValueType(candidates: { _ in CommandTable.all.map(\.name) }) {
      word throws(CommandError) in word
    }
    type.isOpen = true
    return type
  }
}
