// What the guest map and the host map have in common: rows of cells with addresses, moving, zooming, finding, and
// the mark of the cursor. A map says what a place is; all of the arithmetic is here and in its shape.

import Cartography
import CellScreen
import QcowFormat
import Storage

/// How much one cell of a map stands for.
enum Zoom: Hashable, Sendable {
  /// One cluster if that fits a few pages, else all in one view.
  case automatic
  /// All in one view.
  case fit
  /// 2^n clusters; negative for parts of a cluster.
  case clusters(Int)
}

/// The rows of a map that are seen.
struct MapWindow: Hashable, Sendable {
  var zoom = Zoom.automatic
  /// First visible row.
  var top: UInt64 = 0
}

/// A map in a room: its cells, its window and the cursor in it.
protocol MapView: AnyObject {
  var desk: Desk { get }
  var side: Side { get }
  var window: MapWindow { get set }
  /// The hardware cursor stands on the cell of the cursor.
  var hasHardwareCursor: Bool { get }
  /// How the map is laid out in its room.
  func shape(_ room: PaneRoom) -> MapShape
  /// Where the cells are drawn.
  func cells(_ room: PaneRoom) -> Rect
  /// The nearest cluster in use from one on, or before it; nil if there is none.
  func nextUsed(from cluster: UInt64, forward: Bool) -> UInt64?
}

/// One of the two maps of the main screen.
protocol MapPane: Pane, MapView {
  /// The nearest cluster in the state that a word names; nil if there is none.
  ///
  /// - Throws: `CommandError` for a word that names no state.
  func next(_ text: String, from cluster: UInt64, forward: Bool) throws(CommandError) -> UInt64?
  /// A state of this map is called so.
  func knows(_ text: String) -> Bool
}

extension MapView {
  var geometry: Geometry { desk.geometry }
  /// The cursor's address on this side.
  var position: UInt64 { side == .guest ? desk.cursor.guest : desk.cursor.host }
  /// It shows the external data file, of which nobody says which clusters changed.
  private var isOfDataFile: Bool { side == .host && geometry.hasExternalData }
  /// Parts of a cluster that the maps can show.
  var finestShift: Int { geometry.hasExtendedL2 ? -5 : 0 }
}

extension MapPane {
  var hasHardwareCursor: Bool { maps.focus != .log }

  func click(at point: Point, _ room: PaneRoom) { pick(at: point, room) }

  var hints: [HintRule] {
    [
      HintRule([.left, .down, .up, .right], "move"),
      HintRule(.zoom, .zoom, arguments: [["in"], ["out"]], separator: "/"), HintRule(.lens),
      HintRule(.search), HintRule(.write, .discard, separator: "/", "write/discard", short: "change"),
      HintRule(.follow), HintRule(.otherSide, short: "side"), HintRule(.zero), HintRule(.undo),
      HintRule(.screens), HintRule(.prompt), HintRule(.help), HintRule(.close),
    ]
  }

  func settle(_ room: PaneRoom) {
    window.top = shape(room).top(keeping: window.top, visible: position)
  }

  func keepsake() -> () -> Void {
    let window = window
    return { self.window = window }
  }

}

extension MapView {
  // MARK: Drawing

  func drawAddress(_ start: UInt64, _ shape: MapShape, _ cells: Rect, _ row: Int, on canvas: inout Canvas) {
    canvas.put(
      Notation.hex(start, width: shape.addressWidth), at: cells.x + 1, cells.y + row, role: .number,
      maxWidth: shape.addressWidth)
  }

  /// Clusters that a cell covers; one for parts of a cluster.
  func clusters(ofCell cell: UInt64, _ shape: MapShape) -> Range<UInt64> {
    let start = shape.start(ofCell: cell)
    let first = start >> UInt64(geometry.clusterBits)
    return first..<max(first + 1, (start + shape.cellBytes) >> UInt64(geometry.clusterBits))
  }

