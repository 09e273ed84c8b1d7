// How a trace of discards is drawn: a row per policy, the requests that lose most, and what it all comes to.

import Cartography
import CellScreen
import QcowFormat
import Storage
import ToolText

/// Where the panes stand; empty for those not shown.
struct DiscardsLayout {
  private(set) var policies = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var list = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var words = Rect(x: 0, y: 0, width: 0, height: 0)

  init(_ frame: ScreenFrame, policies count: Int) {
    guard !frame.isTooSmall else { return }
    let below: Rect
    // At least one row of the list can be seen.
    (policies, below) = frame.body.splitTop(
      min(count + 3, frame.body.height * 2 / 3, max(4, frame.body.height - 4)))
    guard !frame.isOnePane else {
      list = below
      return
    }
    (list, words) = below.splitBottom(min(8, below.height / 2))
  }

  /// Rows of the list, which has a head line.
  var rows: Int { max(1, list.height - 3) }
}

struct DiscardsDrawing {
  private let screen: DiscardsScreen
  private let layout: DiscardsLayout
  private var desk: Desk { screen.desk }

  init(_ screen: DiscardsScreen, _ layout: DiscardsLayout) {
    self.screen = screen
    self.layout = layout
  }

  func draw(on canvas: inout Canvas) {
    guard let trace = screen.trace else { return }
    if !layout.policies.isEmpty { drawPolicies(trace, on: &canvas) }
    if !layout.list.isEmpty { drawList(trace, on: &canvas) }
    if !layout.words.isEmpty { drawWords(trace, on: &canvas) }
  }

  /// A figure of something that may not be counted to its end.
  private static func so(_ isComplete: Bool, _ text: String) -> String { isComplete ? text : text + "..." }

  private func drawPolicies(_ trace: DiscardTrace, on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.policies, title: "1 What each policy makes of them",
      footer: trace.isDone ? "" : "so far, \(Int(trace.progress * 100))%", focused: false, glyphs: desk.glyphs
    )
    var columns: [Table.Column] = [
      .init("policy", width: inner.width < 76 ? 16 : min(34, inner.width - 51)),
      .init("dropped", width: 8, alignment: .right, role: .number),
      .init("data gone", width: 9, alignment: .right, role: .number),
    ]
    let more =
      inner.width >= 76 ? ["unmapped", "kept", "freed"] : inner.width >= 56 ? ["unmapped", "kept"] : []
    columns += more.map { .init($0, width: 8, alignment: .right, role: .number) }
    let window = ListWindow(
      count: trace.policies.count, height: max(1, inner.height - 1), selected: 0, top: 0)
    let outcomes = trace.outcomes
    Table.draw(columns: columns, window: window, in: inner, on: &canvas, focused: false, glyphs: desk.glyphs)
    {
      index in
      let (policy, outcome) = (trace.policies[index], outcomes[index])
      var fields = [
        Table.Field(policy.name),
        Table.Field(Self.so(trace.isCounted, Notation.compact(trace.lostBytes(policy)))),
      ]
      guard trace.refusal == nil else { return fields + [Table.Field("not known")] }
      fields.append(Table.Field(Self.so(trace.isDone, Notation.compact(outcome.dataBytes.value))))
      fields += [outcome.unmapped, outcome.kept, outcome.freed].map {
        Table.Field(Self.so(trace.isDone, String($0)))
      }
      return fields
    }
    // Nothing is chosen here.
    canvas.set(inner.x, inner.y + 1, " ", role: .text)
  }

  private func drawList(_ trace: DiscardTrace, on canvas: inout Canvas) {
    let losing = trace.counts.losing
    let isCut = losing > UInt64(trace.losses.count) && trace.isCounted
    let inner = canvas.frame(
      layout.list, title: "2 Discards that lose bytes to alignment, the most first",
      footer: isCut ? "the worst \(trace.losses.count) of \(losing)" : "\(desk.key(.follow)) goes there",
      focused: true, glyphs: desk.glyphs)
    guard !trace.losses.isEmpty else {
      canvas.put(
        trace.isCounted ? "none: every discard is made of whole clusters" : "the lines are being read",
        at: inner.x + 1, inner.y, maxWidth: inner.width - 2)
      canvas.cursor = Point(x: inner.x, y: inner.y)
      return
    }
    let isWide = inner.width >= 76
    let isTiny = inner.width < 50
    let fine = desk.session.geometry.hasExtendedL2
    var columns: [Table.Column] = [
      .init("line", width: isTiny ? 5 : 9, alignment: .right, role: .muted),
      .init("guest", width: isTiny ? 13 : 16, alignment: .right, role: .number),
      .init("length", width: isWide ? 12 : isTiny ? 6 : 8, alignment: .right, role: .number),
      .init(isWide ? "dropped" : "lost", width: isWide ? 12 : 7, alignment: .right, role: .number),
    ]
    if isWide, fine { columns.append(.init("by subclusters", width: 14, alignment: .right, role: .number)) }
    let window = ListWindow(
      count: trace.losses.count, height: layout.rows, selected: screen.selected, top: screen.top)
    Table.draw(columns: columns, window: window, in: inner, on: &canvas, focused: true, glyphs: desk.glyphs) {
      index in
      let loss = trace.losses[index]
      let length = UInt64(loss.range.count)
      func number(_ value: UInt64) -> String { isWide ? String(value) : Notation.compact(value) }
      return [
        Table.Field(String(loss.line)), Table.Field("0x" + Notation.hex(loss.range.lowerBound)),
        Table.Field(number(length)),
        Table.Field(loss.byClusters == length ? "all" : number(loss.byClusters)),
        Table.Field(
          loss.bySubclusters == 0
            ? "nothing" : loss.bySubclusters == length ? "all" : number(loss.bySubclusters)),
      ]
    }
  }

  private func drawWords(_ trace: DiscardTrace, on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.words, title: "3 What it comes to",
      footer: "of what is asked for: " + DiskStrip.legend("all is dropped", desk.glyphs), focused: false,
      glyphs: desk.glyphs
    ).inset(1, 0)
    guard trace.isCounted else { return }
    let name = "0 to the end of the disk: "
    canvas.put(name, at: inner.x, inner.y, role: .muted)
    DiskStrip(parts: zip(trace.lost, trace.asked).map { ($0, max(1, $1)) }).draw(
      at: inner.x + name.utf8.count, inner.y, width: inner.width - name.utf8.count, desk.glyphs, on: &canvas)
    let remarks = DiscardsText.remarks(trace)
    let lines = (DiscardsText.sentences(trace).map { ($0, Role.text) } + remarks.map { ($0, .warning) })
      .flatMap {
        text, role in TextWrap.wrap(Escaping.human(text), width: inner.width).map { ($0, role) }
      }
    // What is not covered must not fall off the end.
    let room = inner.height - 1
    let shown =
      lines.count <= room ? lines : lines.filter { $0.1 == .warning } + lines.filter { $0.1 == .text }
    for (number, line) in shown.prefix(room).enumerated() {
      canvas.put(line.0, at: inner.x, inner.y + 1 + number, role: line.1)
    }
  }
}
