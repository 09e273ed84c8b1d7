// The host screen: the whole file in one strip, a window of it cluster by cluster, what fills it and what could be
// given back, and everybody who owns the cluster of the cursor. All of it speaks about the cursor of the maps.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The screen of the file itself.
  package static let host = ScreenKind("host")
}

extension Context {
  /// Where its keys are.
  package static let host = Context("host", title: "Host file", [.image, .searched])
}

extension Contexts {
  static let host = Contexts(.host)
}

extension CommandID {
  static let host = CommandID("host")
  static let window = CommandID("window")
}

/// A pane of the host screen, by its number.
enum HostPane: Int, CaseIterable, Sendable {
  case strip = 1
  case window, figures, owners
}

final class HostScreen: Screen {
  static let kind = ScreenKind.host
  static let contexts: [Context] = [.host]

  let desk: Desk
  /// The pane that has the keys.
  private(set) var pane = HostPane.window
  /// The selected row of the figures and of the owners, and the first of each that is seen.
  private(set) var rows = [0, 0]
  private(set) var tops = [0, 0]
  private(set) lazy var map = HostWindow(self)
  private var ownersOf: UInt64?
  private var search: (map: ObjectIdentifier, search: FreeRunSearch)?
  private var next: (revision: Int, map: ObjectIdentifier, value: NextCluster?)?

  init(_ desk: Desk) { self.desk = desk }

  // MARK: What it shows

  var layout: HostLayout { HostLayout(desk.frame, pane: pane) }
  var room: PaneRoom {
    PaneRoom(frame: layout.window, isFocused: pane == .window, isAlone: desk.frame.isOnePane)
  }

  /// The longest rows of free clusters of the file that is shown.
  var freeRuns: FreeRunSearch {
    let scene = desk.scene
    let (id, make): (ObjectIdentifier, () -> FreeRunSearch)
    if let map = desk.host.map {
      (id, make) = (ObjectIdentifier(map), { FreeRunSearch(map) })
    } else {
      (id, make) = (ObjectIdentifier(scene.atlas), { FreeRunSearch(scene.atlas) })
    }
    if let search, search.map == id { return search.search }
    let made = make()
    search = (id, made)
    return made
  }

  /// What fills the file that is shown, as far as it is known.
  var figures: FileLayout {
    desk.host.map.map { FileLayout($0, geometry: desk.geometry, tail: freeRuns.tail) }
      ?? FileLayout(desk.scene.atlas)
  }

  /// The cluster that is taken next in the image file.
  var nextCluster: NextCluster? {
    let atlas = desk.scene.atlas
    let id = ObjectIdentifier(atlas)
    if let next, next.revision == atlas.revision, next.map == id { return next.value }
    let value = atlas.nextCluster
    next = (atlas.revision, id, value)
    return value
  }

  var figureRows: [HostFigure] { HostFigure.rows(self) }

  func sessionWasReplaced() {
    search = nil
    next = nil
  }

  // MARK: Words

  var context: Context { .host }

  var titles: [String] {
    let figures = figures
    let name =
      desk.scene.dataFileName.map { desk.host.isData ? " of data file \($0)" : " of the image file" } ?? ""
    let clusters = counted(figures.clusters, "cluster")
    return [
      " host file\(name): \(figures.length) bytes, \(clusters) of \(Notation.compact(desk.geometry.clusterSize))",
      "host file\(name): \(Notation.compact(figures.length)), \(clusters)", "\(clusters)", "host",
    ]
  }

  var hints: [HintRule] {
    let moves = HintRule([.left, .down, .up, .right], "move")
    let list = HintRule([.down, .up], "choose")
    return [
      pane == .window || pane == .strip ? moves : list,
      HintRule(.zoom, .zoom, arguments: [["in"], ["out"]], separator: "/"),
      HintRule(.window, .window, arguments: [["previous"], ["next"]], separator: " ", "window"),
      HintRule(.follow, nil, followHint, short: "go"), HintRule(.nextPane, nil, "pane"), HintRule(.lens),
      HintRule(.otherSide, nil, "guest side", short: "guest"), HintRule(.hex), HintRule(.search),
      HintRule(.prompt), HintRule(.help), .back,
    ]
  }

  private var followHint: String {
    switch pane {
    case .strip: "window there"
    case .window, .owners: "its owner"
    case .figures: "where it is"
    }
  }

