// The screen of snapshots and layers: the disk as it is now, every internal snapshot and every layer below in one
// list, with what each holds, what comes back if it goes, and how the disk looks through it. Any row can be explored.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The screen of snapshots and layers.
  package static let snapshots = ScreenKind("snapshots")
}

extension Context {
  /// Where its keys are.
  package static let snapshots = Context("snapshots", title: "Snapshots and layers", [.image, .searched])
}

extension Contexts {
  static let snapshots = Contexts(.snapshots)
}

extension CommandID {
  static let snapshots = CommandID("snapshots")
}

final class SnapshotsScreen: Screen {
  static let kind = ScreenKind.snapshots
  static let contexts: [Context] = [.snapshots]

  /// A row of the list.
  enum Row: Hashable {
    case now
    case snapshot(Int)
    /// 1 for the layer directly below.
    case layer(Int)
  }

  let desk: Desk
  private(set) var selected = 0
  private(set) var top = 0
  /// What everybody holds, counted when the screen is first seen.
  private var counted: (revision: Int, counts: Counts)?
  /// What the second pane shows.
  private(set) var view = View.disks

  /// What there is to see of all rows.
  enum View: String, CaseIterable {
    /// The disk as each of them has it.
    case disks
    /// What each pair has in common.
    case pairs
    /// What the files of the chain hold.
    case layers
  }

  /// What everybody holds.
  private struct Counts {
    let sharing: SnapshotSharing
    let holders: HolderMap
    let layers: LayerShares
  }

  static let choices = View.allCases.map(\.rawValue)

  init(_ desk: Desk) { self.desk = desk }

  /// The image that is worked on, whatever is looked at.
  var image: Image { desk.session.image }

  var rows: [Row] {
    [.now] + image.snapshots.indices.map { .snapshot($0) } + layers.indices.map { .layer($0 + 1) }
  }

  var row: Row { rows.indices.contains(selected) ? rows[selected] : .now }

  /// The layers below the image, the nearest first.
  var layers: [any GuestLayer] { Array(image.layers.dropFirst()) }

  private var counts: Counts {
    let revision = desk.session.revision
    if let counted, counted.revision == revision { return counted.counts }
    let counts = Counts(
      sharing: SnapshotSharing(image), holders: HolderMap(image), layers: LayerShares(image))
    counted = (revision, counts)
    return counts
  }

  var sharing: SnapshotSharing { counts.sharing }
  /// Who leads to which cluster.
  var holders: HolderMap { counts.holders }
  var layerShares: LayerShares { counts.layers }

  /// What a layer holds; that of the image for the disk.
  func share(_ row: Row) -> LayerShare? {
    let depth: Int
    switch row {
    case .now: depth = 0
    case .layer(let number): depth = number
    case .snapshot: return nil
    }
    return layerShares.layers.indices.contains(depth) ? layerShares.layers[depth] : nil
  }

  /// - Throws: `CommandError` for a word that is none of them.
  func choose(_ name: String?) throws(CommandError) {
    if let name {
      guard let found = View.allCases.first(where: { $0.rawValue.hasPrefix(name) && !name.isEmpty }) else {
        throw CommandError("'\(name)' is not shown here; there are disks, pairs and layers")
      }
      view = found
    } else {
      let at = View.allCases.firstIndex(of: view) ?? 0
      view = View.allCases[(at + 1) % View.allCases.count]
    }
  }

  /// What a row holds; nil for a layer, and until it is counted.
  func holding(_ row: Row) -> DiskHolding? {
    switch row {
    case .now: sharing.counted.first
    case .snapshot(let index): sharing.counted.first { $0.snapshot == index }
    case .layer: nil
    }
  }

  /// The row that all screens show now.
  var shown: Row? {
    switch desk.scene.subject {
    case .live: .now
    case .snapshot(let index): .snapshot(index)
    case .layer(let depth): .layer(depth)
    default: nil
    }
  }

  func sessionWasReplaced() { counted = nil }

  // MARK: Words

  var context: Context { .snapshots }

  var titles: [String] {
    let snapshots = SnapshotsWords.some(image.snapshots.count, "snapshot")
    let layers = SnapshotsWords.some(layers.count, "layer") + " below"
    return [" snapshots and layers: \(snapshots), \(layers)", "\(snapshots), \(layers)", snapshots]
  }

