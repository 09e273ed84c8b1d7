// How the L2 table is drawn: its rows, the selected entry bit by bit, and its subclusters.

import Cartography
import CellScreen
import Qcow
import QcowFormat

/// Where the panes of the table screen stand, frames included; empty for those that are not shown.
struct TableLayout {
  let table: Rect
  let entry: Rect
  let subclusters: Rect

  init(_ frame: ScreenFrame) {
    let body = frame.isTooSmall ? Rect(x: 0, y: 0, width: 0, height: 0) : frame.body
    let hasRoom = frame.isTall && frame.width >= 100
    let entryHeight =
      frame.isOnePane ? (body.height >= 16 ? 6 : 0) : hasRoom ? 9 : body.height >= 25 ? 9 : 8
    let subclusterHeight = hasRoom ? 5 : 0
    let (table, below) = body.splitTop(body.height - entryHeight - subclusterHeight)
    self.table = table
    (entry, subclusters) = below.splitTop(entryHeight)
  }

  /// Rows of the table that are seen.
  var rows: Int { max(1, table.height - 3) }
}

/// Draws a table screen.
struct TableDrawing {
  private let screen: TableScreen
  private let layout: TableLayout
  private let desk: Desk
  private var geometry: Geometry { desk.geometry }

  init(_ screen: TableScreen, _ layout: TableLayout) {
    self.screen = screen
    self.layout = layout
    desk = screen.desk
  }

  func draw(on canvas: inout Canvas) {
    guard let view = screen.view else {
      let inner = canvas.frame(
        desk.frame.body, title: "5 L2 table", footer: "", focused: true, glyphs: desk.glyphs)
      canvas.put(
        "the table of L1[\(screen.l1Index)] cannot be read", at: inner.x + 1, inner.y, role: .error,
        maxWidth: inner.width)
      return
    }
    let wide = layout.table.width >= 110
    let fold = desk.key(.fold)
    let tables = "\(desk.key(.previousTable)) \(desk.key(.nextTable))"
    let footer =
      "\(view.usedCount) of \(view.entryCount) "
      + (wide
        ? "entries in use   \(fold) show/fold unused   \(tables) previous/next table"
        : "used   \(fold) fold   \(tables) prev/next table")
    let inner = canvas.frame(
      layout.table, title: "5 L2 table", footer: footer, focused: true, glyphs: desk.glyphs)
    drawRows(view, inner, wide, on: &canvas)
    if !layout.entry.isEmpty { drawEntry(view, wide, on: &canvas) }
    if !layout.subclusters.isEmpty { drawSubclusterPane(view, on: &canvas) }
  }