  static let keys: [CommandID: [KeyRule]] = [
    .nextPane: [KeyRule("Tab", in: .host)], .previousPane: [KeyRule("S-Tab", in: .host)],
    .focus: HostPane.allCases.map { KeyRule(String($0.rawValue), in: .host, [String($0.rawValue)]) },
    .zoom: [
      KeyRule("+ =", in: .host, ["in"]), KeyRule("-", in: .host, ["out"]), KeyRule("_", in: .host, ["fit"]),
    ],
    .lens: [KeyRule("o", in: .host)], .lensList: [KeyRule("O", in: .host)],
    .otherFile: [KeyRule("f", in: .host)],
    Movement.nextUsed.id: [KeyRule("J", in: .host)], Movement.previousUsed.id: [KeyRule("K", in: .host)],
  ]

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    HostDrawing(self, HostLayout(frame, pane: pane)).draw(on: &canvas)
  }

  var cursorText: String { layout.owners.isEmpty ? desk.cursorText : "" }

  // MARK: Answers

  var address: Address {
    Address(.host, [UInt64(pane.rawValue), UInt64(rows[0]), UInt64(rows[1])])
  }

  func restore(_ address: Address) {
    pane = HostPane(rawValue: Int(clamping: address[0])) ?? .window
    rows = [Int(clamping: address[1]), Int(clamping: address[2])]
  }

  func keepsake() -> () -> Void {
    let (pane, rows, tops, window) = (pane, rows, tops, map.window)
    return {
      (self.pane, self.rows, self.tops) = (pane, rows, tops)
      self.map.window = window
    }
  }

  func settle() {
    // Another cluster begins with its first owner.
    if ownersOf != desk.cursor.host {
      ownersOf = desk.cursor.host
      (rows[1], tops[1]) = (0, 0)
    }
    let layout = layout
    let counts = [figureRows.count, HostOwner.rows(desk).count]
    for (index, height) in [layout.figureRows, layout.ownerRows].enumerated() {
      rows[index] = max(0, min(rows[index], counts[index] - 1))
      tops[index] =
        ListWindow(count: counts[index], height: height, selected: rows[index], top: tops[index]).top
    }
    map.settle(room)
  }

  func move(_ movement: Movement, _ count: Int) {
    switch pane {
    case .window: map.move(movement, count, room)
    case .strip: moveInStrip(movement, count)
    case .figures:
      rows[0] = movement.row(from: rows[0], count, in: figureRows.count, page: layout.figureRows)
    case .owners:
      rows[1] = movement.row(from: rows[1], count, in: HostOwner.rows(desk).count, page: layout.ownerRows)
    }
  }

  /// The cells of the strip.
  func strip(_ columns: Int) -> [HostStripCell] {
    desk.host.map?.strip(columns: columns) ?? desk.scene.atlas.hostStrip(columns: columns)
  }

  private var cluster: UInt64 { desk.cursor.host >> UInt64(desk.geometry.clusterBits) }

  private func moveInStrip(_ movement: Movement, _ count: Int) {
    let cells = strip(max(1, layout.strip.width - 4))
    guard let at = cells.firstIndex(where: { $0.clusters.contains(cluster) }) else { return }
    switch movement {
    case .nextUsed, .previousUsed: map.move(movement, count, room)
    default:
      let to = movement.row(from: at, count, in: cells.count, page: max(1, cells.count / 10))
      if to != at { setCursor(cells[to].clusters.lowerBound) }
    }
  }

  private func setCursor(_ cluster: UInt64) {
    desk.setCursor(.host, cluster << UInt64(desk.geometry.clusterBits))
  }

  /// So many windows on, or back.
  fileprivate func moveWindow(_ step: Int) {
    map.move(step > 0 ? .pageDown : .pageUp, abs(step), room)
  }

  func focus(_ pane: Int) throws(CommandError) {
    guard let pane = HostPane(rawValue: pane) else { throw CommandError("the panes are 1, 2, 3 and 4") }
    self.pane = pane
  }

  func focusNext(_ step: Int) {
    let all = HostPane.allCases
    pane = all[(pane.rawValue - 1 + step + all.count) % all.count]
  }

  func focus(at point: Point, _ frame: ScreenFrame) {
    let layout = HostLayout(frame, pane: pane)
    pane = HostPane.allCases.first { layout[$0].contains(point) } ?? pane
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    let layout = HostLayout(frame, pane: pane)
    switch pane {
    case .window: map.pick(at: point, room)
    case .strip:
      let inner = layout.strip.inset(2, 1)
      let cells = strip(inner.width)
      guard inner.contains(point), !cells.isEmpty else { return }
      setCursor(cells[(point.x - inner.x) * cells.count / max(1, inner.width)].clusters.lowerBound)
    case .figures:
      rows[0] = layout.figures.row(at: point, heading: 1, top: tops[0], of: figureRows.count) ?? rows[0]
    case .owners:
      let count = HostOwner.rows(desk).count
      rows[1] = layout.owners.row(at: point, heading: 2, top: tops[1], of: count) ?? rows[1]
    }
  }

  func follow() throws(CommandError) {
    switch pane {
    case .strip: pane = .window
    case .window:
      guard let owner = HostOwner.rows(desk).first else { throw CommandError("nobody owns this cluster") }
      try owner.follow(desk)
    case .owners:
      let owners = HostOwner.rows(desk)
      guard owners.indices.contains(rows[1]) else { throw CommandError("nobody owns this cluster") }
      try owners[rows[1]].follow(desk)
    case .figures:
      let figures = figureRows
      guard figures.indices.contains(rows[0]) else { return }
      let cluster = try figures[rows[0]].place(self, behind: cluster)
      desk.remember()
      setCursor(cluster)
    }
  }

  func go(toHost offset: UInt64) -> Bool {
    desk.remember()
    desk.setCursor(.host, offset)
    return true
  }

  func goToOtherSide() throws(CommandError) {
    guard desk.cursor.isTwinned else { throw CommandError("no guest place belongs to this host cluster") }
    desk.jump(.guest, desk.cursor.guest)
  }

  /// Every owner in the list has a way of its own.
  func offersSnapshot(for command: CommandID) -> Bool { command == .otherSide }

  func zoom(_ target: ZoomTarget, _ count: Int) throws(CommandError) { try map.zoom(target, count, room) }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    if text.count > 1, let offset = try? Quantity.bytes(text) {
      try desk.go(to: .host(offset))
      return true
    }
    guard let found = try desk.screen(MapsScreen.self)?.nextHost(text, from: cluster, forward: forward) else {
      return false
    }
    let before = cluster
    desk.remember()
    setCursor(found.cluster)
    found.tell(desk, from: before, forward)
    return true
  }

  var searchScope: String {
    "in the file" + (desk.scene.atlas.isDone ? "" : " so far, as the scan is not at its end")
  }

  // MARK: Time

  /// The rows of free clusters follow the map, and so do all owners of the cluster.
  var scans: [any Work] {
    desk.scene.works + [freeRuns, OwnersWork(desk)] + (desk.screen(MapsScreen.self)?.sheets ?? [])
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .host, .looking, aliases: ["file"], keys: [KeyRule("X", in: .image)], hint: "host file", short: "host",
      help: """
        the file itself: all of it in a strip, a window of it, what fills it in bytes and per cent, what could be \
        given back, and all owners of a cluster
        """,
      run: run { screen, _ in
        let desk = screen.desk
        desk.open(.host)
        desk.setCursor(.host, desk.cursor.host)
        desk.settle()
      }),
    CommandSpec(
      .window, .looking, arguments: [CommandArgument("WAY", .way)],
      keys: [KeyRule(">", in: .host, ["next"]), KeyRule("<", in: .host, ["previous"])], counts: true,
      hint: "window", help: "on the host screen, the next window of the file or the one before",
      run: run { screen, command throws(CommandError) in
        guard screen.isShown else { throw CommandError("\(CommandID.host) shows the windows of the file") }
        let isNext = try ValueType.way.parse(command.arguments.first ?? "") == "next"
        screen.moveWindow(isNext ? command.times : -command.times)
      }),
  ]
}

