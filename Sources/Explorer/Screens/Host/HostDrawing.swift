// How the host screen is drawn: the strip with the window marked below it, the window, the figures, the owners.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

/// Where the panes stand; empty for those not shown.
struct HostLayout {
  private(set) var strip = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var window = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var figures = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var owners = Rect(x: 0, y: 0, width: 0, height: 0)

  init(_ frame: ScreenFrame, pane: HostPane) {
    guard !frame.isTooSmall else { return }
    let body = frame.body
    if frame.isOnePane {
      switch pane {
      case .strip: strip = body
      case .window: window = body
      case .figures: figures = body
      case .owners: owners = body
      }
      return
    }
    let isTall = body.height >= 30
    let (top, rest) = body.splitTop(isTall ? 5 : 4)
    let (middle, bottom) = rest.splitBottom(isTall ? min(14, 8 + (body.height - 30) / 4) : 6)
    // What the figures do not need goes to the window, whose rows are a power of two of cells.
    let width = body.width >= 160 ? 51 : body.width >= 110 ? 38 : 33
    (strip, owners) = (top, bottom)
    (window, figures) = middle.splitLeft(body.width - width)
  }

  subscript(pane: HostPane) -> Rect {
    switch pane {
    case .strip: strip
    case .window: window
    case .figures: figures
    case .owners: owners
    }
  }

  /// Rows below the figures for the sentence about the selected one.
  var meaningRows: Int { figures.height >= 12 ? 4 : figures.height >= 8 && owners.isEmpty ? 2 : 0 }
  /// Rows of the figures.
  var figureRows: Int { max(1, figures.height - 2 - meaningRows) }
  /// Rows of the owners, below the line about the cluster.
  var ownerRows: Int { max(1, owners.height - 3) }
}

struct HostDrawing {
  private let screen: HostScreen
  private let layout: HostLayout
  private let rows: [HostFigure]
  private var desk: Desk { screen.desk }
  private var geometry: Geometry { desk.geometry }

  init(_ screen: HostScreen, _ layout: HostLayout) {
    self.screen = screen
    self.layout = layout
    rows = layout.figures.isEmpty ? [] : screen.figureRows
  }

  func draw(on canvas: inout Canvas) {
    if !layout.strip.isEmpty { drawStrip(on: &canvas) }
    if !layout.window.isEmpty { drawWindow(on: &canvas) }
    if !layout.figures.isEmpty { drawFigures(on: &canvas) }
    if !layout.owners.isEmpty { drawOwners(on: &canvas) }
  }

  // MARK: Strip

  private func drawStrip(on canvas: inout Canvas) {
    let width = max(1, layout.strip.width - 4)
    let cells = screen.strip(width)
    let most = cells.map(\.clusters.count).max() ?? 0
    let inner = canvas.frame(
      layout.strip,
      title: "1 Whole file"
        + (most == 0
          ? ""
          : ": 1 cell = up to \(counted(most, "cluster"))"
            + ", \(Notation.compact(UInt64(most) &* geometry.clusterSize))"),
      footer: "", focused: screen.pane == .strip, glyphs: desk.glyphs
    ).inset(1, 0)
    guard !cells.isEmpty, inner.height > 0 else {
      canvas.put("the file is empty", at: inner.x, inner.y, role: .muted)
      return
    }
    func column(_ x: Int) -> HostStripCell { cells[x * cells.count / inner.width] }
    let cluster = desk.cursor.host >> UInt64(geometry.clusterBits)
    let seen = screen.map.seen(room)
    var marked: [Int] = []
    for x in 0..<inner.width {
      let part = column(x)
      let look = Lens.kind.look(part.cell, desk.glyphs)
      var marks = look.marks
      if part.clusters.contains(cluster) {
        if screen.pane == .strip, canvas.cursor == nil { canvas.cursor = Point(x: inner.x + x, y: inner.y) }
        marks.insert(screen.pane == .strip ? .selected : .twin)
      }
      // Reversed, a full block would be an empty one.
      let isBlock = !marks.isDisjoint(with: [.selected, .twin]) && look.glyph == Glyphs.host(.data).unicode
      canvas.set(
        inner.x + x, inner.y, isBlock ? Glyphs.host(.data).ascii : look.glyph, role: look.role, marks: marks)
      if part.clusters.overlaps(seen) { marked.append(x) }
    }
    guard inner.height > 1, let first = marked.first, let last = marked.last else { return }
    for x in first...last { canvas.set(inner.x + x, inner.y + 1, "^", role: .key) }
    let words = "window: \(seen.lowerBound)..\(max(1, seen.upperBound) - 1)"
    let x =
      last + 2 + words.count <= inner.width
      ? last + 2 : first >= words.count + 1 ? first - words.count - 1 : nil
    if let x { canvas.put(words, at: inner.x + x, inner.y + 1, role: .muted) }
    guard inner.height > 2 else { return }
    // A scale, where its numbers have room.
    var end = 0
    for tenth in 0..<10 {
      let x = inner.width * tenth / 10
      let text = Notation.compact(column(x).clusters.lowerBound &* geometry.clusterSize)
      guard x >= end, x + text.count < inner.width else { continue }
      canvas.put(text, at: inner.x + x, inner.y + 2, role: .number)
      end = x + text.count + 1
    }
  }

