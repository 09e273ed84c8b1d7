// How the lab is drawn: one column per policy with the guest's clusters in the order of the file, how the number
// of runs grows, and the figures. All columns have the same scales, so that they can be compared.

import Cartography
import CellScreen
import Qcow
import QcowFormat

/// Where the parts of a column stand.
struct LabColumn {
  /// Number of the run.
  var index: Int
  /// With the frame.
  var area: Rect
  var map: Rect
  var curve: Rect
  var facts: Rect

  private static let width = 24
  private static let factsHeight = 8

  /// The columns of `count` runs that fit, the selected one among them.
  static func columns(_ count: Int, selected: Int, in body: Rect) -> [LabColumn] {
    let visible = max(1, min(count, body.width / Self.width))
    guard count > 0 else { return [] }
    let first = max(0, min(selected - visible + 1, count - visible))
    let areas = body.columns(Array(repeating: .flexible(Self.width), count: visible))
    return areas.enumerated().map { offset, area in
      let inner = area.inset(2, 1)
      let facts = min(factsHeight, max(2, inner.height / 2))
      let rest = inner.height - facts
      let (map, below) = inner.splitTop(rest >= 8 ? rest - rest * 3 / 8 : rest)
      let (curve, bottom) = below.splitTop(below.height - facts)
      return LabColumn(index: first + offset, area: area, map: map, curve: curve, facts: bottom)
    }
  }
}

/// Draws a run of the lab.
struct LabDrawing {
  let lab: Lab
  let selected: Int
  let glyphs: GlyphSet

  func draw(_ body: Rect, on canvas: inout Canvas) {
    let columns = LabColumn.columns(lab.runs.count, selected: selected, in: body)
    let end = lab.runs.map(\.map.end).max() ?? 0
    let highest = lab.runs.flatMap { $0.samples.map(\.runs) + [$0.latest.runs] }.max() ?? 0
    for column in columns {
      let run = lab.runs[column.index]
      let bits = cellBits(end, column.map)
      let cell = Notation.compact(lab.configuration.clusterSize << UInt64(bits))
      var footer = "1 cell = \(cell)"
      if columns.count < lab.runs.count {
        footer += ", \(column.index + 1) of \(lab.runs.count)"
      } else if column.area.width >= 38 {
        footer += ", 0-z start to end"
      }
      canvas.frame(
        column.area, title: run.policy.rawValue + (run.isContiguous ? "" : ", plain image"), footer: footer,
        focused: column.index == selected, glyphs: glyphs)
      drawFileOrder(run, bits, column.map, on: &canvas)
      drawCurve(run, lab, highest, column.curve, on: &canvas)
      drawFacts(run, column.facts, on: &canvas)
      if column.index == selected {
        canvas.cursor = Point(x: column.map.x, y: column.map.y)
      }
    }
  }

  // MARK: Map

  /// log2 of host clusters per cell, so that `end` clusters fit.
  private func cellBits(_ end: UInt64, _ room: Rect) -> Int {
    let cells = UInt64(max(1, room.width * room.height))
    var bits = 0
    while bits < 40, end > cells << UInt64(bits) { bits += 1 }
    return bits
  }

  private func drawFileOrder(_ run: LabRun, _ bits: Int, _ room: Rect, on canvas: inout Canvas) {
    guard room.width > 0 else { return }
    let guests = max(1, run.image.geometry.clusterCount)
    let count = run.map.end == 0 ? 0 : ((run.map.end - 1) >> UInt64(bits)) + 1
    for index in 0..<min(count, UInt64(room.width * room.height)) {
      let cell = run.map.cell(index, bits: bits)
      let x = room.x + Int(index) % room.width
      let y = room.y + Int(index) / room.width
      if let guest = cell.guest {
        let look = Gradient.look(guest, of: guests)
        let hasBreak = cell.counts[.outOfOrder] > 0
        canvas.set(x, y, look.glyph, role: look.role, marks: hasBreak ? .minority : [])
      } else {
        let state: HostState = cell.counts[.table] > 0 ? .l2Table : .free
        let row = Glyphs.row(state)
        canvas.set(x, y, state == .free ? row.scalar(glyphs) : "T", role: row.role)
      }
    }
  }

  // MARK: Curve

  /// Bars from left to right as the run goes on; the first line says what they are.
  private func drawCurve(_ run: LabRun, _ lab: Lab, _ highest: UInt64, _ room: Rect, on canvas: inout Canvas)
  {
    guard room.height >= 2, room.width > 0 else { return }
    let caption = room.splitTop(1)
    canvas.put("runs over time, 0-\(highest)", at: room.x, room.y, role: .muted, maxWidth: room.width)
    let planned = max(1, min(lab.configuration.samples, lab.total + 1))
    let area = caption.rest
    for column in 0..<area.width {
      let point = column * planned / area.width
      guard point < run.samples.count else { break }
      // Eighths of a row, at least one where there is anything.
      let value = run.samples[point].runs
      var eighths = Int(Double(value) * Double(area.height * 8) / Double(max(1, highest)))
      if value > 0 { eighths = max(1, eighths) }
      for row in 0..<area.height where eighths > row * 8 {
        let part = UInt64(min(8, eighths - row * 8))
        canvas.set(
          area.x + column, area.endY - 1 - row, Glyphs.fill(part, of: 8, glyphs), role: .guestData)
      }
    }
  }

  // MARK: Figures

  private func drawFacts(_ run: LabRun, _ room: Rect, on canvas: inout Canvas) {
    let sample = run.latest
    let size = run.image.geometry.virtualSize
    let difference =
      sample.fileLength >= size
      ? "+" + Notation.compact(sample.fileLength - size) : "-" + Notation.compact(size - sample.fileLength)
    let facts = [
      ("runs", "\(sample.runs), best \(sample.bestPossible)"),
      ("away", "\(sample.away) of \(sample.clusters)"),
      ("file", "\(Notation.compact(sample.fileLength)) \(difference)"),
      ("host", Notation.compact(sample.hostBytes)),
      ("jumps", "\(sample.jumps)"),
      ("reads", "+\(sample.extraReads), order +\(sample.avoidableReads)"),
      ("tables", Notation.compact(sample.tableBytes)),
      ("taken", "\(sample.taken), freed \(sample.freed)"),
    ]
    for (row, fact) in facts.prefix(room.height).enumerated() {
      canvas.put(fact.0, at: room.x, room.y + row, role: .muted, maxWidth: room.width)
      canvas.put(fact.1, at: room.x + 7, room.y + row, role: .number, maxWidth: max(0, room.width - 7))
    }
  }
}
