// The fragmentation screen apart from its picture: its scans, the cursor in the plot, zoom, and the figures
// as text. Nothing in here changes a byte.

import Cartography
import CellScreen
import QcowFormat
import Qcow
import Storage
import ToolText

/// What the fragmentation screen remembers.
struct FragmentationView: Hashable, Sendable {
  /// Plot, numbers, run lengths with regions.
  static let panes = 3
  var pane = 1
  var choice = ClusterChoice.all
  /// Parts of the disk and of the file in the plot, in clusters; nil for all.
  var guest: Range<UInt64>?
  var host: Range<UInt64>?
  /// The cursor, as clusters, so that it stays where it is when the window changes.
  var guestCluster: UInt64 = 0
  var hostCluster: UInt64 = 0
  /// How often the worst part was asked for.
  var worst = 0
}

extension Explorer {
  // MARK: Scans

  func openFragmentation() {
    if ui.screen == .fragmentation { return }
    // To ask for the plot is to ask for its figures.
    ui.isPaused = false
    remember()
    ui.screen = .fragmentation
    let bits = UInt64(geometry.clusterBits)
    ui.fragmentation.guestCluster = ui.cursor.guest >> bits
    if ui.cursor.isTwinned || ui.cursor.side == .host {
      ui.fragmentation.hostCluster = ui.cursor.host >> bits
    }
  }

  /// The frame of the plot that fits the window.
  func plotFrame(_ layout: ScreenLayout) -> DotPlotFrame {
    let whole = DotPlotScan.whole(session.image)
    let room = layout.plot
    let view = ui.fragmentation
    // A change may have made disk or file smaller than what was zoomed to.
    let guest = view.guest.map { $0.clamped(to: whole.guest) } ?? whole.guest
    let host = view.host.map { $0.clamped(to: whole.host) } ?? whole.host
    return DotPlotFrame(
      guest: guest.isEmpty ? whole.guest : guest, host: host.isEmpty ? whole.host : host,
      columns: room.width, rows: room.height)
  }

  /// Makes the scans that the screen needs now; keeps those that are still right.
  func settleFragmentation(_ layout: ScreenLayout) {
    guard !layout.isTooSmall else { return }
    let revision = session.revision
    if fragmentationScan?.revision != revision {
      fragmentationScan = (revision, FragmentationScan(session.image))
    }
    let frame = plotFrame(layout)
    if plotScan?.revision != revision || plotScan?.frame != frame {
      plotScan = (revision, frame, DotPlotScan(session.image, frame))
    }
    func clamp(_ cluster: UInt64, _ range: Range<UInt64>) -> UInt64 {
      range.isEmpty ? range.lowerBound : max(range.lowerBound, min(cluster, range.upperBound - 1))
    }
    ui.fragmentation.guestCluster = clamp(ui.fragmentation.guestCluster, frame.guest)
    ui.fragmentation.hostCluster = clamp(ui.fragmentation.hostCluster, frame.host)
  }

  /// Scans on, the plot first; true if nothing is left.
  func scanFragmentation(budgetNanoseconds: UInt64) -> Bool {
    if let scan = plotScan?.scan, !scan.isDone {
      scan.step(budgetNanoseconds: budgetNanoseconds)
      return false
    }
    guard let scan = fragmentationScan?.scan, !scan.isDone else { return true }
    return scan.step(budgetNanoseconds: budgetNanoseconds)
  }

  /// The figures as far as they are known.
  var fragmentation: Fragmentation? { fragmentationScan?.scan.result }

  /// How far the scans are; nil if they are done.
  var fragmentationProgress: Double? {
    guard let plot = plotScan?.scan, let scan = fragmentationScan?.scan, !plot.isDone || !scan.isDone else {
      return nil
    }
    return 0.2 * plot.plot.progress + 0.8 * scan.result.progress
  }

  // MARK: The cursor

  /// The cell under the cursor.
  var plotCell: (column: Int, row: Int)? {
    guard let frame = plotScan?.frame, let column = frame.column(of: ui.fragmentation.guestCluster),
      let row = frame.row(of: ui.fragmentation.hostCluster)
    else { return nil }
    return (column, row)
  }

  func moveInPlot(_ id: CommandID, _ count: Int) {
    guard let frame = plotScan?.frame, var (column, row) = plotCell else { return }
    switch id {
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
    default: return
    }
    setPlotCursor(column, row)
  }

  private func setPlotCursor(_ column: Int, _ row: Int) {
    guard let frame = plotScan?.frame else { return }
    ui.fragmentation.guestCluster = frame.guestStart(max(0, min(frame.columns - 1, column)))
    ui.fragmentation.hostCluster = frame.hostStart(max(0, min(frame.rows - 1, row)))
  }

  func selectDot(at point: Point, _ layout: ScreenLayout) {
    guard layout.plot.contains(point) else { return }
    setPlotCursor(point.x - layout.plot.x, layout.plot.endY - 1 - point.y)
  }

  /// An offset of the disk moves the cursor there.
  func findInPlot(_ text: String) throws(CommandError) {
    guard let offset = try? Quantity.bytes(text) else {
      throw CommandError("on the fragmentation screen / takes an offset of the disk such as 5M")
    }
    let cluster = offset >> UInt64(geometry.clusterBits)
    guard let frame = plotScan?.frame, frame.guest.contains(cluster) else {
      throw CommandError("0x\(Notation.hex(offset)) is not in the plot; 0 shows the whole disk")
    }
    ui.fragmentation.guestCluster = cluster
  }

