// How the screen of guests is drawn: counts, breakpoints and what is held up, and the newest of the log below.

import Cartography
import CellScreen
import Live
import Qcow
import QcowFormat
import Storage

struct LiveDrawing {
  private let screen: LiveScreen
  private let frame: ScreenFrame
  private var desk: Desk { screen.desk }

  init(_ screen: LiveScreen, _ frame: ScreenFrame) {
    self.screen = screen
    self.frame = frame
  }

  func draw(on canvas: inout Canvas) {
    guard let live = screen.live else { return drawNobody(on: &canvas) }
    let counts = Self.counts(live)
    let (upper, rest) = frame.body.splitTop(min(frame.body.height / 3 + 2, Self.rows(counts, frame) + 2))
    drawCounts(live, counts, upper, on: &canvas)
    let (middle, lower) =
      frame.isOnePane && screen.held != nil
      ? (rest, Rect(x: 0, y: 0, width: 0, height: 0))
      : rest.splitTop(screen.held == nil ? min(5, rest.height / 2) : rest.height * 2 / 3)
    if !middle.isEmpty { drawHeld(live, middle, on: &canvas) }
    if lower.height >= 3 { drawLog(live, lower, on: &canvas) }
  }

  private func drawNobody(on canvas: inout Canvas) {
    let inner = canvas.frame(frame.body, title: "Guests", footer: "", focused: true, glyphs: desk.glyphs)
      .inset(1, 0)
    let words = [
      "No guest uses the disk. \(CommandID.serve) gives it to NBD clients: a QEMU guest, nbdcopy, fio, nbdfuse, the "
        + "kernel. What they do is shown on the maps as it happens, and counted here.",
      desk.session.mode == .readWrite
        ? "They will write the file itself."
        : desk.session.mode == .readOnly
          ? "They will only read." : "The file stays as it is: what they write goes to a scratch file.",
      "\(CommandID.breakpoint) copy, table, refcounts, rounded, guest OFF LEN, host OFF LEN hold a request up before it is "
        + "done.",
    ]
    var y = inner.y
    for text in words {
      for line in TextWrap.wrap(text, width: inner.width) where y < inner.endY {
        canvas.put(line, at: inner.x, y)
        y += 1
      }
      y += 1
    }
    canvas.cursor = Point(x: inner.x, y: inner.y)
  }

  // MARK: Counts

  /// Names and values, the most wanted first.
  static func counts(_ live: LiveDisk) -> [(name: String, value: String)] {
    let counts = live.shared.counts
    let figures = live.figures
    func size(_ bytes: UInt64) -> String { Notation.compact(bytes) }
    func rate(_ bytes: Double) -> String { size(UInt64(max(0, bytes))) + "/s" }
    let grouped = Notation.grouped
    let factor = figures.amplification.map { value in
      let hundredths = Int((value * 100).rounded())
      return "\(hundredths / 100).\(hundredths % 100 < 10 ? "0" : "")\(hundredths % 100)"
    }
    return [
      ("requests/s", live.rates.requests.map { grouped(UInt64(max(0, $0))) } ?? "not known yet"),
      ("written/s", rate(live.rates.bytesWritten)), ("read/s", rate(live.rates.bytesRead)),
      ("reads", "\(grouped(counts.reads)), \(size(counts.bytesRead))"),
      ("writes", "\(grouped(counts.writes)), \(size(counts.bytesWritten))"),
      ("zero-writes", grouped(counts.zeroWrites)), ("discards", grouped(counts.discards)),
      ("flushes", grouped(counts.flushes)), ("failed", grouped(counts.failures)),
      ("amplification", factor ?? "nothing written"),
      ("copied", "\(grouped(figures.copies)) times, \(size(figures.copiedBytes))"),
      ("new and zeroed", size(figures.zeroedBytes)),
      ("tables written", size(figures.metadataBytes)), ("L2 entries", grouped(figures.entriesChanged)),
      ("refcounts", grouped(figures.refcountUpdates)), ("clusters taken", grouped(figures.clustersTaken)),
      ("clusters freed", grouped(figures.clustersFreed)), ("new L2 tables", grouped(figures.tablesAdded)),
      ("new refcount blocks", grouped(figures.blocksAdded)), ("given back", size(figures.bytesPunched)),
      (
        "file grew by",
        figures.growth < 0 ? "-" + size(figures.growth.magnitude) : size(figures.growth.magnitude)
      ),
    ]
  }

  private static let column = 40

  private static func columns(_ frame: ScreenFrame) -> Int { max(1, (frame.body.width - 2) / column) }
  private static func rows(_ counts: [(name: String, value: String)], _ frame: ScreenFrame) -> Int {
    (counts.count + columns(frame) - 1) / columns(frame)
  }

