// The host map: the file cluster by cluster, with legend, totals and owner below it.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

final class HostMapPane: MapPane {
  unowned let maps: MapsScreen
  let desk: Desk
  let side = Side.host
  let context = Context.hostMap
  var window = MapWindow()

  init(_ maps: MapsScreen) {
    self.maps = maps
    desk = maps.desk
  }

  func cells(_ room: PaneRoom) -> Rect { room.inner }

  /// Lines below the map for legend, totals and owner.
  private func factsHeight(_ room: PaneRoom) -> Int {
    let height = room.inner.height
    return height >= 24 ? 16 : height >= 16 ? 14 : height >= 10 ? 8 : max(0, height - 4)
  }

  func shape(_ room: PaneRoom) -> MapShape {
    let inner = room.inner
    let facts = min(factsHeight(room), max(0, inner.height - 1))
    let host = desk.host
    var shape = MapShape(
      total: host.total, clusterBits: geometry.clusterBits, finest: finestShift, zoom: window.zoom,
      width: inner.width, height: max(1, inner.height - facts), addressWidth: host.digits)
    // What the map does not need goes to the facts below it.
    shape.rows = Int(clamping: min(UInt64(shape.rows), shape.rowCount))
    return shape
  }

  /// Rows that it and its legend can fill in a room, with the frame.
  func wantedRows(_ room: PaneRoom) -> Int {
    let facts = min(factsHeight(room), max(0, room.inner.height - 1))
    return 2 + shape(room).rows + facts
  }

  func draw(_ room: PaneRoom, _ place: Place, on canvas: inout Canvas) {
    let shape = shape(room)
    let host = desk.host
    let facts = FileFacts(desk, host)
    let free = facts.totals.freeClusters == 0 ? "none free" : "\(facts.totals.freeClusters) free"
    let size =
      shape.shift == 0
      ? "\(counted(facts.totals.fileClusters, "cluster")), \(free)"
      : "1 cell = \(Notation.compact(shape.cellBytes)), \(free)"
    let rows =
      shape.rowCount > UInt64(shape.rows)
      ? ", rows \(window.top)-\(window.top + UInt64(shape.rows) - 1)/\(shape.rowCount)" : ""
    canvas.frame(
      room.frame, title: title(host), footer: size + rows, focused: room.isFocused, glyphs: desk.glyphs)
    let changed = geometry.hasExternalData ? [] : desk.markedChange?.hostClusters ?? []
    let view = maps.view
    let cells = HostCells(desk.scene, host, view)
    drawRows(shape, room.inner, changed: changed, on: &canvas) { cells.looks(shape, $0, $1) }
    facts.draw(place, view.keys, room.inner.splitTop(shape.rows).rest, on: &canvas)
  }

  /// With the name of the file where there are two.
  private func title(_ host: HostFile) -> String {
    let title = "\(PaneNumber.hostMap.rawValue) Host map"
    guard let name = desk.scene.dataFileName else { return title }
    return title + " of " + (host.isData ? "the data file \(name)" : "the image file")
  }

  /// To the entry that owns the place.
  func follow() throws(CommandError) {
    guard let owner = desk.place.owners.first else { throw CommandError("nobody owns this cluster") }
    try desk.follow(owner, of: HostOffset(desk.cursor.host))
  }

  // MARK: Finding

  func nextUsed(from cluster: UInt64, forward: Bool) -> UInt64? {
    guard !desk.host.isData else { return nil }
    let found = HostState.allCases.filter { !$0.isBackground }.compactMap {
      desk.scene.atlas.nextHost($0, from: cluster, forward: forward)
    }
    return forward ? found.min() : found.max()
  }

  func knows(_ text: String) -> Bool {
    HostState.allCases.contains { Legend.matches(text, $0) }
  }

  func next(_ text: String, from cluster: UInt64, forward: Bool) throws(CommandError) -> UInt64? {
    let state: HostState = try StateName.state(text, Legend.matches) { Legend.host($0).name }
    if desk.host.isData {
      throw CommandError(
        "states are not searched for in the data file; \(desk.key(.otherFile)) shows the image file")
    }
    return desk.scene.atlas.nextHost(state, from: cluster, forward: forward)
  }
}