  var hints: [HintRule] {
    [
      HintRule([.down, .up], "move"), HintRule(.follow, nil, "explore it"),
      HintRule(.lens, nil, "shares"),
      HintRule(CommandID(CreateSnapshot.words.name), nil, "create"),
      HintRule(CommandID(ApplySnapshot.words.name), nil, "apply"),
      HintRule(CommandID(DeleteSnapshot.words.name), nil, "delete"),
      HintRule(CommandID(RebaseOnto.words.name), nil, "rebase"),
    ] + (layers.isEmpty ? [] : [HintRule(CommandID(CommitDown.words.name), nil, "commit")]) + [
      HintRule(.undo), HintRule(.prompt), HintRule(.help), .back,
    ]
  }

  static let keys: [CommandID: [KeyRule]] = [
    .lens: [KeyRule("o", in: .snapshots)],
    CommandID(CreateSnapshot.words.name): [KeyRule("c", in: .snapshots)],
    CommandID(ApplySnapshot.words.name): [KeyRule("a", in: .snapshots)],
    CommandID(DeleteSnapshot.words.name): [KeyRule("d", in: .snapshots)],
    CommandID(CommitDown.words.name): [KeyRule("C", in: .snapshots, [ImageChanges.ask])],
    CommandID(RebaseOnto.words.name): [KeyRule("r", in: .snapshots)],
  ]

  var cursorText: String { "" }
  var progress: (text: String, done: Double)? {
    if !sharing.isDone { return ("who holds what", sharing.progress) }
    if view == .pairs, !holders.isDone { return ("what they share", holders.progress) }
    return layerShares.isDone || layers.isEmpty && view != .layers
      ? nil : ("the layers", layerShares.progress)
  }
  var partialReason: String? { sharing.remark ?? (view == .pairs ? holders.remark : nil) }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    SnapshotsDrawing(self, StripLayout(frame, rows: rows.count)).draw(on: &canvas)
  }

  // MARK: Answers

  var address: Address { Address(.snapshots, [UInt64(selected)]) }
  func restore(_ address: Address) { selected = Int(clamping: address[0]) }

  func settle() {
    selected = max(0, min(selected, rows.count - 1))
    let layout = StripLayout(desk.frame, rows: rows.count)
    top = ListWindow(count: rows.count, height: layout.listRows, selected: selected, top: top).top
  }

  func move(_ movement: Movement, _ count: Int) {
    let page = StripLayout(desk.frame, rows: rows.count).listRows
    selected = movement.row(from: selected, count, in: rows.count, page: page)
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    selected = StripLayout(frame, rows: rows.count).row(at: point, top: top, of: rows.count) ?? selected
  }

  /// The name that dialogs about a snapshot begin with.
  var snapshot: String? {
    guard case .snapshot(let index) = row else { return nil }
    return image.snapshots[index].name
  }

  /// Shows the selected row on the maps.
  func follow() throws(CommandError) {
    let scene: Scene?
    do throws(ImageError) {
      switch row {
      case .now: scene = nil
      case .snapshot(let index): scene = try desk.session.scene(ofSnapshot: index)
      case .layer(let depth): scene = try desk.session.scene(ofLayer: depth)
      }
    } catch { throw CommandError(error.description) }
    desk.explore(scene)
  }

  func goToOtherSide() throws(CommandError) { try follow() }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    let words = SnapshotsWords(self)
    let rows = rows
    guard
      let found = Searching.row(
        with: text, in: rows.count, from: selected, forward: forward,
        { "\(words.id(rows[$0])) \(words.name(rows[$0]))" })
    else { return false }
    selected = found
    return true
  }

  var scans: [any Work] {
    // Each of them takes time, so that what is not shown is not counted.
    var scans: [any Work] = [sharing]
    if view == .pairs { scans.append(holders) }
    if !layers.isEmpty || view == .layers { scans.append(layerShares) }
    return scans
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .snapshots, .looking, aliases: ["layers"], keys: [KeyRule("S", in: .image)], hint: "snapshots",
      short: "snaps",
      help:
        "the internal snapshots and the layers below: what each holds alone, what it shares, what comes back",
      run: { explorer, _ in explorer.desk.open(.snapshots) })
  ]
}
