// How the screen of a salvage is drawn: what was found and how sure that is, the disk in one strip, and the header as it
// would be written, beside the bytes of the file.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

/// Where the panes stand; empty for those not shown.
struct SalvageLayout {
  private(set) var strip = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var list = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var header = Rect(x: 0, y: 0, width: 0, height: 0)

  init(_ frame: ScreenFrame, pane: Int) {
    guard !frame.isTooSmall else { return }
    if frame.isOnePane {
      if pane == 2 { header = frame.body } else { list = frame.body }
      return
    }
    let rest: Rect
    (strip, rest) = frame.body.splitTop(4)
    if frame.width >= 110 {
      (list, header) = rest.splitLeft(rest.width * 7 / 11)
    } else {
      (list, header) = rest.splitTop(pane == 1 ? rest.height * 3 / 5 : rest.height * 2 / 5)
    }
  }

  /// Rows of a pane, below its head line.
  func rows(_ pane: Int) -> Int { max(1, (pane == 1 ? list : header).height - 3) }
}

struct SalvageDrawing {
  private let screen: SalvageScreen
  private let layout: SalvageLayout
  private var desk: Desk { screen.desk }

  init(_ screen: SalvageScreen, _ layout: SalvageLayout) {
    self.screen = screen
    self.layout = layout
  }

  func draw(on canvas: inout Canvas) {
    if !layout.strip.isEmpty { drawStrip(on: &canvas) }
    if !layout.list.isEmpty { drawList(on: &canvas) }
    if !layout.header.isEmpty { drawHeader(on: &canvas) }
  }

  // MARK: The disk

  private func drawStrip(on canvas: inout Canvas) {
    let legend = SalvageState.allCases.map { "\($0.letter) \($0.name)" }.joined(separator: "  ")
    let inner = canvas.frame(
      layout.strip, title: "What of the disk can be had", footer: legend, focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    guard let strip = screen.strip(parts: inner.width), let size = screen.current?.image?.virtualSize else {
      canvas.put("no image can be made of it", at: inner.x, inner.y, role: .muted, maxWidth: inner.width)
      return
    }
    for (index, state) in strip.parts.enumerated() where index < inner.width {
      canvas.put(String(state.letter), at: inner.x + index, inner.y, role: Self.role(state))
    }
    guard inner.height > 1 else { return }
    let end = Notation.human(size)
    canvas.put("0", at: inner.x, inner.y + 1, role: .muted)
    canvas.put(end, at: max(inner.x + 2, inner.endX - TextWidth.width(end)), inner.y + 1, role: .muted)
  }

  private static func role(_ state: SalvageState) -> Role {
    switch state {
    case .lost: .error
    case .guessed: .warning
    case .likely: .number
    case .certain: .ok
    case .nothing: .muted
    }
  }

  // MARK: What was found

  /// What a row is, where it comes from, and how sure that is.
  static func words(_ row: SalvageRows.Row) -> [String] {
    func hex(_ value: UInt64) -> String { "0x" + Notation.hex(value) }
    switch row {
    case .structure(let structure, let source):
      var from = source.name
      if case .candidate(let place) = source { from += " at \(hex(place.value))" }
      let sure =
        switch source {
        case .found: "certain"
        case .candidate: "likely"
        case .rebuilt: "made anew"
        case .missing: "not needed to read"
        }
      return [structure.rawValue, from, sure]
    case .size(let score, let isTaken):
      return [
        "cluster size",
        "\(Notation.compact(1 << UInt64(score.clusterBits))): \(score.aligned)% of entries aligned, "
          + "\(score.following)% follow each other", "score \(score.score)" + (isTaken ? ", taken" : ""),
      ]
    case .candidate(let candidate):
      let leads =
        candidate.kind == .l1Table
        ? ", \(candidate.leading) of \(counted(UInt64(candidate.entries), "entry", "entries")) lead to tables"
        : ""
      return [
        "like " + candidate.kind.rawValue, "at \(hex(candidate.place.value))" + leads,
        candidate.isTaken ? "taken" : "not taken",
      ]
    case .tables(let evidence, let count):
      return [counted(UInt64(count), "L2 table"), "by: " + evidence.name, evidence.confidence]
    case .unplaced(let count): return [counted(UInt64(count), "L2 table"), "without a place", "not used"]
    case .placed(let table):
      return [
        "L1[\(table.l1Index)]", "table at \(hex(table.table.value)), by: \(table.evidence.name)",
        table.evidence.confidence,
      ]
    case .lost(let range, let why):
      return ["lost", "guest \(hex(range.lowerBound.value)) to \(hex(range.upperBound.value - 1))", why.name]
    case .note(let text): return ["note", text, ""]
    }
  }

  private static func role(_ row: SalvageRows.Row) -> Role? {
    switch row {
    case .lost, .unplaced: .error
    case .structure(_, .found): .ok
    case .structure(_, .candidate), .structure(_, .rebuilt): .warning
    case .placed(let table): role(table.evidence)
    case .tables(let evidence, _): role(evidence)
    default: nil
    }
  }

  private static func role(_ evidence: TableEvidence) -> Role {
    switch evidence.confidence {
    case "certain": .ok
    case "likely": .number
    default: .warning
    }
  }

  private func drawList(on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.list, title: "1 What was found, and how sure that is",
      footer: "\(desk.key(.follow)) goes there   \(desk.key(.salvageOpen)) explores it",
      focused: screen.pane == 1, glyphs: desk.glyphs)
    guard let current = screen.current else {
      canvas.put("nothing was looked for yet", at: inner.x + 1, inner.y, maxWidth: max(0, inner.width - 2))
      canvas.cursor = Point(x: inner.x, y: inner.y)
      return
    }
    let name = inner.width >= 50 ? 17 : 12
    let sure = inner.width >= 100 ? inner.width * 2 / 5 : inner.width >= 60 ? 18 : inner.width >= 50 ? 12 : 0
    let from = max(4, inner.width - name - sure - 4)
    let window = ListWindow(
      count: current.rows.count, height: layout.rows(1), selected: screen.rows[0], top: screen.tops[0])
    var columns: [Table.Column] = [.init("what", width: name), .init("from where", width: from)]
    if sure > 0 { columns.append(.init("how sure", width: sure)) }
    Table.draw(
      columns: columns, window: window, in: inner, on: &canvas, focused: screen.pane == 1, glyphs: desk.glyphs
    ) { index in
      let row = current.rows[index]
      let words = Self.words(row).map { Escaping.human($0) }
      var fields = [
        Table.Field(TextWidth.truncated(words[0], to: name, glyphs: desk.glyphs), role: Self.role(row)),
        Table.Field(TextWidth.truncated(words[1], to: from, glyphs: desk.glyphs)),
      ]
      if sure > 0 {
        fields.append(
          Table.Field(TextWidth.truncated(words[2], to: sure, glyphs: desk.glyphs), role: Self.role(row)))
      }
      return fields
    }
  }

