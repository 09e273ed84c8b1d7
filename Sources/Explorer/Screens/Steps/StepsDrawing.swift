// How the steps of an operation are drawn: a row each with what a power cut there would leave, and of the selected
// one the bytes before and after, the rule behind it, and the orders that the flushes allow.

import Cartography
import CellScreen
import QcowFormat
import Storage
import ToolText

/// Where the panes stand; empty for those not shown.
struct StepsLayout {
  private(set) var list = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var bytes = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var why = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var crash = Rect(x: 0, y: 0, width: 0, height: 0)

  init(_ frame: ScreenFrame, steps: Int) {
    guard !frame.isTooSmall else { return }
    let body = frame.body
    if frame.isOnePane {
      (list, crash) = body.splitBottom(min(5, body.height / 2))
      return
    }
    let rows = max(4, min(steps + 3, body.height / 2))
    let below: Rect
    (list, below) = body.splitTop(rows)
    let middle: Rect
    (middle, crash) = below.splitBottom(min(6, below.height / 2))
    (bytes, why) = middle.splitLeft(middle.width * 11 / 20)
  }

  /// Rows of the list.
  var listRows: Int { max(1, list.height - 3) }
}

struct StepsDrawing {
  private let screen: StepsScreen
  private let layout: StepsLayout
  private let story: Session.Story?
  private var desk: Desk { screen.desk }

  init(_ screen: StepsScreen, _ layout: StepsLayout) {
    self.screen = screen
    self.layout = layout
    story = screen.story
  }

  func draw(on canvas: inout Canvas) {
    if !layout.list.isEmpty { drawList(on: &canvas) }
    guard let story, screen.count > 0 else { return }
    if !layout.bytes.isEmpty { drawBytes(story, on: &canvas) }
    if !layout.why.isEmpty { drawWhy(story, on: &canvas) }
    if !layout.crash.isEmpty { drawCrash(story, on: &canvas) }
  }

  // MARK: The steps