  // MARK: Window

  private var room: PaneRoom {
    PaneRoom(
      frame: layout.window, isFocused: screen.pane == .window, isAlone: desk.frame.isOnePane)
  }

  private func drawWindow(on canvas: inout Canvas) {
    let map = screen.map
    let shape = map.shape(room)
    let view =
      desk.screen(MapsScreen.self)?.view ?? LensView(lens: .kind, sheet: nil, glyphs: desk.glyphs)
    let cell =
      shape.shift == 0
      ? "1 cell = 1 cluster" : "1 cell = \(Notation.compact(shape.cellBytes))"
    let last = min(shape.rowCount, map.window.top + UInt64(shape.rows)) - 1
    let part = shape.rowCount > UInt64(shape.rows) ? ", rows \(map.window.top)-\(last)/\(shape.rowCount)" : ""
    canvas.frame(
      layout.window, title: "2 Window: \(cell)", footer: "lens: \(view.name)\(part)",
      focused: screen.pane == .window, glyphs: desk.glyphs)
    let changed = geometry.hasExternalData ? [] : desk.markedChange?.hostClusters ?? []
    let cells = HostCells(desk.scene, desk.host, view)
    map.drawRows(shape, map.cells(room), changed: changed, on: &canvas) { cells.looks(shape, $0, $1) }
  }

  // MARK: Figures

  private func drawFigures(on canvas: inout Canvas) {
    let figures = screen.figures
    let atlas = desk.scene.atlas
    let isDone = desk.host.map?.isDone ?? atlas.isDone
    let done = Int((desk.host.map.map { $0.progress } ?? atlas.progress) * 100)
    let footer =
      figures.isComplete
      ? "\(desk.key(.follow)) goes there" : isDone ? "not all is known" : "so far, \(done)%"
    let isFocused = screen.pane == .figures
    let inner = canvas.frame(
      layout.figures, title: "3 What fills it", footer: footer, focused: isFocused, glyphs: desk.glyphs)
    let isShort = inner.width < 36
    let showsPlace = inner.width >= 49
    let (list, below) = inner.splitTop(layout.figureRows)
    let window = ListWindow(
      count: rows.count, height: list.height, selected: screen.rows[0], top: screen.tops[0])
    var columns: [Table.Column] = [
      .init("", width: 1), .init("", width: isShort ? 8 : 12),
      .init("", width: 7, alignment: .right, role: .number),
      .init("", width: isShort ? 5 : 6, alignment: .right, role: .number),
      .init("", width: 5, alignment: .right, role: .number),
    ]
    if showsPlace { columns.append(.init("", width: 12, alignment: .right, role: .muted)) }
    let areas = Table.draw(
      columns: columns, window: window, in: list, on: &canvas, focused: isFocused, glyphs: desk.glyphs
    ) { index in
      let row = rows[index]
      let isPlace = row.clusters == nil && row.bytes == nil && row.host != nil
      let unknown = isPlace ? "" : "?"
      var fields = [
        Table.Field(row.glyph.map { String($0.scalar(desk.glyphs)) } ?? "", role: row.glyph?.role),
        Table.Field(isShort ? row.short : row.name),
        Table.Field(row.clusters.map { Notation.count($0) } ?? unknown),
        Table.Field(row.bytes.map { Notation.compact($0) } ?? ""),
        Table.Field(row.percent.map { percent($0) } ?? ""),
      ]
      if showsPlace {
        fields.append(Table.Field(isPlace ? "" : row.host.map { "0x\(Notation.hex($0))" } ?? ""))
      }
      return fields
    }
    // A row that is a place has that where others have figures.
    for (index, area) in areas {
      let row = rows[index]
      guard row.clusters == nil, row.bytes == nil, let host = row.host else { continue }
      let text = "0x\(Notation.hex(host))"
      let end = area.x + 1 + columns.prefix(5).reduce(0) { $0 + $1.width } + 4
      let isSelected = index == window.selected && isFocused
      canvas.put(
        text, at: end - text.count, area.y, role: isSelected ? .text : .number,
        marks: isSelected ? .selected : [])
    }
    if layout.meaningRows > 0 { drawMeaning(below, on: &canvas) }
  }

