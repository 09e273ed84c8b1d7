// The screen of refcount blocks: every entry of the refcount table, where its block lies, which clusters it counts and
// what it says of them.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The screen of refcount blocks.
  package static let refcounts = ScreenKind("refcounts")
}

extension Context {
  /// Where its keys are.
  package static let refcounts = Context("refcounts", title: "Refcount blocks", [.image])
}

extension Contexts {
  static let refcounts = Contexts(.refcounts)
}

extension CommandID {
  static let refcounts = CommandID("refcounts")
}

final class RefcountsScreen: Screen {
  static let kind = ScreenKind.refcounts
  static let contexts: [Context] = [.refcounts]
  private static let parts = 64

  let desk: Desk
  private(set) var selected = 0
  private(set) var top = 0
  /// The blocks that the window shows.
  private var counting: (revision: Int, rows: Range<Int>, survey: RefcountSurvey)?

  init(_ desk: Desk) { self.desk = desk }

  var image: Image { desk.scene.image }
  var count: Int { image.refcountTableCount }
  private func layout(_ frame: ScreenFrame) -> StripLayout { StripLayout(frame, rows: max(1, count)) }

  /// The rows that are seen, and what is known of them.
  var survey: RefcountSurvey {
    let rows = top..<min(count, top + layout(desk.frame).listRows)
    if let counting, counting.revision == desk.revision, counting.rows == rows { return counting.survey }
    let survey = RefcountSurvey(image, rows, parts: Self.parts)
    counting = (desk.revision, rows, survey)
    return survey
  }

  /// What is known of a row; nil until it is counted.
  func row(_ index: Int) -> RefcountBlockRow? {
    let known = survey.rows
    let place = index - top
    return known.indices.contains(place) ? known[place] : nil
  }

  func sessionWasReplaced() { counting = nil }

  // MARK: Words

  var context: Context { .refcounts }

  var titles: [String] {
    let bits = desk.geometry.refcountBits
    let entries = counted(count, "entry", "entries")
    return [
      " refcount table of \(entries), counts of \(bits) bits", "\(entries), counts of \(bits) bits", entries,
    ]
  }

  var hints: [HintRule] {
    [
      HintRule([.down, .up], "move"), HintRule(.follow, nil, "its bytes"),
      HintRule(Movement.nextUsed.id, Movement.previousUsed.id, separator: "/", short: "used"),
      HintRule(.ladder), HintRule(.undo), HintRule(.prompt), HintRule(.help), .back,
    ]
  }

  static let keys: [CommandID: [KeyRule]] = [
    Movement.nextUsed.id: [KeyRule("J", in: .refcounts)],
    Movement.previousUsed.id: [KeyRule("K", in: .refcounts)],
  ]

  var cursorText: String { "" }
  var progress: (text: String, done: Double)? { survey.isDone ? nil : ("refcounts", survey.progress) }
  var partialReason: String? { nil }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    RefcountsDrawing(self, layout(frame)).draw(on: &canvas)
  }

  // MARK: Answers

  var address: Address { Address(.refcounts, [UInt64(selected)]) }
  func restore(_ address: Address) { selected = Int(clamping: address[0]) }

  func settle() {
    selected = max(0, min(selected, count - 1))
    top = ListWindow(count: count, height: layout(desk.frame).listRows, selected: selected, top: top).top
  }

  func move(_ movement: Movement, _ times: Int) {
    switch movement {
    case .nextUsed: moveToUsed(1, times)
    case .previousUsed: moveToUsed(-1, times)
    default:
      selected = movement.row(from: selected, times, in: count, page: layout(desk.frame).listRows)
    }
  }

  private func moveToUsed(_ step: Int, _ times: Int) {
    for _ in 0..<min(times, count) {
      var next = selected + step
      while next >= 0, next < count, image.refcountTableEntry(next).block == nil { next += step }
      guard next >= 0, next < count else {
        return desk.tell(step > 0 ? "no block behind this one" : "no block before this one")
      }
      selected = next
    }
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    selected = layout(frame).row(at: point, top: top, of: count) ?? selected
  }

  /// To the block in the file.
  func follow() throws(CommandError) {
    guard selected < count, let block = image.refcountTableEntry(selected).block else {
      throw CommandError("this entry has no block: it counts nothing")
    }
    try desk.go(to: .host(block.value))
  }

  func goToOtherSide() throws(CommandError) { try follow() }

  var scans: [any Work] { [survey] }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .refcounts, .looking, keys: [KeyRule("R", in: .image)], hint: "refcounts", short: "refs",
      help:
        "the refcount table, block by block: where each lies, what it counts, and how full the file is there",
      run: run { screen, _ in
        guard !screen.isShown else { return }
        guard !screen.isShown else { return }
        let desk = screen.desk
        desk.open(.refcounts)
        // The block of the cluster under the cursor.
        let cluster = desk.cursor.host >> UInt64(desk.geometry.clusterBits)
        screen.selected = Int(clamping: cluster / desk.geometry.refcountsPerBlock)
        desk.settle()
      })
  ]
}
