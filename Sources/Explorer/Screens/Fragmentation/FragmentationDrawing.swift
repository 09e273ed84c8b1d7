// How the fragmentation screen is drawn: the plot with its axes, the numbers, the lengths of the runs, and the
// regions where most could be saved.

import Cartography
import CellScreen
import Qcow
import QcowFormat

/// Where the panes of the fragmentation screen stand, and the lines below them; empty for those not shown.
struct FragmentationLayout {
  private(set) var plot = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var numbers = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var lengths = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var regions = Rect(x: 0, y: 0, width: 0, height: 0)
  let isOnePane: Bool

  init(_ frame: ScreenFrame, pane: Int) {
    isOnePane = frame.isOnePane
    guard !frame.isTooSmall else { return }
    if isOnePane {
      switch pane {
      case 2: numbers = frame.body
      case 3: lengths = frame.body
      default: plot = frame.body
      }
      return
    }
    let (panes, below) = frame.body.splitBottom(frame.isTall ? 11 : 4)
    if frame.isTall { (lengths, regions) = below.splitTop(9) } else { regions = below }
    (plot, numbers) = panes.splitLeft(panes.width - (frame.width >= 110 ? 40 : 27))
  }

  /// Letters of an offset on the axis of the plot.
  static let labelWidth = 6
  /// The cells of the plot, between the axes.
  var cells: Rect {
    let (cells, _) = plot.inset(1, 1).splitBottom(2)
    return cells.splitLeft(Self.labelWidth + 1).rest
  }
}

/// Draws a fragmentation screen.
struct FragmentationDrawing {
  private let screen: FragmentationScreen
  private let layout: FragmentationLayout
  private let desk: Desk
  private var geometry: Geometry { desk.geometry }

  init(_ screen: FragmentationScreen, _ layout: FragmentationLayout) {
    self.screen = screen
    self.layout = layout
    desk = screen.desk
  }

  func draw(_ plot: DotPlot, _ text: FragmentationWords, on canvas: inout Canvas) {
    if !layout.plot.isEmpty { drawPlot(plot, on: &canvas) }
    if !layout.numbers.isEmpty { drawNumbers(text, on: &canvas) }
    if !layout.lengths.isEmpty { drawLengths(text, on: &canvas) }
    if !layout.regions.isEmpty { drawRegions(text, layout.regions, on: &canvas) }
  }

  // MARK: Plot

  private func drawPlot(_ plot: DotPlot, on canvas: inout Canvas) {
    let isWide = layout.plot.width >= 72
    let choice = screen.choice
    guard let frame = screen.grid else { return }
    func size(_ clusters: UInt64) -> String { Notation.compact(clusters << UInt64(geometry.clusterBits)) }
    func key(_ dot: DotGlyph, _ word: String) -> String { "\(Glyphs.dot(dot).scalar(desk.glyphs)) \(word)" }
    let keys = [key(.many, "many"), key(.some, "some"), key(.few, "few")]
    let dot = "a dot is \(size(frame.dots.guestStep)) by \(size(frame.dots.hostStep))"
    let footer =
      frame.isBraille
      ? dot + (layout.plot.width >= 58 ? "   " : " ") + key(.compressed, "compressed")
      : layout.plot.width >= 58
        ? "a column is \(size(frame.guestStep))   "
          + (keys + [key(.compressed, "compressed")]).joined(separator: "  ")
        : "column \(size(frame.guestStep))  " + (keys + [key(.compressed, "compr.")]).joined(separator: " ")
    canvas.frame(
      layout.plot,
      title: (isWide ? "1 Guest offset (across) against host offset (up), " : "1 Guest / host, ")
        + choice.rawValue, footer: footer, focused: screen.pane == 1, glyphs: desk.glyphs)
    let room = layout.cells
    guard !room.isEmpty else { return }
    drawAxes(frame, room, size, on: &canvas)
    let most = min(frame.guestStep, frame.hostStep)
    for row in 0..<frame.rows {
      for column in 0..<frame.columns {
        let cell = frame.cell(column, row, of: plot)
        guard let dot = Self.dot(cell, choice, of: most) else { continue }
        let glyph = Glyphs.dot(dot)
        // Compressed clusters have a letter of their own, since dots have no shape.
        let scalar =
          frame.isBraille && dot != .compressed
          ? frame.braille(column, row, of: plot, choice) : glyph.scalar(desk.glyphs)
        canvas.set(room.x + column, room.endY - 1 - row, scalar, role: glyph.role)
      }
    }
    guard let (column, row) = screen.cell else { return }
    let point = Point(x: room.x + column, y: room.endY - 1 - row)
    canvas.restyle(Rect(x: point.x, y: point.y, width: 1, height: 1), adding: .selected)
    canvas.cursor = point
  }