  private func drawList(on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.list, title: "1 Steps", footer: "\(desk.key(.follow)) goes to the bytes of a step",
      focused: true,
      glyphs: desk.glyphs)
    guard let story, screen.count > 0 else {
      desk.putNothingDone("its steps are told here", in: inner, on: &canvas)
      canvas.cursor = Point(x: inner.x, y: inner.y)
      return
    }
    let isNarrow = inner.width < 96
    // On the narrowest screens the pane below has the verdict of the selected step, and the steps need the room.
    let verdict = inner.width < 50 ? 0 : isNarrow ? 14 : 20
    let effect = isNarrow ? 0 : 10
    let digits = String(screen.count).count + 1
    let action = verdict == 0 ? 8 : 10
    let room = inner.width - digits - action - effect - verdict - (verdict == 0 ? 4 : 7)
    var columns: [Table.Column] = [
      .init("", width: digits, alignment: .right, role: .muted), .init("", width: action, role: .key),
      .init("", width: room),
    ]
    if !isNarrow { columns.append(.init("to the file", width: effect + 1, alignment: .right, role: .number)) }
    if verdict > 0 { columns.append(.init(isNarrow ? "cut here" : " if the power fails", width: verdict)) }
    let window = ListWindow(
      count: screen.count, height: layout.listRows, selected: screen.selected, top: screen.top)
    Table.draw(
      columns: columns, window: window, in: inner, on: &canvas, focused: true, glyphs: desk.glyphs
    ) { index in
      let step = story.trace[index]
      var fields = [
        Table.Field(String(index + 1)), Table.Field(step.action),
        Table.Field(Escaping.human(Self.what(step))),
      ]
      if !isNarrow {
        fields.append(Table.Field(Self.effect(step), role: step.reachesFile ? .number : .muted))
      }
      guard verdict > 0 else { return fields }
      let (words, role) = Self.short(story.survey.verdict(behind: story.trace.events(behind: index)))
      fields.append(Table.Field((isNarrow ? "" : " ") + words, role: role))
      return fields
    }
  }

  /// A step without the rule behind it.
  private static func what(_ step: StepTrace.Step) -> String {
    var step = step
    step.why = ""
    return step.text
  }

  private static func effect(_ step: StepTrace.Step) -> String {
    if step.reachesFile { return step.bytes == 0 ? "length" : Notation.compact(step.bytes) }
    switch step.action {
    case "look up": return "read"
    case "flush": return "flush"
    default: return "memory"
    }
  }

  private static func short(_ verdict: CrashVerdict?) -> (String, Role) {
    guard let verdict else { return ("?", .muted) }
    if verdict.isHarm { return (verdict.failure == nil ? verdict.words : "no image", .error) }
    return (verdict.words, verdict.isClean ? .ok : .warning)
  }

  // MARK: The bytes

  private func drawBytes(_ story: Session.Story, on canvas: inout Canvas) {
    let step = story.trace[screen.selected]
    let changed = screen.changedWords
    let inner = canvas.frame(
      layout.bytes, title: "2 Before and after",
      footer: changed.isMore ? "and more" : "", focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    var y = inner.y
    func line(_ text: String, _ role: Role = .text) {
      guard y < inner.endY else { return }
      canvas.put(
        TextWidth.truncated(text, to: inner.width, glyphs: desk.glyphs), at: inner.x, y, role: role)
      y += 1
    }
    line(Escaping.human(step.place), .paneTitle)
    if !step.before.isEmpty {
      line("before  " + Escaping.human(step.before), .muted)
      line("after   " + Escaping.human(step.after), .changed)
    } else if !step.after.isEmpty {
      line(Escaping.human(step.after))
    }
    if !step.reachesFile {
      if step.action != "flush", step.action != "look up" {
        line("changed in memory; a later step writes it", .muted)
      }
      return
    }
    if changed.changes.isEmpty { line("no byte becomes another one", .muted) }
    let isTable = !changed.names.isEmpty
    for change in changed.changes where y < inner.endY {
      let place = "@" + Notation.hex(change.offset)
      let name = changed.names[change.offset].map { "  " + Escaping.human($0) } ?? ""
      let words = "\(Self.hex(change.before)) -> \(Self.hex(change.after))"
      line(TextWidth.padded(place, to: 10) + words + name, isTable ? .changed : .text)
    }
  }

  private static func hex(_ bytes: [UInt8]) -> String {
    bytes.reduce(into: "") { $0 += Notation.hex(UInt64($1), width: 2) }
  }

  // MARK: Why, and what if

  private func drawWhy(_ story: Session.Story, on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.why, title: "3 Why", footer: "", focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    let step = story.trace[screen.selected]
    var lines: [String] = []
    if let rule = story.trace.rule(screen.selected) {
      if !rule.clause.isEmpty { lines += TextWrap.wrap(Self.sentence(rule.clause), width: inner.width) }
      lines += TextWrap.wrap(rule.meaning, width: inner.width)
    } else {
      lines += TextWrap.wrap(Self.sentence(step.why), width: inner.width)
    }
    for (line, text) in lines.enumerated() where line < inner.height {
      canvas.put(text, at: inner.x, inner.y + line)
    }
  }

  private static func sentence(_ clause: String) -> String {
    clause.prefix(1).uppercased() + clause.dropFirst() + "."
  }

  private func drawCrash(_ story: Session.Story, on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.crash, title: "4 If the power fails behind step \(screen.selected + 1)",
      footer: "\(desk.key(.crash)) opens the crashed copy", focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    let behind = story.trace.events(behind: screen.selected)
    guard let verdict = story.survey.verdict(behind: behind) else {
      canvas.put(
        "not looked at: a check of this image takes a while; \(desk.key(.plug)) looks", at: inner.x, inner.y,
        role: .muted, maxWidth: inner.width)
      return
    }
    var lines = TextWrap.wrap(StepText.words(verdict), width: inner.width).map { ($0, Self.short(verdict).1) }
    if let error = StepText.error(verdict) { lines.append((error, .error)) }
    if let orders = story.survey.orders(around: behind), orders.writes > 1 {
      let role: Role = orders.worst.isHarm ? .error : .text
      lines += TextWrap.wrap("In any order: " + StepText.words(orders), width: inner.width).map { ($0, role) }
    }
    for (line, text) in lines.enumerated() where line < inner.height {
      canvas.put(text.0, at: inner.x, inner.y + line, role: text.1, maxWidth: inner.width)
    }
  }
}
