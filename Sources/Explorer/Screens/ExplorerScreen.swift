// The main screen: guest map, host map with legend, "Where is it?", log. One position stands out in
// both maps, and every pane speaks about that position.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension Explorer {
  func drawExplorer(_ layout: ScreenLayout, on canvas: inout Canvas) {
    let place = currentPlace()
    if !layout.guestFrame.isEmpty { drawGuestPane(layout, on: &canvas) }
    if !layout.hostFrame.isEmpty { drawHostPane(layout, place, on: &canvas) }
    if !layout.placeFrame.isEmpty { drawPlacePane(layout, place, on: &canvas) }
    if !layout.logFrame.isEmpty { drawLogPane(layout, on: &canvas) }
  }

  // MARK: Guest map

  private func drawGuestPane(_ layout: ScreenLayout, on canvas: inout Canvas) {
    let shape = guestShape(layout)
    let size = Notation.compact(shape.cellBytes)
    let lastRow = min(shape.rowCount, ui.guest.top + UInt64(shape.rows)) - 1
    let wide = layout.guestFrame.width >= 60
    var footer =
      wide
      ? "lens: \(ui.lens.rawValue)   1 cell = \(Notation.human(shape.cellBytes))"
      : "\(ui.lens.rawValue), 1 cell = \(size)"
    if shape.rowCount <= UInt64(shape.rows) {
      footer += wide ? "   whole disk, \(Notation.human(geometry.virtualSize))" : ", whole disk"
    } else {
      footer += (wide ? "   " : ", ") + "rows \(ui.guest.top)-\(lastRow)/\(shape.rowCount)"
    }
    canvas.frame(
      layout.guestFrame, title: "1 Guest map", footer: footer, focused: ui.focus == 1, glyphs: ui.glyphs)
    let room = layout.guestMap
    if layout.guestHasHeading { drawHeading(shape, room, on: &canvas) }
    for row in 0..<shape.rows {
      let number = ui.guest.top + UInt64(row)
      guard number < shape.rowCount else { break }
      let first = number * UInt64(shape.columns)
      let count = Int(min(UInt64(shape.columns), shape.cellCount - first))
      drawAddress(shape.start(ofCell: first), shape, room, row, on: &canvas)
      let cells = guestCells(shape, first, count)
      for (column, cell) in cells.enumerated() {
        let (glyph, role, marks) = look(cell)
        var all = marks
        let range = clusters(ofCell: first + UInt64(column), shape)
        if let change = ui.change, overlaps(change.guestClusters, range) { all.insert(.changed) }
        canvas.set(room.x + shape.x(ofColumn: column), room.y + row, glyph, role: role, marks: all)
      }
    }
    markCursor(shape, room, .guest, ui.guest.top, on: &canvas)
  }

  private func guestCells(_ shape: MapShape, _ first: UInt64, _ count: Int) -> [MapCell<GuestState>] {
    session.atlas.guestCells(first: first, cellClustersLog2: shape.shift, count: count)
  }

  /// Clusters that a cell covers; one for parts of a cluster.
  private func clusters(ofCell cell: UInt64, _ shape: MapShape) -> Range<UInt64> {
    let bits = UInt64(geometry.clusterBits)
    let start = shape.start(ofCell: cell)
    let first = start >> bits
    return first..<max(first + 1, (start + shape.cellBytes) >> bits)
  }

  private func overlaps(_ ranges: [Range<UInt64>], _ range: Range<UInt64>) -> Bool {
    // Sorted and apart: the first range that ends behind the start decides.
    var low = 0
    var high = ranges.count
    while low < high {
      let middle = (low + high) / 2
      if ranges[middle].upperBound <= range.lowerBound { low = middle + 1 } else { high = middle }
    }
    return low < ranges.count && ranges[low].lowerBound < range.upperBound
  }

  private func look(_ cell: MapCell<GuestState>) -> (Unicode.Scalar, Role, Marks) {
    guard cell.isInside else { return (" ", .text, []) }
    guard cell.isKnown else { return ("_", .muted, []) }
    let minority: Marks = cell.hasMinority ? .minority : []
    switch ui.lens {
    case .kind:
      let row = Glyphs.row(cell.state)
      if cell.state == .data && cell.fill < 1 {
        let glyph = Glyphs.part(UInt64(cell.fill * 1000), of: 1000, ui.glyphs)
        return (glyph, .guestPart, minority)
      }
      return (row.scalar(ui.glyphs), row.role, minority)
    case .fill: return fillLook(cell.fill)
    case .refcount: return refcountLook(cell.refcountMin, cell.refcountMax)
    }
  }

  private func fillLook(_ fill: Float) -> (Unicode.Scalar, Role, Marks) {
    let part: UInt64 = fill <= 0 ? 0 : fill >= 1 ? 1000 : max(1, min(999, UInt64(fill * 1000)))
    return (Glyphs.fill(part, of: 1000, ui.glyphs), .ramp(Int(fill * 9.99)), [])
  }

  private func refcountLook(_ low: UInt16, _ high: UInt16) -> (Unicode.Scalar, Role, Marks) {
    (Glyphs.refcount(UInt64(high)), .ramp(min(9, Int(high))), low != high && low != 0 ? .minority : [])
  }

  private func drawHeading(_ shape: MapShape, _ room: Rect, on canvas: inout Canvas) {
    var column = 0
    while column < shape.columns {
      let text = column == 0 ? "+0" : "+" + Notation.compact(shape.cellBytes * UInt64(column))
      canvas.put(
        text, at: room.x + shape.x(ofColumn: column), room.y - 1, role: .muted, maxWidth: MapShape.group)
      column += MapShape.group
    }
  }

  private func drawAddress(
    _ start: UInt64, _ shape: MapShape, _ room: Rect, _ row: Int, on canvas: inout Canvas
  ) {
    canvas.put(
      Notation.hex(start, width: shape.addressWidth), at: room.x + 1, room.y + row, role: .number,
      maxWidth: shape.addressWidth)
  }

  /// The cell of the cursor, reverse; on the other side the twin.
  private func markCursor(
    _ shape: MapShape, _ room: Rect, _ side: Side, _ top: UInt64, on canvas: inout Canvas
  ) {
    let offset = side == .guest ? ui.cursor.guest : ui.cursor.host
    let row = shape.row(of: offset)
    guard shape.cellCount > 0, row >= top, row - top < UInt64(shape.rows) else { return }
    let x = room.x + shape.x(ofColumn: shape.column(of: offset))
    let y = room.y + Int(row - top)
    guard room.contains(Point(x: x, y: y)) else { return }
    let isActive = ui.cursor.side == side
    // Reversed, a full block would be an empty one: the cell of the cursor shows its letter.
    if isActive || ui.cursor.isTwinned, canvas[x, y].scalar == Glyphs.host(.data).unicode {
      let cell = canvas[x, y]
      canvas.set(x, y, Glyphs.host(.data).ascii, role: cell.role, marks: cell.marks)
    }
    if isActive {
      canvas.restyle(Rect(x: x, y: y, width: 1, height: 1), adding: .selected)
      if ui.focus != 4 { canvas.cursor = Point(x: x, y: y) }
    } else if ui.cursor.isTwinned {
      canvas.restyle(Rect(x: x, y: y, width: 1, height: 1), adding: .twin)
    }
  }

  // MARK: Host map

  private func drawHostPane(_ layout: ScreenLayout, _ place: Place, on canvas: inout Canvas) {
    let shape = hostShape(layout)
    let totals = hostTotals
    let room = layout.host
    let free = totals.freeClusters == 0 ? "none free" : "\(totals.freeClusters) free"
    let cells =
      shape.shift == 0
      ? "\(counted(totals.fileClusters, "cluster")), \(free)"
      : "1 cell = \(Notation.compact(shape.cellBytes)), \(free)"
    let rows =
      shape.rowCount > UInt64(shape.rows)
      ? ", rows \(ui.host.top)-\(ui.host.top + UInt64(shape.rows) - 1)/\(shape.rowCount)" : ""
    canvas.frame(
      layout.hostFrame, title: hostMapTitle, footer: cells + rows, focused: ui.focus == 2, glyphs: ui.glyphs)
    for row in 0..<shape.rows {
      let number = ui.host.top + UInt64(row)
      guard number < shape.rowCount, shape.cellCount > 0 else { break }
      let first = number * UInt64(shape.columns)
      let count = Int(min(UInt64(shape.columns), shape.cellCount - first))
      drawAddress(shape.start(ofCell: first), shape, room, row, on: &canvas)
      for (column, look) in hostLooks(shape, first, count).enumerated() {
        var marks = look.2
        let range = clusters(ofCell: first + UInt64(column), shape)
        if let change = ui.change, !geometry.hasExternalData, overlaps(change.hostClusters, range) {
          marks.insert(.changed)
        }
        canvas.set(room.x + shape.x(ofColumn: column), room.y + row, look.0, role: look.1, marks: marks)
      }
    }
    markCursor(shape, room, .host, ui.host.top, on: &canvas)
    let facts = room.splitTop(shape.rows).rest
    drawHostFacts(facts, place, totals, on: &canvas)
  }

  /// The totals of the file that the host map shows. Guest bytes are of the disk, wherever they lie.
  private var hostTotals: Totals {
    var totals = session.atlas.totals
    guard geometry.hasExternalData else { return totals }
    guard showsDataFile, let map = session.dataMap else {
      totals.guestData = 0
      return totals
    }
    for state in HostState.allCases { totals.host[state] = map.count(state) }
    totals.leaked = 0
    totals.wrong = totals.host[.wrong]
    totals.uncounted = 0
    totals.fileLength = map.file.length
    totals.fileClusters = map.fileClusters
    totals.freeClusters = totals.host[.free]
    totals.metadata = 0
    totals.dataClusterBytes =
      (totals.host[.data] + totals.host[.hole] + totals.host[.wrong]) << UInt64(geometry.clusterBits)
    return totals
  }

  private func hostLooks(_ shape: MapShape, _ first: UInt64, _ count: Int) -> [(Unicode.Scalar, Role, Marks)]
  {
    if showsDataFile, let map = session.dataMap {
      let shift = max(0, shape.shift)
      let parts = UInt64(1) << UInt64(shift - shape.shift)
      return (0..<UInt64(count)).map { index in
        map.cells(first: (first + index) / parts, cellClustersLog2: shift, count: 1).first.map(look)
          ?? (" ", .text, [])
      }
    }
    guard shape.shift < 0 else {
      return session.atlas.hostCells(first: first, cellClustersLog2: shape.shift, count: count).map(look)
    }
    // Parts of a host cluster are what the entry of its owner says about them.
    let perCluster = UInt64(1) << UInt64(-shape.shift)
    var result: [(Unicode.Scalar, Role, Marks)] = []
    var cell = first
    while cell < first + UInt64(count) {
      let cluster = cell / perCluster
      let end = min((cluster + 1) * perCluster, first + UInt64(count))
      let whole = session.atlas.hostCells(first: cluster, cellClustersLog2: 0, count: 1).first
      let subclusters =
        whole?.state == .data && ui.lens != .refcount
        ? Place.host(geometry.start(of: HostCluster(cluster)), in: session.owners).subclusters : []
      while cell < end {
        let part = Int(cell % perCluster) * subclusters.count / Int(perCluster)
        if subclusters.indices.contains(part), !subclusters[part].isFilled {
          let glyph = Glyphs.host(.free)
          result.append((glyph.scalar(ui.glyphs), glyph.role, []))
        } else {
          result.append(whole.map(look) ?? (" ", .text, []))
        }
        cell += 1
      }
    }
    return result
  }

  private func look(_ cell: MapCell<HostState>) -> (Unicode.Scalar, Role, Marks) {
    guard cell.isInside else { return (" ", .hostPastEnd, []) }
    guard cell.isKnown else { return ("_", .muted, []) }
    switch ui.lens {
    case .kind:
      let row = Glyphs.row(cell.state)
      let minority: Marks = cell.hasMinority ? .minority : []
      // Where part of the cell is free, its height says how much is in use.
      if cell.state.isContent && cell.fill < 1 {
        return (Glyphs.hostPart(UInt64(cell.fill * 1000), of: 1000, ui.glyphs), row.role, minority)
      }
      return (row.scalar(ui.glyphs), row.role, minority)
    case .fill: return fillLook(cell.fill)
    case .refcount: return refcountLook(cell.refcountMin, cell.refcountMax)
    }
  }

  /// Legend with counts, totals, and who owns the place of the cursor.
  private func drawHostFacts(_ area: Rect, _ place: Place, _ totals: Totals, on canvas: inout Canvas) {
    guard area.height > 0 else { return }
    var y = area.y
    let isRoomy = area.height >= 13
    var owner = ownerLines(place, width: area.width - 2, rows: 2)
    // What the host keeps for the file itself; scratch changes are not in it yet.
    let blocks =
      showsDataFile
      ? hostStorage.allocatedBytes : session.hasFile ? session.overlay.base.allocatedBytes : nil
    let shown = HostState.allCases.filter {
      legendCount($0, totals) > 0 || [.header, .data, .leaked, .wrong, .free].contains($0)
    }.filter { $0 != .pastEnd }
    if isRoomy {
      y += 1
      y = drawLegend(
        shown, totals, Rect(x: area.x + 1, y: y, width: area.width - 2, height: area.endY - y), on: &canvas)
      y += 1
      for line in factLines(totals, blocks: blocks, width: area.width - 2) where y < area.endY {
        var x = area.x + 2
        x += canvas.put(line.label, at: x, y, role: .muted)
        x += canvas.put(line.value, at: x, y, role: .number)
        canvas.put(line.note, at: x + 2, y, role: .muted)
        y += 1
      }
      if let staleness = totals.staleness {
        for line in TextWrap.wrap(staleness.text, width: area.width - 3) where y < area.endY - owner.count {
          canvas.put(line, at: area.x + 2, y, role: .warning)
          y += 1
        }
      }
      if y < area.endY - owner.count { y += 1 }
      owner = ownerLines(place, width: area.width - 2, rows: area.endY - y)
    } else {
      var x = area.x + 1
      for state in shown where area.height >= 3 {
        let entry = Glyphs.row(state)
        let glyph = String(entry.scalar(ui.glyphs))
        // A colon keeps `1` and `2`, which are states, apart from their counts.
        let count = "\(entry.ascii.properties.numericType == nil ? "" : ":")\(legendCount(state, totals))"
        if x + 1 + count.count > area.endX - 1 {
          x = area.x + 1
          y += 1
        }
        x += canvas.put(glyph, at: x, y, role: entry.role)
        x += canvas.put(count, at: x, y, role: .number)
        x += 1
      }
      y += 1
      // Exact bytes if both fit, else both in units.
      let exact =
        "file   \(TextWidth.padded(String(totals.fileLength), to: 9)) blocks "
        + (blocks.map { "\($0)" } ?? "-")
      let fileLine =
        String(totals.fileLength).count <= 9 && exact.count <= area.width - 1
        ? exact
        : "file   \(TextWidth.padded(Notation.compact(totals.fileLength), to: 9)) blocks "
          + (blocks.map { Notation.compact($0) } ?? "-")
      let lines = [
        fileLine,
        "mapped \(TextWidth.padded(Notation.compact(totals.guestData), to: 9)) meta   \(Notation.compact(totals.metadata))",
      ]
      for line in lines where y < area.endY - owner.count {
        canvas.put(line, at: area.x + 1, y, role: .muted, maxWidth: area.width - 1)
        y += 1
      }
      if y < area.endY - owner.count { y += 1 }
    }
    for line in owner where y < area.endY {
      canvas.put(line, at: area.x + 1, y, maxWidth: area.width - 1)
      y += 1
    }
  }

  /// Length, blocks, data, metadata in columns; notes and then words go before a figure is cut.
  private func factLines(_ totals: Totals, blocks: UInt64?, width: Int)
    -> [(label: String, value: String, note: String)]
  {
    let length = max(1, totals.fileLength)
    let share = "\(totals.metadata * 100 / length)%"
    let blockShare = blocks.map { "\($0 / length * 100 + $0 % length * 100 / length)%" } ?? "no file"
    let end = "0x\(Notation.hex(totals.fileLength))"
    let of = Notation.compact(max(1, totals.dataClusterBytes))
    let rows = [
      (["file length", "file"], "\(totals.fileLength)", ["end \(end)", end]),
      (
        ["host blocks", "blocks"], blocks.map { "\($0)" } ?? "-",
        [blockShare + (blocks == nil ? "" : " of file"), blockShare]
      ),
      (["guest data", "data"], Notation.compact(totals.guestData), ["of \(of)", "of \(of)"]),
      (["metadata", "meta"], Notation.compact(totals.metadata), ["\(share) of file", share]),
    ]
    let values = max(9, rows.map(\.1.count).max() ?? 0)
    func lines(_ words: Int, _ notes: Int?) -> [(label: String, value: String, note: String)] {
      rows.map { row in
        (
          TextWidth.padded(row.0[words], to: words == 0 ? 12 : 7),
          TextWidth.padded(row.1, to: values, .right),
          notes.map { row.2[$0] } ?? ""
        )
      }
    }
    let forms: [(Int, Int?)] = [(0, 0), (0, 1), (1, 0), (1, 1), (0, nil), (1, nil)]
    for (words, notes) in forms {
      let result = lines(words, notes)
      let widest = result.map { $0.label.count + $0.value.count + ($0.note.isEmpty ? 0 : 2 + $0.note.count) }
      if widest.max() ?? 0 < width { return result }
    }
    return lines(1, nil)
  }

  /// Clusters behind a row of the legend. What is wrong with a cluster is counted beside its role.
  private func legendCount(_ state: HostState, _ totals: Totals) -> UInt64 {
    switch state {
    case .leaked: totals.leaked
    case .wrong: totals.wrong
    default: totals.host[state]
    }
  }

  /// Two columns of glyph, name, count. The names are short ones where the counts need the room.
  private func drawLegend(_ states: [HostState], _ totals: Totals, _ area: Rect, on canvas: inout Canvas)
    -> Int
  {
    let columnWidth = area.width / 2
    func room(_ state: HostState) -> Int {
      columnWidth - 4 - Notation.count(legendCount(state, totals)).count
    }
    let isLong = states.allSatisfy { Legend.host($0).name.count <= room($0) }
    var y = area.y
    for (index, state) in states.enumerated() where y < area.endY {
      let x = area.x + 1 + (index % 2) * columnWidth
      let entry = Legend.host(state)
      let glyph = Glyphs.row(state)
      canvas.put(String(glyph.scalar(ui.glyphs)), at: x, y, role: glyph.role)
      let count = Notation.count(legendCount(state, totals))
      let name = isLong ? entry.name : entry.short
      canvas.put(name, at: x + 2, y, role: .muted, maxWidth: room(state))
      canvas.put(count, at: x + columnWidth - 1 - count.count, y, role: .number)
      if index % 2 == 1 || index == states.count - 1 { y += 1 }
    }
    return y
  }

  /// "owner of the host cluster / L2[16] of the L2 table at 0x40000". "Where is it?" has the address.
  private func ownerLines(_ place: Place, width: Int, rows: Int) -> [String] {
    guard let host = place.host else { return ["owner of the host cluster", "  none"] }
    var owners = place.owners
    var state = place.hostState
    let list = hostOwners(host)
    if ui.cursor.side == .guest {
      owners = list.owners
      state = list.facts?.state
    }
    guard let first = owners.first else {
      return [
        "owner of the host cluster", "  " + (state.map { Legend.host($0).name } ?? "not known yet"),
      ]
    }
    switch first {
    case .free where showsDataFile: return ["no entry uses this cluster", "  of the data file"]
    case .free: return ["this host cluster is free:", "  the next write may take it"]
    case .pastEnd: return ["this host cluster lies behind", "  the end of the file"]
    default: break
    }
    let named = owners.filter { !$0.isRemark }
    let count = max(UInt64(named.count), list.ownerCount)
    let title = count > 1 ? "\(count) owners of the host cluster:" : "owner of the host cluster"
    var lines = [title] + owners.prefix(max(1, rows - 1)).map { "  " + ownerText($0, width - 2) }
    if owners.count > lines.count - 1, lines.count > 2 {
      lines[lines.count - 1] = "  and \(owners.count - lines.count + 2) more: pane 3, PgDn"
    }
    return lines.map { TextWidth.truncated($0, to: width, glyphs: ui.glyphs) }
  }

  /// As many words as fit beside the facts.
  private func ownerText(_ owner: Owner, _ width: Int) -> String {
    let full = owner.text(snapshots: session.image.snapshots)
    guard TextWidth.width(full) > width, case .data(_, let index, let table, _) = owner else { return full }
    let address = "0x\(Notation.hex(table.value))"
    return ["L2[\(index)] of L2 table \(address)", "L2[\(index)] of table \(address)"].first {
      TextWidth.width($0) <= width
    } ?? "L2[\(index)] at \(address)"
  }

  // MARK: Log

  private func drawLogPane(_ layout: ScreenLayout, on canvas: inout Canvas) {
    if let lesson = ui.lesson { return drawLesson(lesson, layout, on: &canvas) }
    let operations = session.done.count
    let undone = session.undone.count
    var footer =
      operations == 0
      ? "nothing done yet" : "\(counted(operations, "op")) this session, all can be undone"
    if undone > 0 { footer += ", \(undone) undone: C-r does them again" }
    canvas.frame(layout.logFrame, title: "4 Log", footer: footer, focused: ui.focus == 4, glyphs: ui.glyphs)
    let room = layout.log
    guard operations > 0 else {
      canvas.put(
        "no operation yet: w writes, D discards, z zeroes at the cursor, : takes commands", at: room.x + 1,
        room.y, role: .muted, maxWidth: room.width - 2)
      return
    }
    // The newest operation and the words about it are worth more than old lines.
    var lines: [(text: String, operation: Int, isFirst: Bool)] = []
    let selected = ui.focus == 4 ? ui.logSelected : operations - 1
    for index in max(0, operations - 200)..<operations {
      let narration = session.done[index].narration
      let title =
        "\(TextWidth.padded(String(index + 1), to: 3)) \(TextWidth.padded(narration.title, to: room.width >= 100 ? 34 : 28)) "
      let indent = String(repeating: " ", count: title.count)
      let told = narration.lines.isEmpty ? ["nothing changed"] : narration.lines
      if index == selected {
        for (number, line) in told.enumerated() {
          lines.append(((number == 0 ? title : indent) + line, index, number == 0))
        }
      } else {
        lines.append((title + told.joined(separator: "   "), index, true))
      }
    }
    let chosen = lines.firstIndex { $0.operation == selected } ?? 0
    let last = lines.lastIndex { $0.operation == selected } ?? 0
    var top = max(0, lines.count - room.height)
    top = min(top, max(0, chosen))
    if last >= top + room.height { top = min(chosen, last - room.height + 1) }
    for (row, line) in lines.dropFirst(top).prefix(room.height).enumerated() {
      let y = room.y + row
      canvas.put(TextWidth.truncated(line.text, to: room.width - 2, glyphs: ui.glyphs), at: room.x + 1, y)
      if line.operation == selected && line.isFirst {
        canvas.set(room.x, y, ">", role: .key)
        if ui.focus == 4 {
          canvas.restyle(Rect(x: room.x, y: y, width: room.width, height: 1), adding: .selected)
          canvas.cursor = Point(x: room.x, y: y)
        }
      }
    }
  }
}

extension Notation {
  /// A count with commas between thousands: for the eye, not for copying.
  static func grouped(_ value: UInt64) -> String {
    var text = String(value)
    var at = text.count - 3
    while at > 0 {
      text.insert(",", at: text.index(text.startIndex, offsetBy: at))
      at -= 3
    }
    return text
  }

  /// A count that never takes more than seven characters.
  static func count(_ value: UInt64) -> String { value < 10_000_000 ? String(value) : compact(value) }
}
