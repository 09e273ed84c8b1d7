// How the screen of snapshots is drawn: the list with its numbers, the disk as each row sees it, and what the
// selected row means.

import Cartography
import CellScreen
import Qcow
import QcowFormat

struct SnapshotsDrawing {
  private let screen: SnapshotsScreen
  private let layout: StripLayout
  private let words: SnapshotsWords
  private var desk: Desk { screen.desk }

  init(_ screen: SnapshotsScreen, _ layout: StripLayout) {
    self.screen = screen
    self.layout = layout
    words = SnapshotsWords(screen)
  }

  func draw(on canvas: inout Canvas) {
    if !layout.list.isEmpty { drawList(on: &canvas) }
    if !layout.strips.isEmpty {
      switch screen.view {
      case .disks: drawStrips(on: &canvas)
      case .pairs, .layers: SharesDrawing(screen, layout, window).draw(on: &canvas)
      }
    }
    if !layout.meaning.isEmpty { drawMeaning(on: &canvas) }
  }

  private var window: ListWindow {
    ListWindow(count: screen.rows.count, height: layout.listRows, selected: screen.selected, top: screen.top)
  }

  // MARK: The list

  private func drawList(on canvas: inout Canvas) {
    let isWide = layout.list.width >= 100
    let isNarrow = layout.list.width < 78
    let footer =
      isNarrow
      ? "\(desk.key(.follow)) explore"
      : "\(desk.key(.follow)) explore   clusters of \(Notation.compact(desk.session.image.geometry.clusterSize)), tables included"
    let inner = canvas.frame(
      layout.list, title: "1 Who holds what", footer: footer, focused: true, glyphs: desk.glyphs)
    var columns: [Table.Column] = [
      .init("id", width: 3, alignment: .right, role: .muted),
      .init("name", width: isWide ? 22 : isNarrow ? 14 : 15),
    ]
    if !isNarrow {
      columns += [
        .init("taken", width: isWide ? 19 : 10, role: .muted),
        .init("size", width: 6, alignment: .right, role: .number),
        .init("VM", width: 6, alignment: .right, role: .number),
      ]
    }
    columns.append(.init("clusters", width: isWide ? 11 : 9, alignment: .right, role: .number))
    if !isNarrow {
      columns.append(
        .init(isWide ? "of the disk" : "of disk", width: isWide ? 12 : 9, alignment: .right, role: .number))
    }
    columns.append(.init("only here", width: isWide ? 11 : 9, alignment: .right, role: .number))
    if isWide { columns.append(.init("that is", width: 8, alignment: .right, role: .number)) }
    let rows = screen.rows
    Table.draw(
      columns: columns, window: window, in: inner, on: &canvas, focused: true, glyphs: desk.glyphs
    ) { index in
      let row = rows[index]
      let mark = screen.shown == row && row != .now ? "*" : ""
      var fields = [Table.Field(words.id(row)), Table.Field(mark + words.name(row))]
      if !isNarrow {
        let taken = words.taken(row)
        fields += [
          Table.Field(isWide ? taken : String(taken.prefix(10))), Table.Field(words.size(row)),
          Table.Field(words.state(row)),
        ]
      }
      let holding = screen.holding(row)
      func count(_ value: (DiskHolding) -> UInt64) -> Table.Field {
        if case .layer = row { return Table.Field("") }
        return Table.Field(holding.map { String(value($0)) } ?? "...")
      }
      if case .layer = row {
        // Of a layer below, the clusters that its data would fill.
        let size = desk.session.image.geometry.clusterSize
        let share = screen.share(row)
        func clusters(_ bytes: UInt64?) -> Table.Field {
          if share?.isMissing == true { return Table.Field("?") }
          return Table.Field(
            screen.layerShares.isDone ? bytes.map { String(($0 + size - 1) / size) } ?? "?" : "...")
        }
        fields.append(clusters(share?.data))
        if !isNarrow { fields.append(clusters(share?.read)) }
        return fields
      }
      fields.append(count(\.used))
      if !isNarrow { fields.append(row == .now ? Table.Field("") : count(\.withDisk)) }
      fields.append(count(\.alone))
      if isWide {
        let size = desk.session.image.geometry.clusterSize
        fields.append(Table.Field(holding.map { Notation.compact($0.alone &* size) } ?? ""))
      }
      return fields
    }
  }

  // MARK: The disk as each sees it

  private func drawStrips(on canvas: inout Canvas) {
    let title =
      layout.strips.width >= 76 ? "2 The guest disk as each sees it, 0 to its end" : "2 The disk of each"
    let inner = canvas.frame(
      layout.strips, title: title, footer: DiskStrip.legend("everything has a host cluster", desk.glyphs),
      focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    let names = min(16, inner.width / 4)
    let room = inner.width - names - 1
    guard room > 0 else { return }
    screen.drawRows(window, inner, names: names, on: &canvas) { row, y, canvas in
      guard let holding = screen.holding(row), !holding.parts.isEmpty else {
        if case .layer = row {
          canvas.put(words.share(row), at: inner.x + names + 1, y, role: .muted, maxWidth: room)
        }
        return
      }
      let parts = holding.parts.enumerated().map { ($1, screen.sharing.clusters(inPart: $0)) }
      DiskStrip(parts: parts).draw(at: inner.x + names + 1, y, width: room, desk.glyphs, on: &canvas)
    }
  }

  // MARK: What it means

  private func drawMeaning(on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.meaning, title: "3 " + words.name(screen.row), footer: "", focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    let lines = words.meaning(screen.row).flatMap { TextWrap.wrap($0, width: inner.width) }
    for (line, text) in lines.enumerated() where line < inner.height {
      canvas.put(TextWidth.truncated(text, to: inner.width, glyphs: desk.glyphs), at: inner.x, inner.y + line)
    }
  }
}

extension SnapshotsScreen {
  /// The names of the rows that the list shows, and what `body` draws behind each.
  func drawRows(
    _ window: ListWindow, _ inner: Rect, names: Int, on canvas: inout Canvas,
    _ body: (_ row: Row, _ y: Int, inout Canvas) -> Void
  ) {
    let words = SnapshotsWords(self)
    for (line, index) in window.visible.enumerated() where line < inner.height {
      let row = rows[index]
      let y = inner.y + line
      canvas.put(
        TextWidth.padded(words.name(row), to: names, glyphs: desk.glyphs), at: inner.x, y,
        role: index == selected ? .key : .text)
      body(row, y, &canvas)
    }
  }
}