  /// The rows of the map; `looks` draws so many cells from one on, and `changed` are ranges of clusters.
  func drawRows(
    _ shape: MapShape, _ cells: Rect, changed: [Range<UInt64>], on canvas: inout Canvas,
    looks: (_ first: UInt64, _ count: Int) -> [CellLook]
  ) {
    let glow = desk.glow.isEmpty || isOfDataFile ? [] : desk.glow.layers(side, at: desk.now())
    for row in 0..<shape.rows {
      let number = window.top + UInt64(row)
      // An empty disk has its first address, an empty file has nothing.
      guard number < shape.rowCount, shape.cellCount > 0 || side == .guest else { break }
      let first = number * UInt64(shape.columns)
      let count = Int(min(UInt64(shape.columns), shape.cellCount - first))
      drawAddress(shape.start(ofCell: first), shape, cells, row, on: &canvas)
      for (column, look) in looks(first, count).enumerated() {
        var marks = look.marks
        var role = look.role
        let clusters = clusters(ofCell: first + UInt64(column), shape)
        if changed.overlaps(clusters) { marks.insert(.changed) }
        if !isOfDataFile, desk.isHighlighted(clusters, side) { marks.insert(.twin) }
        if let change = glow.last(where: { $0.clusters.overlaps(clusters) }) {
          // Each step is another one without colour too: reversed, underlined, heavy.
          switch change.step {
          case .fresh: marks.insert(.changed)
          case .fading: role = .changed
          case .faint: marks.insert(.bold)
          }
        }
        canvas.set(cells.x + shape.x(ofColumn: column), cells.y + row, look.glyph, role: role, marks: marks)
      }
    }
    markCursor(shape, cells, on: &canvas)
  }

  /// The cell of the cursor, reverse; on the other side the twin.
  private func markCursor(_ shape: MapShape, _ cells: Rect, on canvas: inout Canvas) {
    let row = shape.row(of: position)
    guard shape.cellCount > 0, row >= window.top, row - window.top < UInt64(shape.rows) else { return }
    let x = cells.x + shape.x(ofColumn: shape.column(of: position))
    let y = cells.y + Int(row - window.top)
    guard cells.contains(Point(x: x, y: y)) else { return }
    let cursor = desk.cursor
    let isActive = cursor.side == side
    // Reversed, a full block would be an empty one: the cell of the cursor shows its letter.
    if isActive || cursor.isTwinned, canvas[x, y].scalar == Glyphs.host(.data).unicode {
      let cell = canvas[x, y]
      canvas.set(x, y, Glyphs.host(.data).ascii, role: cell.role, marks: cell.marks)
    }
    if isActive {
      canvas.restyle(Rect(x: x, y: y, width: 1, height: 1), adding: .selected)
      if hasHardwareCursor { canvas.cursor = Point(x: x, y: y) }
    } else if cursor.isTwinned {
      canvas.restyle(Rect(x: x, y: y, width: 1, height: 1), adding: .twin)
    }
  }

  // MARK: Moving

  func move(_ movement: Movement, _ count: Int, _ room: PaneRoom) {
    let shape = shape(room)
    guard shape.cellCount > 0 else { return }
    if movement == .nextUsed || movement == .previousUsed {
      return moveToUsed(shape, forward: movement == .nextUsed, count)
    }
    let cell = shape.cell(of: position)
    let target = shape.cell(cell, movement, UInt64(count))
    // A movement that leads nowhere must not snap the position to the start of its cell.
    if target != cell { desk.setCursor(side, shape.start(ofCell: target)) }
  }

  private func moveToUsed(_ shape: MapShape, forward: Bool, _ count: Int) {
    var position = position
    for _ in 0..<min(count, 1000) {
      // Searching starts at the edge of the cell, so that the next place lies in another one.
      let start = shape.start(ofCell: shape.cell(of: position))
      let edge = forward ? start + (shape.cellBytes - 1) : start
      guard let next = nextUsed(from: edge >> UInt64(geometry.clusterBits), forward: forward) else {
        desk.tell(forward ? "nothing in use behind here" : "nothing in use before here")
        break
      }
      position = next << UInt64(geometry.clusterBits)
    }
    if position != self.position { desk.setCursor(side, position) }
  }

  /// The cursor goes to the cell at a point.
  func pick(at point: Point, _ room: PaneRoom) {
    let shape = shape(room)
    let cells = cells(room)
    guard cells.contains(point), point.y - cells.y < shape.rows,
      let column = shape.column(atX: point.x - cells.x)
    else { return }
    let cell = (window.top + UInt64(point.y - cells.y)) * UInt64(shape.columns) + UInt64(column)
    guard cell < shape.cellCount else { return }
    desk.setCursor(side, shape.start(ofCell: cell))
  }

  // MARK: Zooming