  private func drawRows(_ view: L2View, _ room: Rect, _ wide: Bool, on canvas: inout Canvas) {
    let extended = geometry.hasExtendedL2
    let guestWidth = max(wide ? 8 : 7, String(max(1, geometry.virtualSize) - 1, radix: 16).count)
    let hostWidth = max(6, String(max(1, desk.host.total) - 1, radix: 16).count)
    let indexWidth = 6
    let guestX = room.x + 1 + indexWidth + (wide ? 2 : 1)
    let hostX = guestX + guestWidth + (wide ? 2 : 1)
    let flagX = hostX + hostWidth + (wide ? 3 : 2)
    let mapX = flagX + (wide ? 5 : 2)
    let meaningX = mapX + (extended ? 34 : 0)
    // A narrow screen shows the bits around the selected one.
    let bitCount = min(Self.bitHeading.count, max(0, room.endX - mapX))
    let firstBit = max(0, min(screen.subcluster - bitCount / 2, Self.bitHeading.count - bitCount))
    let bits = firstBit..<firstBit + bitCount
    // Heading.
    canvas.put(TextWidth.padded("index", to: indexWidth, .right), at: room.x + 1, room.y, role: .muted)
    canvas.put("guest", at: guestX, room.y, role: .muted)
    canvas.put("host", at: hostX, room.y, role: .muted)
    canvas.put(wide ? "flg" : "C", at: flagX, room.y, role: .muted)
    if extended {
      canvas.put(
        String(Self.bitHeading.dropFirst(bits.lowerBound).prefix(bitCount)), at: mapX, room.y, role: .muted)
    }
    let countsWidth = extended && wide ? 8 : 0
    if wide || !extended {
      if extended { canvas.put("al ze", at: meaningX, room.y, role: .muted) }
      canvas.put("meaning", at: meaningX + countsWidth, room.y, role: .muted, maxWidth: room.endX - meaningX)
      let descriptorX = room.endX - 18
      if wide { canvas.put("descriptor", at: descriptorX, room.y, role: .muted) }
    }
    let selected = view.rowNumber(ofEntry: screen.entry)
    let height = room.height - 1
    for offset in 0..<max(0, height) {
      let number = screen.top + offset
      guard let row = view.row(number) else { break }
      let y = room.y + 1 + offset
      switch row {
      case .entry(let entry):
        canvas.put(
          TextWidth.padded(String(entry.index), to: indexWidth, .right), at: room.x + 1, y, role: .number)
        canvas.put(
          TextWidth.truncated(
            Notation.hex(entry.guest.value, width: guestWidth), to: guestWidth, glyphs: desk.glyphs),
          at: guestX, y)
        // An address behind the end of the file may be longer than the column.
        let host = entry.host.map { Notation.hex($0.value, width: 6) } ?? "-"
        canvas.put(TextWidth.truncated(host, to: hostWidth, glyphs: desk.glyphs), at: hostX, y)
        let flags = wide ? entry.flags : String(entry.flags.prefix(1))
        canvas.put(flags, at: flagX, y)
        if extended {
          drawSubclusters(
            entry.subclusters, bits, at: mapX, y, selected: number == selected ? screen.subcluster : nil,
            on: &canvas)
        }
        if wide && extended {
          canvas.put(
            TextWidth.padded(String(entry.allocatedCount), to: 2, .right), at: meaningX, y, role: .number)
          canvas.put(
            TextWidth.padded(String(entry.zeroCount), to: 2, .right), at: meaningX + 3, y, role: .number)
        }
        if wide || !extended {
          let meaningRoom = (wide ? room.endX - 19 : room.endX) - meaningX - countsWidth
          canvas.put(
            TextWidth.truncated(entry.meaning, to: max(0, meaningRoom), glyphs: desk.glyphs),
            at: meaningX + countsWidth, y)
        }
        if wide { canvas.put(Notation.entry(entry.entry.descriptor), at: room.endX - 18, y, role: .number) }
        if desk.isHighlighted(clusters(of: row), .guest) {
          canvas.restyle(
            Rect(
              x: room.x + 1 + indexWidth, y: y, width: max(0, room.endX - room.x - 1 - indexWidth), height: 1),
            adding: .twin)
        }
        if desk.change?.changed(guest: entry.guest.value >> UInt64(geometry.clusterBits)) == true {
          canvas.set(room.x + 1, y, "~", role: .changed)
          canvas.restyle(Rect(x: guestX, y: y, width: max(0, meaningX - guestX), height: 1), adding: .changed)
        }
      case .unused, .pastEnd:
        canvas.put(TextWidth.padded("*", to: indexWidth, .right), at: room.x + 1, y, role: .muted)
        canvas.put(
          wide ? view.text(of: row) : short(view.text(of: row)), at: guestX, y, role: .muted,
          maxWidth: max(0, room.endX - guestX))
        if desk.isHighlighted(clusters(of: row), .guest) {
          canvas.restyle(
            Rect(x: guestX, y: y, width: max(0, room.endX - guestX), height: 1), adding: .twin)
        }
      }
      if number == selected {
        // The mark and the index in one style are enough to find the row, and cheap to move on.
        canvas.set(room.x, y, ">", role: .text)
        let mark = Rect(x: room.x, y: y, width: 1 + indexWidth, height: 1)
        canvas.restyle(mark, role: .text)
        canvas.restyle(mark, adding: .selected)
        let isOnBit = extended && isEntry(row) && bits.contains(screen.subcluster)
        canvas.cursor = Point(x: isOnBit ? mapX + screen.subcluster - bits.lowerBound : room.x, y: y)
      }
    }
  }

  /// The clusters of the disk that the entries of a row stand for.
  private func clusters(of row: L2View.Row) -> Range<UInt64> {
    switch row {
    case .entry(let entry):
      let cluster = entry.guest.value >> UInt64(geometry.clusterBits)
      return cluster..<cluster + 1
    case .unused(let first, let count), .pastEnd(let first, let count):
      let start =
        geometry.guestOffset(l1Index: screen.l1Index, l2Index: first).value >> UInt64(geometry.clusterBits)
      return start..<start + UInt64(max(0, count))
    }
  }

  /// The words without their explanation in brackets.
  private func short(_ text: String) -> String {
    String(text.prefix { $0 != "(" }).split(separator: " ").joined(separator: " ").filter { $0 != "," }
  }

  private func isEntry(_ row: L2View.Row) -> Bool {
    if case .entry = row { return true }
    return false
  }

