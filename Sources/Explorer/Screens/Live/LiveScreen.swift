// The screen of a disk that guests use: exact counts, breakpoints, and the request that is held up with what it would
// do.

import Cartography
import CellScreen
import Live
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The screen of guests.
  package static let live = ScreenKind("live")
}

extension Context {
  /// Where its keys are.
  package static let live = Context("live", title: "Guests", [.image])
}

extension Contexts {
  static let live = Contexts(.live)
}

extension CommandID {
  static let live = CommandID("guests")
}

final class LiveScreen: Screen {
  static let kind = ScreenKind.live
  static let contexts: [Context] = [.live]

  let desk: Desk
  private var top = 0
  /// What the request that is held up would do, and which one it is about.
  private var plan: (since: ContinuousClock.Instant, isDone: Bool, lines: [String])?

  init(_ desk: Desk) { self.desk = desk }

  var live: LiveDisk? { desk.session.live }
  var held: LiveGate.Held? { live?.gate.held }
  /// The first line of the log that is shown, from the newest on.
  var lifted: Int { top }

  /// What the request that is held up would do, or has done on this side, in lines.
  var planned: [String] {
    guard let held else { return [] }
    if let plan, plan.since == held.since, plan.isDone == held.isDone { return plan.lines }
    let lines = told(held)
    // What was tried out has let the disk as it was.
    plan = (held.since, held.isDone, lines)
    return lines
  }

  private func told(_ held: LiveGate.Held) -> [String] {
    if held.isDone { return desk.session.done.last?.narration.lines ?? ["it changes nothing"] }
    // What was taken back would do the same again.
    if let step = desk.session.undone.last { return step.narration.lines }
    guard held.request.changes else { return ["it changes nothing"] }
    do throws(ImageError) {
      let lines = try desk.session.sharing.previewHeld()?.lines ?? []
      return lines.isEmpty ? ["it changes no table"] : lines
    } catch { return ["it would fail: \(error.description)"] }
  }

  func sessionWasReplaced() {
    plan = nil
    top = 0
  }

  // MARK: Words

  var context: Context { .live }

  var titles: [String] {
    guard let live else { return [" guests of this disk", "guests"] }
    return [" guests of this disk, at \(Escaping.human(live.uri))", " guests of this disk", "guests"]
  }

  var hints: [HintRule] {
    let onHeld = held == nil ? [] : [HintRule(.letGo), HintRule(.doHeld)]
    let onGuests = live == nil ? [] : [HintRule(.breakpoint, ["next"], "hold next")]
    return onHeld + onGuests
      + [HintRule(.step), HintRule(.undo), HintRule(.serve), HintRule(.prompt), HintRule(.help), .back]
  }

  var cursorText: String { "" }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) { LiveDrawing(self, frame).draw(on: &canvas) }

  func settle() {
    _ = planned
    top = max(0, min(top, (live?.lines.count ?? 1) - 1))
  }

  func move(_ movement: Movement, _ count: Int) {
    top = movement.row(from: top, count, in: live?.lines.count ?? 0, page: 10)
  }

  func click(at point: Point, _ frame: ScreenFrame) {}

  /// To the place of the request that is held up.
  func follow() throws(CommandError) {
    guard let held, held.request.length > 0 else {
      throw CommandError("no request is held up that has a place")
    }
    try desk.go(to: .guest(held.request.offset))
  }

  static let commands: [CommandSpec] =
    [
      CommandSpec(
        .live, .live, keys: [KeyRule("U", in: .image)], hint: "guests",
        help:
          "guests that use the disk: what they ask, what it costs, breakpoints, and the request that is held up",
        run: { explorer, _ in explorer.desk.open(.live) })
    ] + Serving.commands
}