  private func drawCounts(
    _ live: LiveDisk, _ counts: [(name: String, value: String)], _ area: Rect, on canvas: inout Canvas
  ) {
    let clients = desk.server?.clients ?? 0
    let inner = canvas.frame(
      area, title: "1 Counted since it is served",
      footer: "\(counted(clients, "client")), \(live.lines.isEmpty ? "nothing asked yet" : "exact")",
      focused: false,
      glyphs: desk.glyphs
    ).inset(1, 0)
    let columns = Self.columns(frame)
    let rows = min(inner.height, Self.rows(counts, frame))
    for (index, count) in counts.prefix(rows * columns).enumerated() {
      let x = inner.x + index / rows * (inner.width / columns)
      let y = inner.y + index % rows
      let width = inner.width / columns - 1
      let used = canvas.put(TextWidth.padded(count.name, to: min(20, width / 2)), at: x, y, role: .muted)
      canvas.put(count.value, at: x + used, y, role: .number, maxWidth: max(0, width - used))
    }
  }

  // MARK: Held

  private func drawHeld(_ live: LiveDisk, _ area: Rect, on canvas: inout Canvas) {
    let points = live.gate.breakpoints
    let list = points.isEmpty ? "no breakpoints" : "stops at: " + points.map(\.words).joined(separator: ", ")
    guard let held = screen.held else {
      let inner = canvas.frame(
        area, title: "2 Breakpoints", footer: "\(Notation.grouped(live.gate.count)) held up so far",
        focused: true,
        glyphs: desk.glyphs
      ).inset(1, 0)
      canvas.put(TextWidth.truncated(list, to: inner.width, glyphs: desk.glyphs), at: inner.x, inner.y)
      let offer =
        "\(desk.key(.breakpoint, "next")) holds the next request; \(CommandID.breakpoint) copy, table, refcounts, rounded, "
        + "guest OFF LEN, host OFF LEN"
      for (row, line) in TextWrap.wrap(offer, width: inner.width).prefix(max(0, inner.height - 1))
        .enumerated()
      {
        canvas.put(line, at: inner.x, inner.y + 1 + row, role: .muted)
      }
      canvas.cursor = Point(x: inner.x, y: inner.y)
      return
    }
    let waited = Int((ContinuousClock.now - held.since) / .seconds(1))
    let inner = canvas.frame(
      area, title: "2 Held up for \(waited) s", footer: list, focused: true, glyphs: desk.glyphs
    ).inset(1, 0)
    let text = LiveWords.request(held.request.kind, held.request.offset, held.request.length)
    var lines: [(String, Role)] = [
      ("client \(held.asker): \(text)", .key), ("it is \(held.reason.meaning)", .text),
      (
        held.isDone
          ? "done on this side; the file has nothing of it yet:" : "the guest waits; it would do:", .muted
      ),
    ]
    lines += screen.planned.map { ("  " + $0, .text) }
    let way =
      held.isDone
      ? "\(desk.key(.letGo)) lets it go, as it is done; \(desk.key(.step)) shows its writes one by one, "
        + "\(desk.key(.undo)) takes it back"
      : "\(desk.key(.letGo)) lets it go, \(desk.key(.doHeld)) does it on this side first, "
        + "\(desk.key(.breakpoint, "next")) lets it go and holds the next"
    let words = TextWrap.wrap(way, width: inner.width)
    let room = max(1, inner.height - words.count)
    for (row, line) in lines.prefix(room).enumerated() {
      canvas.put(
        TextWidth.truncated(line.0, to: inner.width, glyphs: desk.glyphs), at: inner.x, inner.y + row,
        role: line.1)
    }
    for (row, line) in words.prefix(max(0, inner.height - min(room, lines.count))).enumerated() {
      canvas.put(line, at: inner.x, inner.y + min(room, lines.count) + row, role: .message)
    }
    canvas.cursor = Point(x: inner.x, y: inner.y)
  }

  // MARK: Log

  private func drawLog(_ live: LiveDisk, _ area: Rect, on canvas: inout Canvas) {
    let inner = canvas.frame(
      area, title: "3 What was asked, the newest first", footer: "a sample where much comes at once",
      focused: false,
      glyphs: desk.glyphs
    ).inset(1, 0)
    LiveLog.draw(live.lines.reversed().dropFirst(screen.lifted), in: inner, desk, on: &canvas)
  }
}

/// Lines of the log of guests.
enum LiveLog {
  static func draw(_ lines: some Sequence<LiveLine>, in area: Rect, _ desk: Desk, on canvas: inout Canvas) {
    for (row, line) in lines.prefix(area.height).enumerated() {
      let used = canvas.put(
        TextWidth.truncated(line.text, to: area.width, glyphs: desk.glyphs), at: area.x, area.y + row)
      let changes = line.changes.joined(separator: "   ")
      let room = area.width - used - 3
      guard room > 10, !changes.isEmpty else { continue }
      canvas.put(
        TextWidth.truncated(changes, to: room, glyphs: desk.glyphs), at: area.x + used + 3, area.y + row,
        role: .muted)
    }
  }
}