  private func percent(_ value: Double) -> String {
    value >= 99.95 ? "100%" : value > 0 && value < 0.05 ? "<0.1%" : Notation.decimals(value, 1) + "%"
  }

  /// What the selected figure means.
  private func drawMeaning(_ area: Rect, on canvas: inout Canvas) {
    guard rows.indices.contains(screen.rows[0]) else { return }
    let room = area.inset(1, 0)
    let lines = TextWrap.wrap(rows[screen.rows[0]].meaning, width: max(1, room.width))
    for (row, text) in lines.enumerated() where row < room.height {
      let isCut = row == room.height - 1 && lines.count > room.height
      canvas.put(
        isCut ? TextWidth.truncated(text + " ...", to: room.width, glyphs: desk.glyphs) : text, at: room.x,
        room.y + row, role: .muted)
    }
  }

  // MARK: Owners

  private func drawOwners(on canvas: inout Canvas) {
    // Where the sentence about a figure has no room of its own, it stands here.
    let showsMeaning = screen.pane == .figures && layout.meaningRows == 0 && !rows.isEmpty
    let isFocused = screen.pane == .owners
    let inner = canvas.frame(
      layout.owners, title: showsMeaning ? "What it means" : "4 Who owns this cluster?",
      footer: showsMeaning ? "" : "\(desk.key(.follow)) goes to the entry", focused: isFocused,
      glyphs: desk.glyphs)
    if showsMeaning { return drawMeaning(inner, on: &canvas) }
    let list = desk.host.owners(HostOffset(desk.cursor.host))
    let (head, below) = inner.splitTop(1)
    canvas.put(
      TextWidth.truncated(headline(list), to: inner.width - 2, glyphs: desk.glyphs), at: head.x + 1, head.y,
      role: list.facts?.health.isConflict == true ? .error : .text)
    let owners = HostOwner.rows(desk)
    let window = ListWindow(
      count: owners.count, height: below.height, selected: screen.rows[1], top: screen.tops[1])
    Table.draw(
      columns: [.init("", width: 6, role: .key), .init("", width: max(0, below.width - 9))],
      window: window, in: below, on: &canvas, focused: isFocused, glyphs: desk.glyphs
    ) { index in
      [Table.Field(owners[index].label), Table.Field(owners[index].text)]
    }
  }

  /// "cluster 65108 at 0xfe540000, data, refcount 2: shared, a write here must copy".
  private func headline(_ list: OwnerList) -> String {
    let cluster = desk.cursor.host >> UInt64(geometry.clusterBits)
    var text = "cluster \(cluster) at 0x\(Notation.hex(cluster << UInt64(geometry.clusterBits)))"
    guard let facts = list.facts else { return text + ", not known yet" }
    text += ", \(Legend.host(facts.state).name)"
    if let refcount = list.refcount { text += ", refcount \(refcount)" }
    if facts.health != .sound { text += ", \(facts.health.name)" }
    let named = UInt64(list.owners.count { !$0.isRemark })
    if facts.state.isContent, facts.users != .none, !desk.scene.image.snapshots.isEmpty {
      text += ", \(facts.users.name)"
    }
    if !list.isComplete {
      text += ": \(named) of \(max(named, list.ownerCount)) owners found so far"
    } else if list.ownerCount > named {
      text += ": \(named) of \(list.ownerCount) owners named"
    } else if named > 1 {
      text +=
        ": \(named) owners"
        + (facts.state.isContent && (list.refcount ?? 0) > 1 ? ", a write here must copy" : "")
    }
    return text
  }
}