  /// "guest 0x100000 host 0x60000, 12 clusters".
  var plotAddress: String {
    guard let frame = plotScan?.frame, let plot = plotScan?.scan.plot, let (column, row) = plotCell else {
      return ""
    }
    let bits = UInt64(geometry.clusterBits)
    let count = plot.cell(column, row).count(ui.fragmentation.choice)
    return "guest 0x\(Notation.hex(frame.guestStart(column) << bits)) host "
      + "0x\(Notation.hex(frame.hostStart(row) << bits)): \(counted(count, "cluster"))"
  }

  /// To the maps, at the first cluster of the cell, or where the cell would be on the disk.
  func leavePlot() throws(CommandError) {
    guard let frame = plotScan?.frame, let plot = plotScan?.scan.plot, let (column, row) = plotCell else {
      throw CommandError("there is no place in the plot to go to")
    }
    let found = plot.cell(column, row).first(ui.fragmentation.choice)
    let cluster = found ?? frame.guestStart(column)
    try go(to: .guest(min(cluster << UInt64(geometry.clusterBits), max(1, geometry.virtualSize) - 1)))
    if found == nil { tell("no cluster lies in that cell; this is its place on the disk") }
  }

  // MARK: What the plot shows

  func zoomPlot(_ target: ZoomTarget) throws(CommandError) {
    guard let frame = plotScan?.frame, let (column, row) = plotCell else { return }
    switch target {
    case .fit:
      ui.fragmentation.guest = nil
      ui.fragmentation.host = nil
      ui.fragmentation.worst = 0
    case .in:
      let part = frame.zoomed(column: column, row: row)
      guard part.guest != frame.guest || part.host != frame.host else {
        throw CommandError("one cell is one cluster already")
      }
      show(part.guest, part.host)
    case .out:
      let whole = DotPlotScan.whole(session.image)
      guard frame.guest != whole.guest || frame.host != whole.host else {
        throw CommandError("all of it is in view already")
      }
      show(Self.widened(frame.guest, in: whole.guest), Self.widened(frame.host, in: whole.host))
    case .bytes: throw CommandError("the plot is zoomed with in, out and fit")
    }
  }

  private func show(_ guest: Range<UInt64>, _ host: Range<UInt64>) {
    let whole = DotPlotScan.whole(session.image)
    ui.fragmentation.guest = guest == whole.guest ? nil : guest
    ui.fragmentation.host = host == whole.host ? nil : host
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

  func setChoice(_ name: String?) throws(CommandError) {
    let all = ClusterChoice.allCases
    if let name {
      guard let choice = all.first(where: { $0.rawValue.hasPrefix(name) && !name.isEmpty }) else {
        throw CommandError(
          "'\(name)' is no choice of clusters; there are " + all.map(\.rawValue).joined(separator: ", "))
      }
      ui.fragmentation.choice = choice
    } else {
      let index = all.firstIndex(of: ui.fragmentation.choice) ?? 0
      ui.fragmentation.choice = all[(index + 1) % all.count]
    }
    tell("\(ui.fragmentation.choice.rawValue) clusters are plotted and counted")
  }

  /// The figures, if they are complete.
  private func figures() throws(CommandError) -> FragmentationWords {
    guard let result = fragmentation else {
      throw CommandError("the runs are not counted yet; :fragmentation counts them")
    }
    guard result.isComplete else { throw CommandError("the runs are still being counted") }
    return FragmentationWords(result)
  }

  func plotWorst() throws(CommandError) {
    let worst = try figures().worst(ui.fragmentation.choice, limit: FragmentationWords.shownRegions)
    guard !worst.isEmpty else {
      throw CommandError("no part of the disk has more runs than it must have")
    }
    let group = worst[ui.fragmentation.worst % worst.count]
    ui.fragmentation.worst += 1
    show(group.range, DotPlotScan.whole(session.image).host)
    ui.fragmentation.guestCluster = group.range.lowerBound
  }

  func tellDryRun() throws(CommandError) {
    let text = try figures()
    guard let plot = plotScan?.scan.plot, plot.isComplete else {
      throw CommandError("the plot is still being counted")
    }
    let rewrite = text.fragmentation.rewrite(
      plot.frame.guest, clusters: plot.part.clusters, runs: plot.part.runs, stretches: plot.part.stretches)
    tell("dry run: " + text.text(of: rewrite))
  }

  func copyFigures(_ path: String?, json: Bool) throws(CommandError) {
    let figures = FragText(try figures().fragmentation)
    let text = json ? figures.json : figures.human
    let lines = text.utf8.count { $0 == 10 }
    guard let path else {
      tell("\(counted(lines, "line")) of \(json ? "JSON" : "text") for the clipboard")
      effects.append(.copy(text))
      return
    }
    do throws(StorageError) { try files.writeText(text, to: path) } catch {
      throw CommandError(error.description)
    }
    tell("wrote \(counted(lines, "line")) to '\(TextWidth.sanitized(path))'")
  }
}