  /// The dot for a cell that holds `most` clusters at most.
  private static func dot(_ cell: DotPlot.Cell, _ choice: ClusterChoice, of most: UInt64) -> DotGlyph? {
    let count = cell.count(choice)
    guard count > 0 else { return nil }
    if choice != .standard && cell.compressed > cell.standard || choice == .compressed { return .compressed }
    if count >= max(1, most / 4) { return .many }
    return count >= max(1, most / 32) ? .some : .few
  }

  private func drawAxes(
    _ frame: PlotGrid, _ room: Rect, _ size: (UInt64) -> String, on canvas: inout Canvas
  ) {
    let box = Glyphs.box(desk.glyphs, focused: false)
    let labels = FragmentationLayout.labelWidth
    for y in room.y..<room.endY { canvas.set(room.x - 1, y, box.vertical, role: .border) }
    for x in room.x..<room.endX { canvas.set(x, room.endY, box.horizontal, role: .border) }
    canvas.set(room.x - 1, room.endY, box.bottomLeft, role: .border)
    func label(_ row: Int, _ text: String) {
      canvas.put(
        TextWidth.padded(text, to: labels - 1, .right), at: room.x - 1 - labels, room.endY - 1 - row,
        role: .muted,
        maxWidth: labels)
    }
    if frame.rows >= 12 {
      for row in [frame.rows / 3, frame.rows * 2 / 3] { label(row, size(frame.hostStart(row))) }
    }
    label(0, size(frame.host.lowerBound))
    if frame.rows > 2 { label(frame.rows - 1, size(frame.host.upperBound)) }
    // Offsets below the columns where they begin.
    let count = room.width >= 60 ? 4 : 3
    for part in 0..<count {
      let column = frame.columns * part / count
      if part > 0 && column < part * 8 { continue }
      canvas.put(
        size(frame.guestStart(column)), at: room.x + column, room.endY + 1, role: .muted,
        maxWidth: max(0, room.endX - room.x - column))
    }
    let end = size(frame.guest.upperBound)
    let x = room.x + frame.columns - TextWidth.width(end)
    if x > room.x + frame.columns * (count - 1) / count + 8 {
      canvas.put(end, at: x, room.endY + 1, role: .muted)
    }
  }

  // MARK: Numbers

  private func drawNumbers(_ text: FragmentationWords, on canvas: inout Canvas) {
    let isWide = layout.numbers.width >= 38
    let result = text.fragmentation
    let footer =
      result.isComplete
      ? "\(desk.key(.copy)) copy\(isWide ? " as text" : "")   \(desk.key(.json)) JSON"
      : "so far, \(Int(result.progress * 100))%"
    let inner = canvas.frame(
      layout.numbers, title: "2 Numbers, " + screen.choice.rawValue, footer: footer,
      focused: screen.pane == 2, glyphs: desk.glyphs
    ).inset(1, 0)
    var lines = text.numbers(screen.choice, isWide: isWide)
    if lines.count > inner.height { lines.removeAll { $0.label.isEmpty } }
    for (offset, line) in lines.enumerated() where offset < inner.height {
      let y = inner.y + offset
      // Values of huge images go before words.
      let width = TextWidth.width(line.value)
      let room = width == 0 ? inner.width : max(0, inner.width - width - 1)
      canvas.put(TextWidth.truncated(line.label, to: room, glyphs: desk.glyphs), at: inner.x, y)
      canvas.put(
        line.value, at: max(inner.x, inner.endX - width), y, role: .number, maxWidth: inner.width)
    }
    if canvas.cursor == nil { canvas.cursor = Point(x: inner.x, y: inner.y) }
  }