  private func drawEntry(_ view: L2View, _ wide: Bool, on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.entry, title: "6 Entry, bit by bit",
      footer: (wide
        ? "\(desk.key(.hex)) bytes of this entry   \(desk.key(.follow)) go to the host cluster"
        : "\(desk.key(.hex)) bytes   \(desk.key(.follow)) go to host")
        + (desk.refusalOfChange == nil && desk.session.refusal == nil
          ? "   \(desk.key(.write)) write here" : ""),
      glyphs: desk.glyphs
    ).inset(1, 0)
    let detail = view.detail(of: screen.entry, subcluster: screen.subcluster)
    var y = inner.y
    if wide {
      canvas.put(detail.title, at: inner.x, y, role: .paneTitle, maxWidth: inner.width)
      y += 1
    }
    // Before the change, so that one sees what it did.
    let cluster =
      (geometry.guestOffset(l1Index: screen.l1Index, l2Index: screen.entry).value)
      >> UInt64(geometry.clusterBits)
    let before = desk.change?.entryBefore(cluster)
    for line in detail.lines {
      let labelWidth = wide ? 12 : 6
      let valueWidth = wide ? 20 : 17
      let room = max(1, inner.width - labelWidth - valueWidth)
      for (number, text) in TextWrap.wrap(
        wide ? line.text : line.text.replacing("bits 55-9 ", with: ""), width: room
      ).enumerated() where y < inner.endY {
        if number == 0 {
          canvas.put(
            wide ? line.label : String((line.label.split(separator: " ").first ?? "").prefix(5)),
            at: inner.x + (wide ? 2 : 0), y, role: .muted, maxWidth: labelWidth)
          canvas.put(
            line.value, at: inner.x + labelWidth + (wide ? 2 : 0), y, role: .number, maxWidth: valueWidth)
        }
        canvas.put(text, at: inner.x + labelWidth + valueWidth, y, maxWidth: room)
        y += 1
      }
    }
    if let before, y < inner.endY {
      let words =
        "before the last operation  \(Notation.entry(before.descriptor))"
        + (geometry.hasExtendedL2
          ? "  alloc \(Notation.hex(UInt64(before.bitmap.allocated), width: 8))  zero \(Notation.hex(UInt64(before.bitmap.zero), width: 8))"
          : "")
      canvas.put("~", at: inner.x, y, role: .changed)
      canvas.put(words, at: inner.x + 2, y, role: .changed, maxWidth: inner.width - 2)
    }
  }

  private func drawSubclusterPane(_ view: L2View, on canvas: inout Canvas) {
    let extended = geometry.hasExtendedL2
    let inner = canvas.frame(
      layout.subclusters, title: extended ? "Subclusters of this cluster" : "No subclusters",
      footer: extended
        ? "\(desk.key(Movement.left.id))/\(desk.key(Movement.right.id)) subcluster" : "", glyphs: desk.glyphs
    ).inset(1, 0)
    guard extended else {
      canvas.put(
        "this image has standard L2 entries: a cluster is all or nothing, a write to part of a new one copies the rest",
        at: inner.x, inner.y, role: .muted, maxWidth: inner.width)
      return
    }
    var unfolded = view
    unfolded.isFolded = false
    guard case .entry(let row)? = unfolded.row(unfolded.rowNumber(ofEntry: screen.entry)) else { return }
    let size = geometry.subclusterSize
    // A ruler that never changes and letters without gaps: a step to another entry writes 32 bytes here.
    canvas.put(
      "0       8       16      24     31", at: inner.x, inner.y, role: .muted, maxWidth: inner.width)
    let legend = Legend.line([
      .data: "data", .zero: "zero", .zeroKept: "zero, cluster kept",
      .preallocated: "reserved, never written", .none: "none",
    ])
    canvas.put(legend, at: inner.x + 36, inner.y, role: .muted, maxWidth: max(0, inner.width - 36))
    for (index, state) in row.subclusters.enumerated() where index < inner.width {
      canvas.set(
        inner.x + index, inner.y + 1, Legend.guest(state).letter, role: .text,
        marks: index == screen.subcluster ? .selected : [])
    }
    let start = UInt64(screen.subcluster) * size
    let guest =
      "subcluster \(screen.subcluster): guest 0x\(Notation.hex(row.guest.value + start)) +\(Notation.compact(size))"
    let host = row.host.map { "host 0x\(Notation.hex($0.value + start))" } ?? "no host cluster"
    let state =
      row.subclusters.indices.contains(screen.subcluster)
      ? Legend.guest(row.subclusters[screen.subcluster]).explanation : ""
    canvas.put("\(guest)   \(host)   \(state)", at: inner.x, inner.y + 2, maxWidth: inner.width)
  }

  /// One letter per subcluster.
  /// The numbers of the subclusters above their bits.
  private static let bitHeading = "0       8       16      24      "

  private func drawSubclusters(
    _ states: [GuestState], _ bits: Range<Int>, at x: Int, _ y: Int, selected: Int?, on canvas: inout Canvas
  ) {
    for index in bits.clamped(to: states.indices) {
      let glyph = Glyphs.row(states[index])
      // Bits are letters in both glyph sets.
      canvas.set(
        x + index - bits.lowerBound, y, glyph.ascii, role: glyph.role, marks: index == selected ? .twin : [])
    }
  }
}
