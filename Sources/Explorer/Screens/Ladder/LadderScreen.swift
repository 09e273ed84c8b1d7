// The size ladder: from what the guest sees down to what the host keeps, each rung with its share, what it is and
// what moves it; beside it the fields of the header. Enter goes to the clusters that a rung is made of.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The screen of sizes and header fields.
  package static let ladder = ScreenKind("ladder")
}

extension Context {
  /// Where its keys are.
  package static let ladder = Context("ladder", title: "Sizes and header", [.image, .searched])
}

extension Contexts {
  static let ladder = Contexts(.ladder)
}

extension CommandID {
  static let ladder = CommandID("ladder")
}

final class LadderScreen: Screen {
  static let kind = ScreenKind.ladder
  static let contexts: [Context] = [.ladder]

  let desk: Desk
  /// 1 for the rungs, 2 for the header.
  private(set) var pane = 1
  /// The selected row of each pane, and the first that is seen.
  private(set) var rows = [0, 0]
  private(set) var tops = [0, 0]

  init(_ desk: Desk) { self.desk = desk }

  /// The sizes of what is looked at.
  var ladder: SizeLadder { SizeLadder(desk.scene.atlas, blocks: desk.hostBlocks) }

  /// The fields of the header, read once for each state that is looked at.
  var fields: [ByteField] {
    if let header, header.revision == desk.revision { return header.fields }
    let fields = HeaderFields(desk.scene.image).list
    header = (desk.revision, fields)
    return fields
  }
  private var header: (revision: Int, fields: [ByteField])?

  func sessionWasReplaced() { header = nil }

  func count(ofPane pane: Int) -> Int { pane == 1 ? ladder.rungs.count : fields.count }

  // MARK: Words

  var context: Context { .ladder }

  var titles: [String] {
    let totals = desk.scene.atlas.totals
    return [
      " sizes: disk of \(Notation.human(desk.geometry.virtualSize)), file of \(totals.fileLength) bytes",
      "disk \(Notation.compact(desk.geometry.virtualSize)), file \(Notation.compact(totals.fileLength))",
      "sizes",
    ]
  }

  var hints: [HintRule] {
    [
      HintRule([.down, .up], "move"), HintRule(.follow, nil, pane == 1 ? "clusters of it" : "bytes of it"),
      HintRule(.nextPane, nil, pane == 1 ? "header" : "sizes"), HintRule(.snapshots),
      HintRule(.fragmentation),
      HintRule(.prompt), HintRule(.help), .back,
    ]
  }

  static let keys: [CommandID: [KeyRule]] = [
    .nextPane: [KeyRule("Tab", in: .ladder)], .previousPane: [KeyRule("S-Tab", in: .ladder)],
  ]