extension ValueType where Value == String {
  /// Forward or back.
  fileprivate static var way: ValueType {
    ValueType(candidates: { _ in ["next", "previous"] }) { word throws(CommandError) in
      guard word == "next" || word == "previous" else {
        throw CommandError("'\(word)' is neither 'next' nor 'previous'")
      }
      return word
    }
  }
}

/// Looks for the owners of the cluster of the cursor until all are found.
private final class OwnersWork: Work {
  private let desk: Desk
  private var host: HostOffset { HostOffset(desk.cursor.host) }

  init(_ desk: Desk) { self.desk = desk }

  private var isDone: Bool { desk.host.isData || desk.host.owners(host).isComplete }
  var progress: Double { 0 }

  func step(budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    while !isDone { if clock.now >= end { return false } }
    return true
  }
}

/// The window of the file, cluster by cluster unless it is zoomed.
final class HostWindow: MapView {
  private unowned let screen: HostScreen
  let desk: Desk
  let side = Side.host
  var window = MapWindow(zoom: .clusters(0))

  init(_ screen: HostScreen) {
    self.screen = screen
    desk = screen.desk
  }

  var hasHardwareCursor: Bool { screen.pane == .window }

  func cells(_ room: PaneRoom) -> Rect { room.inner }

  func shape(_ room: PaneRoom) -> MapShape {
    let host = desk.host
    return MapShape(
      total: host.total, clusterBits: geometry.clusterBits, finest: finestShift, zoom: window.zoom,
      width: room.inner.width, height: room.inner.height, addressWidth: host.digits)
  }

  func settle(_ room: PaneRoom) { window.top = shape(room).top(keeping: window.top, visible: position) }

  func nextUsed(from cluster: UInt64, forward: Bool) -> UInt64? {
    desk.screen(MapsScreen.self)?.map(.host).nextUsed(from: cluster, forward: forward)
  }

  /// The host clusters that are seen.
  func seen(_ room: PaneRoom) -> Range<UInt64> {
    let shape = shape(room)
    guard shape.cellCount > 0 else { return 0..<0 }
    let first = window.top * UInt64(shape.columns)
    let end = min(shape.cellCount, first + UInt64(shape.columns * shape.rows))
    guard first < end else { return 0..<0 }
    return clusters(ofCell: first, shape)
      .lowerBound..<min(
        clusters(ofCell: end - 1, shape).upperBound, geometry.clustersCovering(desk.host.total))
  }
}
