// How the history is drawn: a row per generation, the disk as it was at the selected one with what changed then, and
// the words of that change.

import Cartography
import CellScreen
import QcowFormat
import Storage

/// Where the panes stand; empty for those not shown.
struct HistoryLayout {
  private(set) var list = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var map = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var words = Rect(x: 0, y: 0, width: 0, height: 0)

  init(_ frame: ScreenFrame, rows: Int) {
    guard !frame.isTooSmall else { return }
    let body = frame.body
    if frame.isOnePane {
      (list, map) = body.splitBottom(min(5, body.height / 2))
      return
    }
    let below: Rect
    (list, below) = body.splitTop(max(5, min(rows + 3, body.height / 2)))
    (map, words) = below.splitLeft(below.width * 3 / 5)
  }

  /// Rows of the list, which has a head line.
  var listRows: Int { max(1, list.height - 3) }
}

struct HistoryDrawing {
  private let screen: HistoryScreen
  private let layout: HistoryLayout
  private var desk: Desk { screen.desk }

  init(_ screen: HistoryScreen, _ layout: HistoryLayout) {
    self.screen = screen
    self.layout = layout
  }

  func draw(on canvas: inout Canvas) {
    if !layout.list.isEmpty { drawList(on: &canvas) }
    if !layout.map.isEmpty { drawMap(on: &canvas) }
    if !layout.words.isEmpty { drawWords(on: &canvas) }
  }

  static func title(_ step: Session.Step?) -> String { step?.title ?? "as it was opened" }

  private func drawList(on canvas: inout Canvas) {
    let session = desk.session
    let inner = canvas.frame(
      layout.list, title: "1 Generations", footer: "\(desk.key(.follow)) explores one, nothing moves",
      focused: true, glyphs: desk.glyphs)
    let isNarrow = inner.width < 96
    let digits = String(screen.count).count + 1
    let right = isNarrow ? 0 : 3 * 10
    let room = inner.width - digits - right - 12 - 6
    var columns: [Table.Column] = [
      .init("", width: digits, alignment: .right, role: .number), .init("operation", width: room),
    ]
    if !isNarrow {
      columns += ["new", "freed", "written"].map { .init($0, width: 9, alignment: .right, role: .number) }
    }
    columns.append(.init("state", width: 12, role: .muted))
    let window = ListWindow(
      count: screen.count, height: layout.listRows, selected: screen.selectedRow, top: screen.top)
    Table.draw(
      columns: columns, window: window, in: inner, on: &canvas, focused: true, glyphs: desk.glyphs
    ) { row in
      let index = screen.rows[row]
      let steps = screen.steps(ofRow: row)
      let title =
        Escaping.human(Self.title(steps.last)) + (steps.count > 1 ? " (\(steps.count) batches)" : "")
      var fields = [Table.Field(String(index)), Table.Field(title)]
      if !isNarrow {
        let numbers = steps.map(\.narration.numbers)
        func sum(_ number: (Narration.Numbers) -> UInt64) -> UInt64 { numbers.reduce(0) { $0 + number($1) } }
        let words = [
          String(sum(\.clustersTaken)), String(sum(\.clustersFreed)), Notation.compact(sum(\.hostBytes)),
        ]
        fields += words.map { Table.Field(steps.isEmpty ? "" : $0) }
      }
      let isNow = index == session.generation
      fields.append(
        Table.Field(
          isNow
            ? "now"
            : index > session.generation ? "taken back" : index < session.overlays.forgotten ? "dropped" : "",
          role: isNow ? .key : .muted))
      return fields
    }
  }

  /// The disk at the selected generation, all of it, with what changed there.
  private func drawMap(on canvas: inout Canvas) {
    let scene = screen.scene
    let inner = canvas.frame(
      layout.map, title: "2 The guest disk at generation \(screen.selected)",
      footer: scene.map { "1 cell = \(Notation.compact(cellBytes($0)))" } ?? "", focused: false,
      glyphs: desk.glyphs
    ).inset(1, 0)
    guard let scene else {
      let isDropped = screen.selected < desk.session.overlays.forgotten
      let words = isDropped ? "no longer kept: the history had no room" : "no image could be opened then"
      canvas.put(words, at: inner.x, inner.y, role: .error, maxWidth: inner.width)
      return
    }
    let shift = shift(scene, inner)
    let total = Int(clamping: (scene.geometry.clusterCount + (1 << UInt64(shift)) - 1) >> UInt64(shift))
    let count = min(total, max(0, inner.width * inner.height))
    let changed = screen.step(screen.selected)?.narration
    let cells = scene.atlas.guestCells(first: 0, cellClustersLog2: shift, count: count)
    for (number, cell) in cells.enumerated() {
      let look = Lens.kind.look(cell, desk.glyphs)
      let first = UInt64(number) << UInt64(shift)
      var marks = look.marks
      if changed?.changed(guest: first..<first + (1 << UInt64(shift))) == true { marks.insert(.changed) }
      canvas.set(
        inner.x + number % inner.width, inner.y + number / inner.width, look.glyph, role: look.role,
        marks: marks)
    }
  }

  /// The smallest power of two of clusters of which all of the disk fits.
  private func shift(_ scene: Scene, _ area: Rect) -> Int {
    let room = UInt64(max(1, area.width * area.height))
    var shift = 0
    while shift < 40, (scene.geometry.clusterCount + (1 << UInt64(shift)) - 1) >> UInt64(shift) > room {
      shift += 1
    }
    return shift
  }

  private func cellBytes(_ scene: Scene) -> UInt64 {
    scene.geometry.clusterSize << UInt64(shift(scene, layout.map.inset(2, 1)))
  }

  private func drawWords(on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.words, title: "3 What it did", footer: "\(desk.key(.step)) tells its steps", focused: false,
      glyphs: desk.glyphs
    ).inset(1, 0)
    let told = screen.step(screen.selected)?.narration.lines ?? ["nothing was done yet"]
    let lines = (told.isEmpty ? ["nothing changed"] : told).flatMap {
      TextWrap.wrap(Escaping.human($0), width: inner.width)
    }
    for (line, text) in lines.enumerated() where line < inner.height {
      canvas.put(text, at: inner.x, inner.y + line)
    }
  }
}