  var cursorText: String { "" }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    LadderDrawing(self, LadderLayout(frame, pane: pane, rungs: ladder.rungs.count)).draw(on: &canvas)
  }

  // MARK: Answers

  var address: Address { Address(.ladder, [UInt64(pane), UInt64(rows[0]), UInt64(rows[1])]) }

  func restore(_ address: Address) {
    pane = address[0] == 2 ? 2 : 1
    rows = [Int(clamping: address[1]), Int(clamping: address[2])]
  }

  func settle() {
    let counts = [ladder.rungs.count, fields.count]
    let layout = LadderLayout(desk.frame, pane: pane, rungs: counts[0])
    for (index, count) in counts.enumerated() {
      rows[index] = max(0, min(rows[index], count - 1))
      let window = ListWindow(
        count: count, height: layout.rows(index + 1), selected: rows[index], top: tops[index])
      tops[index] = window.top
    }
  }

  func move(_ movement: Movement, _ count: Int) {
    let layout = LadderLayout(desk.frame, pane: pane, rungs: ladder.rungs.count)
    rows[pane - 1] = movement.row(
      from: rows[pane - 1], count, in: self.count(ofPane: pane), page: layout.rows(pane))
  }

  func focus(_ pane: Int) throws(CommandError) {
    guard pane == 1 || pane == 2 else { throw CommandError("this screen has panes 1 and 2") }
    self.pane = pane
  }

  func focusNext(_ step: Int) { pane = pane == 1 ? 2 : 1 }

  func focus(at point: Point, _ frame: ScreenFrame) {
    let layout = LadderLayout(frame, pane: pane, rungs: ladder.rungs.count)
    if layout.sizes.contains(point) { pane = 1 }
    if layout.header.contains(point) { pane = 2 }
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    focus(at: point, frame)
    let layout = LadderLayout(frame, pane: pane, rungs: ladder.rungs.count)
    let area = pane == 1 ? layout.sizes : layout.header
    let row = point.y - area.y - 1
    guard area.contains(point), row >= 0, tops[pane - 1] + row < count(ofPane: pane) else { return }
    rows[pane - 1] = tops[pane - 1] + row
  }

  /// To the first cluster that the rung is made of, or to the bytes of the field.
  func follow() throws(CommandError) {
    guard pane == 1 else {
      guard fields.indices.contains(rows[1]) else { return }
      return try desk.go(to: .host(fields[rows[1]].range.lowerBound.value))
    }
    guard ladder.rungs.indices.contains(rows[0]) else { return }
    let rung = ladder.rungs[rows[0]]
    guard let cluster = try firstCluster(of: rung.kind) else {
      throw CommandError(
        rung.bytes == 0
          ? "there is none of it" : "'\(rung.kind.rawValue)' is a size, and no cluster stands for it")
    }
    try desk.go(to: .host(cluster << UInt64(desk.geometry.clusterBits)))
  }

  private func firstCluster(of kind: SizeLadder.Kind) throws(CommandError) -> UInt64? {
    let atlas = desk.scene.atlas
    let tail = atlas.totals.imageEnd >> UInt64(desk.geometry.clusterBits)
    switch kind {
    case .mapped: return first([.data, .hole, .compressed])
    case .compressed: return first([.compressed])
    case .holes: return first([.hole])
    case .disk: return try first(.disk)
    case .shared: return try first(.shared)
    case .snapshots: return try first(.snapshots)
    case .machineState: return first([.vmState])
    case .bitmaps: return first([.bitmap])
    case .tables: return 0
    case .leaked: return first([.leaked])
    case .freeInside: return first([.free]).flatMap { $0 < tail ? $0 : nil }
    case .freeAtTail: return atlas.totals.freeAtTail > 0 ? tail : nil
    default: return nil
    }
  }

  private func first(_ states: [HostState]) -> UInt64? {
    states.compactMap { desk.scene.atlas.nextHost($0, from: 0, forward: true) }.min()
  }

  /// Clusters that are looked at for one of somebody.
  private static let patience = 1 << 16

  /// The first cluster with content that has these users.
  private func first(_ users: HostUsers) throws(CommandError) -> UInt64? {
    var at: UInt64 = 0
    for _ in 0..<Self.patience {
      let next = [HostState.data, .hole, .compressed].compactMap {
        desk.scene.atlas.hostFacts(of: at)?.state == $0
          ? at : desk.scene.atlas.nextHost($0, from: at, forward: true)
      }.min()
      guard let next else { return nil }
      if desk.scene.atlas.hostFacts(of: next)?.users == users { return next }
      at = next + 1
    }
    throw CommandError("none of them is among the first \(Self.patience) clusters with content")
  }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    let words =
      pane == 1
      ? ladder.rungs.map { "\($0.kind.rawValue) \($0.meaning)" } : fields.map { "\($0.name) \($0.value)" }
    guard
      let found = Searching.row(
        with: text, in: words.count, from: rows[pane - 1], forward: forward, { words[$0] })
    else { return false }
    rows[pane - 1] = found
    return true
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .ladder, .looking, aliases: ["sizes", "header"], keys: [KeyRule("i", in: .image)], hint: "sizes",
      help: "why the file is as large as it is: every size with what moves it, and the fields of the header",
      run: { explorer, _ in explorer.desk.open(.ladder) })
  ]
}

extension Desk {
  /// What the host keeps for the files; nil where another state than that of the files is looked at, and without a
  /// file. Scratch changes are in no file yet.
  var hostBlocks: HostBlocks? {
    guard session.hasFile, scene === session.scene else { return nil }
    return HostBlocks(
      image: session.overlay.base.allocatedBytes, data: session.dataOverlay?.base.allocatedBytes,
      isBeforeChanges: session.hasUnsavedChanges)
  }
}
