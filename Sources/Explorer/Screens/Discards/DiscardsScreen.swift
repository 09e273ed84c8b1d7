// The screen of a trace of discards: which requests of a file lose bytes to alignment, and what each policy would make
// of all of them on the image that is shown.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The screen of a trace of discards.
  package static let discards = ScreenKind("discards")
}

extension Context {
  /// Where its keys are.
  package static let discards = Context("discards", title: "Discards", [.image, .searched])
}

extension CommandID {
  static let discards = CommandID("discards")
}

final class DiscardsScreen: Screen {
  static let kind = ScreenKind.discards
  static let contexts: [Context] = [.discards]

  let desk: Desk
  private(set) var selected = 0
  private(set) var top = 0
  /// The file of requests; nil if none was named yet.
  private(set) var file: FileStorage?
  private var made: (revision: Int, trace: DiscardTrace)?

  init(_ desk: Desk) { self.desk = desk }

  /// The trace on the image that is worked on, as it is now; nil without a file.
  var trace: DiscardTrace? {
    guard let file else { return nil }
    let revision = desk.session.revision
    if let made, made.revision == revision { return made.trace }
    let trace = DiscardTrace(desk.session.image, file)
    made = (revision, trace)
    return trace
  }

  private var losses: [DiscardLoss] { trace?.losses ?? [] }
  var layout: DiscardsLayout { DiscardsLayout(desk.frame, policies: trace?.policies.count ?? 1) }

  func sessionWasReplaced() {
    made = nil
    (selected, top) = (0, 0)
  }

  // MARK: Words

  var context: Context { .discards }

  var titles: [String] {
    guard let file else { return ["discards"] }
    let name = Escaping.human(ByteText.lastPart(of: file.name))
    return [" what becomes of the discards in \(name)", "discards in \(name)", "discards"]
  }

  var hints: [HintRule] {
    [
      HintRule([.down, .up], "move"), HintRule(.follow, nil, "its place"), HintRule(.discards, nil, "a file"),
      HintRule(.prompt), HintRule(.help), .back,
    ]
  }

  var cursorText: String { "" }
  var progress: (text: String, done: Double)? {
    trace.flatMap { $0.isDone ? nil : ($0.isCounted ? "played" : "lines", $0.progress) }
  }
  var partialReason: String? { trace?.failure ?? desk.scene.atlas.partialReason }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    DiscardsDrawing(self, DiscardsLayout(frame, policies: trace?.policies.count ?? 1)).draw(on: &canvas)
  }

  // MARK: Answers

  var address: Address { Address(.discards, [UInt64(selected)]) }
  func restore(_ address: Address) { selected = Int(clamping: address[0]) }

  func settle() {
    selected = max(0, min(selected, losses.count - 1))
    top = ListWindow(count: losses.count, height: layout.rows, selected: selected, top: top).top
  }

  func move(_ movement: Movement, _ count: Int) {
    selected = movement.row(from: selected, count, in: losses.count, page: layout.rows)
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    selected = layout.list.row(at: point, heading: 2, top: top, of: losses.count) ?? selected
  }

  /// To the place of the selected request on the disk.
  func follow() throws(CommandError) {
    guard losses.indices.contains(selected) else { throw CommandError("no discard loses anything") }
    try desk.go(to: .guest(losses[selected].range.lowerBound))
  }

  func goToOtherSide() throws(CommandError) { try follow() }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    let found = Searching.row(with: text, in: losses.count, from: selected, forward: forward) {
      "line \(losses[$0].line) 0x\(Notation.hex(losses[$0].range.lowerBound))"
    }
    guard let found else { return false }
    selected = found
    return true
  }

  var scans: [any Work] { trace.map { [$0] } ?? [] }

  /// Takes another file, or shows the one that was taken.
  private func open(_ path: String?) throws(CommandError) {
    if let path {
      do throws(StorageError) { file = try FileOpener().open(path, for: .text) } catch {
        throw CommandError(error.description)
      }
      sessionWasReplaced()
    }
    guard file != nil else {
      throw CommandError("\(CommandID.discards) needs the name of a file of requests")
    }
    desk.open(.discards)
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .discards, .looking, arguments: [CommandArgument("FILE", .file, optional: true)], hint: "discards",
      help: """
        what becomes of the discards in a file of requests: how much alignment drops, and what each policy frees or \
        keeps
        """,
      run: run { (screen, command) throws(CommandError) in try screen.open(command.arguments.first) })
  ]
}