  // MARK: Run lengths

  private func drawLengths(_ text: FragmentationWords, on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.lengths, title: "3 How long are the runs?", footer: "", focused: screen.pane == 3,
      glyphs: desk.glyphs
    ).inset(1, 0)
    let figures = text.fragmentation.figures(screen.choice)
    let isWide = inner.width >= 70
    let barX = inner.x + (isWide ? 43 : 34)
    let room = inner.endX - barX - 1
    // As many percent per letter as the room needs.
    let step = max(1, (100 + max(1, room) - 1) / max(1, room))
    let heading = isWide ? "share of the clusters, one letter is \(step)%" : "one letter is \(step)%"
    canvas.put(
      TextWidth.padded("length", to: 10, .right) + TextWidth.padded("runs", to: 11, .right)
        + TextWidth.padded(isWide ? "clusters" : "", to: isWide ? 12 : 5, .right), at: inner.x, inner.y,
      role: .muted,
      maxWidth: inner.width)
    canvas.put(heading, at: barX, inner.y, role: .muted, maxWidth: max(0, inner.endX - barX))
    for (offset, bucket) in figures.runs.buckets.enumerated() where offset + 1 < inner.height {
      let y = inner.y + 1 + offset
      let share = FragmentationWords.percent(bucket.clusters, of: figures.clusters)
      canvas.put(TextWidth.padded(bucket.label, to: 10, .right), at: inner.x, y)
      canvas.put(TextWidth.padded(String(bucket.runs), to: 11, .right), at: inner.x + 10, y, role: .number)
      if isWide {
        canvas.put(
          TextWidth.padded(String(bucket.clusters), to: 12, .right), at: inner.x + 21, y, role: .number)
      }
      let percent = Int(share.rounded())
      canvas.put(
        TextWidth.padded("\(percent)%", to: isWide ? 7 : 6, .right), at: barX - (isWide ? 9 : 8), y,
        role: .number)
      let length = percent / step + (percent % step > 0 ? 1 : 0)
      let bar = Rect(x: barX, y: y, width: min(max(0, room), length), height: 1)
      let glyph = Glyphs.guest(.data)
      canvas.fill(bar, glyph.scalar(desk.glyphs), role: glyph.role)
    }
    if canvas.cursor == nil { canvas.cursor = Point(x: inner.x, y: inner.y) }
    guard layout.isOnePane, inner.height > 8 else { return }
    let below = inner.splitTop(7).rest
    drawRegions(text, below, on: &canvas)
  }

  /// The worst parts of the disk, and what rewriting the first one would mean.
  private func drawRegions(
    _ text: FragmentationWords, _ area: Rect, on canvas: inout Canvas
  ) {
    let isWide = area.width >= 100
    let choice = screen.choice
    var lines: [String] = []
    if layout.lengths.isEmpty {
      let figures = text.fragmentation.figures(choice)
      let parts = figures.runs.buckets.map { bucket in
        "\(bucket.label): \(Int(FragmentationWords.percent(bucket.clusters, of: figures.clusters).rounded()))%"
      }
      lines.append("3 run length  " + parts.joined(separator: "  "))
    }
    let worst = text.worst(choice, limit: 4)
    if let first = worst.first {
      let parts = worst.map { text.text(of: $0) }.joined(separator: "   ")
      lines.append(
        (isWide ? "worst guest regions  " : "worst  ") + parts
          + (isWide ? "   (\(desk.key(.worst)) plots them)" : ""))
      lines.append("dry run: " + text.text(of: text.rewrite(first), short: !isWide))
    } else {
      let figures = text.fragmentation.figures(choice)
      lines.append("no region has more runs than it must have")
      lines.append(
        figures.isInOrder
          ? "the file follows the disk: rewriting would change nothing"
          : "the regions themselves lie in another order than on the disk")
    }
    if layout.lengths.isEmpty && screen.pane == 3 {
      canvas.set(area.x, area.y, ">", role: .text)
    }
    for (offset, line) in lines.enumerated() where offset < area.height {
      canvas.put(
        TextWidth.truncated(line, to: max(0, area.width - 1), glyphs: desk.glyphs), at: area.x + 1,
        area.y + offset)
    }
  }
}
