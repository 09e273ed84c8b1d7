// The guest map: the disk as the guest sees it, cell by cell.

import Cartography
import CellScreen
import QcowFormat
import Storage

final class GuestMapPane: MapPane {
  unowned let maps: MapsScreen
  let desk: Desk
  let side = Side.guest
  let context = Context.guestMap
  var window = MapWindow()

  init(_ maps: MapsScreen) {
    self.maps = maps
    desk = maps.desk
  }

  /// The map has a line with the offsets of its columns above it.
  private func hasHeading(_ room: PaneRoom) -> Bool { room.frame.height >= 14 && !room.isAlone }

  func cells(_ room: PaneRoom) -> Rect {
    hasHeading(room) ? room.inner.splitTop(1).rest : room.inner
  }

  func shape(_ room: PaneRoom) -> MapShape {
    let digits = max(7, String(max(1, geometry.virtualSize) - 1, radix: 16).count)
    let cells = cells(room)
    return MapShape(
      total: geometry.virtualSize, clusterBits: geometry.clusterBits, finest: finestShift, zoom: window.zoom,
      width: cells.width, height: cells.height, addressWidth: digits)
  }

  /// Rows that it can fill in a room, with the frame.
  func wantedRows(_ room: PaneRoom) -> Int {
    let shape = shape(room)
    let around = room.frame.height - cells(room).height
    return around + Int(clamping: min(shape.rowCount, UInt64(shape.rows)))
  }

  func draw(_ room: PaneRoom, _ place: Place, on canvas: inout Canvas) {
    let shape = shape(room)
    let size = Notation.compact(shape.cellBytes)
    let lastRow = min(shape.rowCount, window.top + UInt64(shape.rows)) - 1
    let wide = room.frame.width >= 60
    let view = maps.view
    var footer =
      wide
      ? "lens: \(view.name)   1 cell = \(Notation.human(shape.cellBytes))"
      : "\(view.name), 1 cell = \(size)"
    if shape.rowCount <= UInt64(shape.rows) {
      footer += wide ? "   whole disk, \(Notation.human(geometry.virtualSize))" : ", whole disk"
    } else {
      footer += (wide ? "   " : ", ") + "rows \(window.top)-\(lastRow)/\(shape.rowCount)"
    }
    let labels = desk.labels(at: desk.cursor.guest)
    // More than some do not fit, and the pane of the place lists them.
    let names = labels.prefix(4).map { Escaping.human($0.name) } + (labels.count > 4 ? ["..."] : [])
    canvas.frame(
      room.frame,
      title: "\(PaneNumber.guestMap.rawValue) Guest map"
        + (names.isEmpty ? "" : ": " + names.joined(separator: ", ")),
      footer: footer,
      focused: room.isFocused, glyphs: desk.glyphs)
    let cells = cells(room)
    if hasHeading(room) { drawHeading(shape, cells, on: &canvas) }
    drawRows(shape, cells, changed: desk.markedChange?.guestClusters ?? [], on: &canvas) { first, count in
      let cells = desk.scene.atlas.guestCells(first: first, cellClustersLog2: shape.shift, count: count)
      return cells.enumerated().map { index, cell in
        let start = shape.start(ofCell: first + UInt64(index))
        return view.look(cell, start..<min(geometry.virtualSize, start + shape.cellBytes))
      }
    }
  }

  private func drawHeading(_ shape: MapShape, _ cells: Rect, on canvas: inout Canvas) {
    var column = 0
    while column < shape.columns {
      let text = column == 0 ? "+0" : "+" + Notation.compact(shape.cellBytes * UInt64(column))
      canvas.put(
        text, at: cells.x + shape.x(ofColumn: column), cells.y - 1, role: .muted, maxWidth: MapShape.group)
      column += MapShape.group
    }
  }

  /// To the L2 entry of the place.
  func follow() throws(CommandError) {
    let place = desk.place
    guard let l1 = place.l1 else { throw CommandError("no L1 entry covers this place") }
    guard l1.entry.table != nil else {
      throw CommandError("L1[\(l1.index)] is empty: no L2 table exists for this place yet")
    }
    desk.remember()
    desk.show(
      .table(
        l1.index, entry: geometry.l2Index(of: GuestOffset(desk.cursor.guest)), subcluster: place.subcluster))
  }

  // MARK: Finding

  func nextUsed(from cluster: UInt64, forward: Bool) -> UInt64? {
    let found = GuestState.allCases.filter { !$0.isBackground }.compactMap {
      desk.scene.atlas.nextGuest($0, from: cluster, forward: forward)
    }
    return forward ? found.min() : found.max()
  }

  func knows(_ text: String) -> Bool {
    GuestState.allCases.contains { Legend.matches(text, $0) }
  }

  func next(_ text: String, from cluster: UInt64, forward: Bool) throws(CommandError) -> UInt64? {
    let state: GuestState = try StateName.state(text, Legend.matches) { Legend.guest($0).name }
    return desk.scene.atlas.nextGuest(state, from: cluster, forward: forward)
  }
}