  // MARK: The header

  private func drawHeader(on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.header,
      title: "2 The header that is opened"
        + (screen.current?.salvage.report.isWhole == true ? "" : " (not in the file)"),
      footer: "\(desk.key(.salvageExport)) writes the disk to a new file", focused: screen.pane == 2,
      glyphs: desk.glyphs)
    guard let current = screen.current, !current.fields.isEmpty else {
      canvas.put("there is none", at: inner.x + 1, inner.y, role: .muted, maxWidth: max(0, inner.width - 2))
      if screen.pane == 2 { canvas.cursor = Point(x: inner.x, y: inner.y) }
      return
    }
    let window = ListWindow(
      count: current.fields.count, height: layout.rows(2), selected: screen.rows[1], top: screen.tops[1])
    let bytes = 17
    let name = min(24, max(10, inner.width / 3))
    let value = max(0, inner.width - name - bytes - 10)
    Table.draw(
      columns: [
        .init("at", width: 4, alignment: .right, role: .muted), .init("field", width: name),
        .init("bytes", width: bytes, role: .number), .init("value", width: value),
      ], window: window, in: inner, on: &canvas, focused: screen.pane == 2, glyphs: desk.glyphs
    ) { index in
      let field = current.fields[index]
      let (start, end) = (field.range.lowerBound.value, field.range.upperBound.value)
      let count = Int(min(8, end - start))
      let overlay = current.salvage.overlay
      let new = (try? overlay.bytes(at: start, count: count)) ?? []
      let old = start < overlay.base.length ? (try? overlay.base.bytes(at: start, count: count)) ?? [] : []
      let digits = new.map { Notation.hex(UInt64($0), width: 2) }.joined()
      // A mark and not only a colour says what the file has otherwise.
      return [
        Table.Field(Notation.hex(start)), Table.Field(field.name),
        Table.Field((new == old ? " " : "~") + digits, role: new == old ? nil : .changed),
        Table.Field(TextWidth.truncated(Escaping.human(field.value), to: value, glyphs: desk.glyphs)),
      ]
    }
  }
}
