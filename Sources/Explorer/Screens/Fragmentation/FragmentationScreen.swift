// The fragmentation screen: a dot plot of guest against host offset, the numbers, how long the runs are, and
// where most of them could be saved. A frame costs its cells; the counting is done by scans. Nothing in here
// changes a byte.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage
import ToolText

extension ScreenKind {
  /// The screen of the order of clusters.
  package static let fragmentation = ScreenKind("fragmentation")
}

extension Context {
  /// Where its keys are.
  package static let fragmentation = Context("fragmentation", title: "Fragmentation", [.searched])
}

extension Contexts {
  static let fragmentation = Contexts(.fragmentation)
}

final class FragmentationScreen: Screen {
  static let kind = ScreenKind.fragmentation
  static let contexts: [Context] = [.fragmentation]
  /// Plot, numbers, run lengths with regions.
  static let panes = 3

  let desk: Desk
  private(set) var pane = 1
  private(set) var choice = ClusterChoice.all
  /// Parts of the disk and of the file in the plot, in clusters; nil for all.
  private var guest: Range<UInt64>?
  private var host: Range<UInt64>?
  /// The cursor, as clusters, so that it stays where it is when the window changes.
  private var guestCluster: UInt64 = 0
  private var hostCluster: UInt64 = 0
  /// How often the worst part was asked for.
  private var worst = 0
  /// The scans, made when the screen is first seen.
  private var runScan: (revision: Int, scan: FragmentationScan)?
  private var plotScan: (revision: Int, grid: PlotGrid, scan: DotPlotScan)?

  init(_ desk: Desk) { self.desk = desk }

  private var session: Session { desk.session }
  private var scene: Scene { desk.scene }
  private var geometry: Geometry { desk.geometry }
  private var bits: UInt64 { UInt64(geometry.clusterBits) }

  func sessionWasReplaced() {
    runScan = nil
    plotScan = nil
  }

  // MARK: Words

  var context: Context { .fragmentation }
  var titles: [String] { [" fragmentation", "fragmentation", "frag"] }
  var hints: [HintRule] {
    [
      HintRule([.left, .down, .up, .right], "move"), HintRule(.zoom, ["in"]),
      HintRule(.zoom, ["fit"], "whole"), HintRule(.otherSide, nil, "explorer"), HintRule(.lens),
      HintRule(.worst), HintRule(.dryRun), HintRule(.copy), HintRule(.json), HintRule(.prompt),
      HintRule(.help), .back,
    ]
  }

  /// "guest 0x100000 host 0x60000: 12 clusters".
  var cursorText: String {
    guard let frame = grid, let plot, let (column, row) = cell else { return "" }
    let count = frame.cell(column, row, of: plot).count(choice)
    return "guest 0x\(Notation.hex(frame.guestStart(column) << bits)) host "
      + "0x\(Notation.hex(frame.hostStart(row) << bits)): \(counted(count, "cluster"))"
  }

