// How the ladder is drawn: a row and a bar per size, what the selected one means, and the header beside it.

import Cartography
import CellScreen
import QcowFormat

/// Where the panes stand; empty for those not shown.
struct LadderLayout {
  private(set) var sizes = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var meaning = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var header = Rect(x: 0, y: 0, width: 0, height: 0)

  init(_ frame: ScreenFrame, pane: Int, rungs: Int) {
    guard !frame.isTooSmall else { return }
    let body: Rect
    if frame.isOnePane {
      if pane == 2 {
        header = frame.body
        return
      }
      body = frame.body
    } else if frame.width >= 110 {
      // The values of the fields want more room than the bars.
      (body, header) = frame.body.splitLeft(frame.width - max(48, frame.width * 9 / 20))
    } else {
      // The header needs the width too: it stands below.
      (body, header) = frame.body.splitTop(max(8, min(frame.body.height - 4, rungs + 6)))
      if frame.body.height - body.height < 4 { header = Rect(x: 0, y: 0, width: 0, height: 0) }
    }
    (sizes, meaning) = body.splitBottom(min(5, body.height / 3))
  }

  /// Rows of a pane.
  func rows(_ pane: Int) -> Int { max(1, (pane == 1 ? sizes : header).height - 2) }
}

struct LadderDrawing {
  private let screen: LadderScreen
  private let layout: LadderLayout
  private let ladder: SizeLadder
  private var desk: Desk { screen.desk }

  init(_ screen: LadderScreen, _ layout: LadderLayout) {
    self.screen = screen
    self.layout = layout
    ladder = screen.ladder
  }

  func draw(on canvas: inout Canvas) {
    if !layout.sizes.isEmpty { drawSizes(on: &canvas) }
    if !layout.meaning.isEmpty { drawMeaning(on: &canvas) }
    if !layout.header.isEmpty { drawHeader(on: &canvas) }
  }

  private func drawSizes(on canvas: inout Canvas) {
    let atlas = desk.scene.atlas
    let inner = canvas.frame(
      layout.sizes, title: "1 Why is it this large?",
      footer: atlas.isDone ? "\(desk.key(.follow)) shows where" : "so far, \(Int(atlas.progress * 100))%",
      focused: screen.pane == 1, glyphs: desk.glyphs)
    let isWide = inner.width >= 60
    let window = ListWindow(
      count: ladder.rungs.count, height: inner.height, selected: screen.rows[0], top: screen.tops[0])
    // Parts stand a step in, below what they are parts of.
    let whole = max(1, ladder.parts.reduce(0) { $0 &+ $1.bytes })
    let bar = inner.width - (isWide ? 46 : 28)
    Table.draw(
      columns: [
        .init("", width: 17), .init("", width: 8, alignment: .right, role: .number),
        .init("", width: isWide ? 16 : 0, alignment: .right, role: .muted),
      ], window: window, in: inner, on: &canvas, focused: screen.pane == 1, glyphs: desk.glyphs
    ) { index in
      let rung = ladder.rungs[index]
      return [
        Table.Field(
          (rung.kind.parent == nil ? "" : " ") + rung.kind.rawValue,
          role: rung.kind == .leaked ? .warning : nil),
        Table.Field(Notation.compact(rung.bytes)), Table.Field(isWide ? String(rung.bytes) : ""),
      ]
    }
    guard bar > 6 else { return }
    for index in window.visible {
      let rung = ladder.rungs[index]
      guard rung.kind.isPart, rung.bytes > 0 else { continue }
      let y = inner.y + index - window.top
      // Eighths of a cell in figures of the file; what there is a little of has one step at least.
      let share = Double(rung.bytes) / Double(whole)
      let percent = share < 0.0005 ? "<0.1%" : Notation.decimals(share * 100, share < 0.1 ? 1 : 0) + "%"
      let x = inner.endX - bar
      let isSelected = index == window.selected && screen.pane == 1
      canvas.put(
        TextWidth.padded(percent, to: 6, .right), at: x, y, role: .number, marks: isSelected ? .selected : [])
      let cells = min(bar - 8, Int((share * Double(bar - 8)).rounded(.up)))
      let glyph = Glyphs.guest(.data)
      canvas.fill(
        Rect(x: x + 7, y: y, width: max(0, cells), height: 1), glyph.scalar(desk.glyphs), role: glyph.role)
    }
  }

  /// What there is to say of the row that has the cursor: a size, or a field whose value may not fit beside it.
  private var selected: (title: String, text: String, remedy: String?) {
    if screen.pane == 2, screen.fields.indices.contains(screen.rows[1]) {
      let field = screen.fields[screen.rows[1]]
      let (start, end) = (field.range.lowerBound.value, field.range.upperBound.value)
      return (field.name, "bytes \(start) to \(end - 1): \(Escaping.human(field.value))", nil)
    }
    guard ladder.rungs.indices.contains(screen.rows[0]) else { return ("", "", nil) }
    let rung = ladder.rungs[screen.rows[0]]
    return (rung.kind.rawValue, rung.meaning, rung.remedy?.explorer())
  }

  private func drawMeaning(on canvas: inout Canvas) {
    let selected = selected
    let inner = canvas.frame(
      layout.meaning, title: selected.title, footer: "", focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    let meaning = TextWrap.wrap(selected.text, width: inner.width)
    let lines = meaning + (selected.remedy.map { ["moved by: " + $0] } ?? [])
    for (line, text) in lines.enumerated() where line < inner.height {
      canvas.put(
        TextWidth.truncated(text, to: inner.width, glyphs: desk.glyphs), at: inner.x, inner.y + line,
        role: line < meaning.count ? .text : .muted)
    }
  }

  private func drawHeader(on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.header, title: "2 Header", footer: "\(desk.key(.follow)) goes to its bytes",
      focused: screen.pane == 2,
      glyphs: desk.glyphs)
    let fields = screen.fields
    let window = ListWindow(
      count: fields.count, height: inner.height, selected: screen.rows[1], top: screen.tops[1])
    let name = min(26, max(12, inner.width / 2))
    Table.draw(
      columns: [
        .init("", width: 4, alignment: .right, role: .muted), .init("", width: name),
        .init("", width: max(0, inner.width - name - 7), role: .number),
      ], window: window, in: inner, on: &canvas, focused: screen.pane == 2, glyphs: desk.glyphs
    ) { index in
      let field = fields[index]
      return [
        Table.Field(Notation.hex(field.range.lowerBound.value)), Table.Field(field.name),
        Table.Field(Escaping.human(field.value)),
      ]
    }
  }
}