  /// - Throws: `CommandError` where there is nothing finer or wider.
  func zoom(_ target: ZoomTarget, _ count: Int, _ room: PaneRoom) throws(CommandError) {
    let shape = shape(room)
    let fit = max(shape.fitShift, finestShift)
    var zoom: Zoom
    switch target {
    case .fit: zoom = .fit
    case .in:
      guard shape.shift > finestShift else {
        throw CommandError("one cell is one \(geometry.hasExtendedL2 ? "subcluster" : "cluster") already")
      }
      zoom = .clusters(max(finestShift, shape.shift - min(count, 64)))
    case .out:
      guard shape.shift < fit else { throw CommandError("all of it is in view already") }
      zoom = .clusters(min(fit, shape.shift + min(count, 64)))
    case .bytes(let bytes):
      guard bytes.nonzeroBitCount == 1 else {
        throw CommandError("a cell stands for a power of two of bytes")
      }
      let shift = bytes.trailingZeroBitCount - geometry.clusterBits
      guard shift >= finestShift else {
        throw CommandError(
          "the finest cell is \(Notation.compact(1 << UInt64(geometry.clusterBits + finestShift)))")
      }
      zoom = .clusters(shift)
    }
    if case .clusters(let shift) = zoom, shift >= fit { zoom = .fit }
    window.zoom = zoom
    // The cursor stays in the middle, so that what one looks at does not jump away.
    let new = self.shape(room)
    let row = new.row(of: position)
    window.top = row - min(row, UInt64(new.rows / 2))
  }

}

extension MapPane {
  // MARK: Finding

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    // Letters before numbers: `1` and `2` are states of the host map.
    if let offset = try? Quantity.bytes(text), text.count > 1 {
      try desk.go(to: side == .guest ? .guest(offset) : .host(offset))
      return true
    }
    // A state that only the other side has is looked for there.
    let other = maps.map(side == .guest ? .host : .guest)
    guard knows(text) || !other.knows(text) else {
      guard let found = try other.first(text) else { return false }
      desk.jump(other.side, found << UInt64(geometry.clusterBits))
      return true
    }
    if !knows(text), text.count > 2, try findName(text, forward: forward) { return true }
    let cluster = position >> UInt64(geometry.clusterBits)
    guard let found = try nextAround(text, from: cluster, forward: forward) else { return false }
    desk.remember()
    desk.setCursor(side, found.cluster << UInt64(geometry.clusterBits))
    found.tell(desk, from: cluster, forward)
    return true
  }

  /// The first cluster in a state.
  private func first(_ text: String) throws(CommandError) -> UInt64? {
    try next(text, from: 1, forward: false) == 0 ? 0 : next(text, from: 0, forward: true)
  }

  /// The next cluster in a state, round the end if there is none before it; nil if there is none at all.
  func nextAround(
    _ text: String, from cluster: UInt64, forward: Bool
  ) throws(CommandError) -> FoundState? {
    if let found = try next(text, from: cluster, forward: forward) {
      return FoundState(cluster: found, wrapped: false)
    }
    let found = try forward ? first(text) : next(text, from: .max, forward: false)
    return found.map { FoundState(cluster: $0, wrapped: true) }
  }

  /// Finds a label of the disk, or a cluster by the words for who uses it.
  private func findName(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    let guest = side == .guest ? desk.cursor.guest : forward ? .max : 0
    if let label = desk.label(named: text, from: guest, forward: forward),
      label.range.lowerBound < geometry.virtualSize
    {
      desk.jump(.guest, label.range.lowerBound)
      desk.tell(label.words)
      return true
    }
    guard desk.scene.atlas.isDone else {
      throw CommandError("the scan is not at its end yet: owners cannot be looked for")
    }
    let files = desk.files
    var isStopped = false
    let found = OwnerNameSearch.next(
      text, from: desk.cursor.host >> UInt64(geometry.clusterBits), forward: forward, in: desk.scene
    ) { done in
      isStopped = files.shouldCancel(done)
      return isStopped
    }
    if isStopped { throw CommandError("given up; the cursor stays") }
    guard let found else { return false }
    desk.jump(.host, found.cluster << UInt64(geometry.clusterBits))
    desk.cursor.file = .image
    if found.wrapped { desk.tell(forward ? "round the end" : "round the beginning") }
    return true
  }
}

/// A cluster in a state that was looked for.
struct FoundState {
  var cluster: UInt64
  /// It was found behind the end, or before the beginning.
  var wrapped: Bool

  /// Says that the search went round.
  func tell(_ desk: Desk, from cluster: UInt64, _ forward: Bool) {
    guard wrapped else { return }
    desk.tell(
      self.cluster == cluster ? "there is no other" : forward ? "round the end" : "round the beginning")
  }
}

extension [Range<UInt64>] {
  /// Whether one of them, sorted and apart, covers a part of a range.
  func overlaps(_ range: Range<UInt64>) -> Bool {
    // The first range that ends behind the start decides.
    var low = 0
    var high = count
    while low < high {
      let middle = (low + high) / 2
      if self[middle].upperBound <= range.lowerBound { low = middle + 1 } else { high = middle }
    }
    return low < count && self[low].lowerBound < range.upperBound
  }
}