  var partialReason: String? { figures?.partialReason }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    guard let plot, let figures else { return }
    FragmentationDrawing(self, FragmentationLayout(frame, pane: pane)).draw(
      plot, FragmentationWords(figures), on: &canvas)
  }

  // MARK: Scans

  var plot: DotPlot? { plotScan?.scan.plot }
  /// The figures as far as they are known.
  private var figures: Fragmentation? { runScan?.scan.result }

  /// The letters of the plot.
  var grid: PlotGrid? { plotScan?.grid }

  /// The grid of the plot that fits the window.
  private func grid(_ layout: FragmentationLayout) -> PlotGrid {
    let whole = DotPlotScan.whole(scene.image)
    let room = layout.cells
    // A change may have made disk or file smaller than what was zoomed to.
    let guest = guest.map { $0.clamped(to: whole.guest) } ?? whole.guest
    let host = host.map { $0.clamped(to: whole.host) } ?? whole.host
    return PlotGrid(
      guest: guest.isEmpty ? whole.guest : guest, host: host.isEmpty ? whole.host : host,
      columns: room.width, rows: room.height, desk.glyphs)
  }

  /// Makes the scans that the screen needs now; keeps those that are still right.
  func settle() {
    guard !desk.frame.isTooSmall else { return }
    let revision = desk.revision
    if runScan?.revision != revision {
      runScan = (revision, FragmentationScan(scene.image))
    }
    let frame = grid(FragmentationLayout(desk.frame, pane: pane))
    if plotScan?.revision != revision || plotScan?.grid != frame {
      plotScan = (revision, frame, DotPlotScan(scene.image, frame.dots))
    }
    func clamp(_ cluster: UInt64, _ range: Range<UInt64>) -> UInt64 {
      range.isEmpty ? range.lowerBound : max(range.lowerBound, min(cluster, range.upperBound - 1))
    }
    guestCluster = clamp(guestCluster, frame.guest)
    hostCluster = clamp(hostCluster, frame.host)
  }

  /// The plot first.
  var scans: [any Work] {
    let all: [(any Work)?] = [plotScan?.scan, runScan?.scan]
    return all.compactMap { $0 }
  }

  var progress: (text: String, done: Double)? {
    guard let plot = plotScan?.scan, let scan = runScan?.scan, !plot.isDone || !scan.isDone else {
      return nil
    }
    return ("counting", 0.2 * plot.plot.progress + 0.8 * scan.result.progress)
  }

  // MARK: Panes and cursor

  func focus(_ pane: Int) throws(CommandError) { self.pane = max(1, min(Self.panes, pane)) }

  func focusNext(_ step: Int) { pane = (pane - 1 + step + Self.panes) % Self.panes + 1 }

  func keepsake() -> () -> Void {
    let (pane, guestCluster, hostCluster) = (pane, guestCluster, hostCluster)
    return {
      self.pane = pane
      self.guestCluster = guestCluster
      self.hostCluster = hostCluster
    }
  }

  /// The cell under the cursor.
  var cell: (column: Int, row: Int)? {
    guard let frame = grid, let column = frame.column(of: guestCluster),
      let row = frame.row(of: hostCluster)
    else { return nil }
    return (column, row)
  }

  func move(_ movement: Movement, _ count: Int) {
    guard let frame = grid, var (column, row) = cell else { return }
    switch movement {
    case .left: column -= count
    case .right: column += count
    case .up: row += count
    case .down: row -= count
    case .pageUp: row += count * max(1, frame.rows / 2)
    case .pageDown: row -= count * max(1, frame.rows / 2)
    case .halfUp: row += count * max(1, frame.rows / 4)
    case .halfDown: row -= count * max(1, frame.rows / 4)
    case .first: (column, row) = (0, 0)
    case .last: (column, row) = (frame.columns - 1, frame.rows - 1)
    case .rowStart: column = 0
    case .rowEnd: column = frame.columns - 1
    case .nextUsed, .previousUsed: return
    }
    setCursor(column, row)
  }

  private func setCursor(_ column: Int, _ row: Int) {
    guard let frame = grid else { return }
    guestCluster = frame.guestStart(max(0, min(frame.columns - 1, column)))
    hostCluster = frame.hostStart(max(0, min(frame.rows - 1, row)))
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    let cells = FragmentationLayout(frame, pane: pane).cells
    guard cells.contains(point) else { return }
    setCursor(point.x - cells.x, cells.endY - 1 - point.y)
  }

  /// An offset of the disk moves the cursor there.
  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    guard let offset = try? Quantity.bytes(text) else {
      throw CommandError(
        "on the fragmentation screen \(desk.key(.search)) takes an offset of the disk such as 5M")
    }
    let cluster = offset >> bits
    guard let frame = grid, frame.guest.contains(cluster) else {
      throw CommandError(
        "0x\(Notation.hex(offset)) is not in the plot; \(desk.key(.zoom, "fit")) shows the whole disk")
    }
    guestCluster = cluster
    return true
  }

  func follow() throws(CommandError) { try zoom(.in, 1) }

  /// To the maps, at the first cluster of the cell, or where the cell would be on the disk.
  func goToOtherSide() throws(CommandError) {
    guard let frame = grid, let plot, let (column, row) = cell else {
      throw CommandError("there is no place in the plot to go to")
    }
    let found = frame.cell(column, row, of: plot).first(choice)
    let cluster = found ?? frame.guestStart(column)
    try desk.go(to: .guest(min(cluster << bits, max(1, geometry.virtualSize) - 1)))
    if found == nil { desk.tell("no cluster lies in that cell; this is its place on the disk") }
  }

  // MARK: What the plot shows

  func zoom(_ target: ZoomTarget, _ count: Int) throws(CommandError) {
    guard let frame = grid, let (column, row) = cell else { return }
    switch target {
    case .fit:
      guest = nil
      host = nil
      worst = 0
    case .in:
      let part = frame.zoomed(column: column, row: row)
      guard part.guest != frame.guest || part.host != frame.host else {
        throw CommandError("one cell is one cluster already")
      }
      show(part.guest, part.host)
    case .out:
      let whole = DotPlotScan.whole(scene.image)
      guard frame.guest != whole.guest || frame.host != whole.host else {
        throw CommandError("all of it is in view already")
      }
      show(Self.widened(frame.guest, in: whole.guest), Self.widened(frame.host, in: whole.host))
    case .bytes: throw CommandError("the plot is zoomed with in, out and fit")
    }
  }

  private func show(_ guest: Range<UInt64>, _ host: Range<UInt64>) {
    let whole = DotPlotScan.whole(scene.image)
    self.guest = guest == whole.guest ? nil : guest
    self.host = host == whole.host ? nil : host
  }

  /// Four times as long with the same middle, as far as there is room.
  private static func widened(_ part: Range<UInt64>, in whole: Range<UInt64>) -> Range<UInt64> {
    let all = whole.upperBound - whole.lowerBound
    let length = part.upperBound - part.lowerBound
    guard length <= all / 4 else { return whole }
    let wanted = length * 4
    let middle = part.lowerBound + length / 2
    let start = max(whole.lowerBound, middle - min(middle, wanted / 2))
    let first = min(start, whole.upperBound - wanted)
    return first..<first + wanted
  }

  func choose(_ name: String?) throws(CommandError) {
    let all = ClusterChoice.allCases
    if let name {
      guard let found = all.first(where: { $0.rawValue.hasPrefix(name) && !name.isEmpty }) else {
        throw CommandError(
          "'\(name)' is no choice of clusters; there are " + all.map(\.rawValue).joined(separator: ", "))
      }
      choice = found
    } else {
      choice = all[((all.firstIndex(of: choice) ?? 0) + 1) % all.count]
    }
    desk.tell("\(choice.rawValue) clusters are plotted and counted")
  }

  // MARK: Commands

  fileprivate func open() {
    if isShown { return }
    // To ask for the plot is to ask for its figures.
    desk.isPaused = false
    desk.remember()
    desk.show(.fragmentation)
    guestCluster = desk.cursor.guest >> bits
    if desk.cursor.isTwinned || desk.cursor.side == .host { hostCluster = desk.cursor.host >> bits }
  }

  /// The figures, if they are complete.
  private func completeFigures() throws(CommandError) -> FragmentationWords {
    guard let figures else {
      throw CommandError("the runs are not counted yet; \(CommandID.fragmentation) counts them")
    }
    guard figures.isComplete else { throw CommandError("the runs are still being counted") }
    return FragmentationWords(figures)
  }

  fileprivate func plotWorst() throws(CommandError) {
    let groups = try completeFigures().worst(choice, limit: FragmentationWords.shownRegions)
    guard !groups.isEmpty else {
      throw CommandError("no part of the disk has more runs than it must have")
    }
    let group = groups[worst % groups.count]
    worst += 1
    show(group.range, DotPlotScan.whole(scene.image).host)
    guestCluster = group.range.lowerBound
  }

  fileprivate func tellDryRun() throws(CommandError) {
    let text = try completeFigures()
    guard let plot, plot.isComplete else { throw CommandError("the plot is still being counted") }
    let rewrite = text.fragmentation.rewrite(
      plot.frame.guest, clusters: plot.part.clusters, runs: plot.part.runs, stretches: plot.part.stretches)
    desk.tell("dry run: " + text.text(of: rewrite))
  }

  fileprivate func copy(to path: String?, json: Bool) throws(CommandError) {
    let figures = FragText(try completeFigures().fragmentation)
    let text = json ? figures.json : figures.human
    let lines = text.utf8.count { $0 == 10 }
    guard let path else {
      desk.tell("\(counted(lines, "line")) of \(json ? "JSON" : "text") for the clipboard")
      desk.effects.append(.copy(text))
      return
    }
    do throws(StorageError) { try desk.files.writeText(text, to: path) } catch {
      throw CommandError(error.description)
    }
    desk.tell("wrote \(counted(lines, "line")) to '\(TextWidth.sanitized(path))'")
  }

  static let choices = ClusterChoice.allCases.map(\.rawValue)

  static let keys: [CommandID: [KeyRule]] = [
    .zoom: [
      KeyRule("-", in: .fragmentation, ["out"]), KeyRule("Enter + =", in: .fragmentation, ["in"]),
      KeyRule("0 _", in: .fragmentation, ["fit"]),
    ],
    .focus: (1...panes).map { KeyRule(String($0), in: .fragmentation, [String($0)]) },
    .nextPane: [KeyRule("Tab", in: .fragmentation)], .previousPane: [KeyRule("S-Tab", in: .fragmentation)],
    .lens: [KeyRule("o", in: .fragmentation)], .otherSide: [KeyRule("x", in: .fragmentation)],
    .back: [KeyRule("b Backspace", in: .fragmentation)],
  ]

  static let commands: [CommandSpec] = [
    CommandSpec(
      .fragmentation, .looking, aliases: ["frag"], keys: [KeyRule("F", in: .image)], hint: "fragmentation",
      short: "frag",
      help: "how scattered the clusters are, where, and what that costs: plot, runs, jumps, reads",
      run: run { screen, _ in screen.open() }),
    CommandSpec(
      .worst, .looking, keys: [KeyRule("f", in: .fragmentation)], hint: "worst part",
      help: "the plot shows the part of the disk with the most runs that could be saved; again the next one",
      run: run { screen, _ throws(CommandError) in try screen.plotWorst() }),
    CommandSpec(
      .dryRun, .looking, keys: [KeyRule("r", in: .fragmentation)], hint: "dry run",
      help: "what rewriting the plotted part of the disk in order would need and leave; nothing is changed",
      run: run { screen, _ throws(CommandError) in try screen.tellDryRun() }),
    CommandSpec(
      .copy, .looking, arguments: [CommandArgument("FILE", .file, optional: true)],
      keys: [KeyRule("y", in: .fragmentation)], hint: "copy",
      help: "the figures of fragmentation as text, to the clipboard of the terminal or to a file",
      run: run { screen, command throws(CommandError) in
        try screen.copy(to: command.arguments.first, json: false)
      }),
    CommandSpec(
      .json, .looking, arguments: [CommandArgument("FILE", .file, optional: true)],
      keys: [KeyRule("J", in: .fragmentation)], hint: "JSON",
      help: "the figures of fragmentation as JSON, to the clipboard of the terminal or to a file",
      run: run { screen, command throws(CommandError) in
        try screen.copy(to: command.arguments.first, json: true)
      }),
  ]
}

extension CommandID {
  static let fragmentation = CommandID("fragmentation")
  static let worst = CommandID("worst")
  static let dryRun = CommandID("dry-run")
  static let copy = CommandID("copy")
  static let json = CommandID("json")
}
