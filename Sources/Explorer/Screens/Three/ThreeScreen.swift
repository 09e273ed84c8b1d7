// The screen of three views of one operation, one above the other: what the guest reads, which entries and counts
// change, and what is written to the files. The operation is one of the history, in place or taken back.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The screen of three views of an operation.
  package static let three = ScreenKind("three")
}

extension Context {
  /// Where its keys are.
  package static let three = Context("three", title: "Three views of an operation", [.image, .searched])
}

extension Contexts {
  static let three = Contexts(.three)
}

extension CommandID {
  static let three = CommandID("three")
}

final class ThreeScreen: Screen {
  static let kind = ScreenKind.three
  static let contexts: [Context] = [.three]

  let desk: Desk
  /// The operation, counted in the history.
  private(set) var number = 0
  /// 1 for what the guest reads, 2 for the entries, 3 for what is written.
  private(set) var pane = 3
  /// The selected row of each pane, and the first that is seen.
  private(set) var rows = [0, 0, 0]
  private(set) var tops = [0, 0, 0]
  private var known: (revision: Int, number: Int, isScanned: Bool, views: StepViews?)?

  init(_ desk: Desk) { self.desk = desk }

  /// What there is to be seen; nil without operations.
  var views: StepViews? {
    let session = desk.session
    // The names of bytes may be known only when the maps are.
    let isScanned = session.scene.atlas.isDone
    if let known, known.revision == session.revision, known.number == number, known.isScanned == isScanned {
      return known.views
    }
    let views = look(at: number)
    known = (session.revision, number, isScanned, views)
    return views
  }

  /// An operation seen three times; nil if there is none, if it is no longer kept, and if another program did it.
  private func look(at number: Int) -> StepViews? {
    let session = desk.session
    guard session.follower == nil, number >= session.overlays.forgotten, let step = session.step(number)
    else { return nil }
    func image(_ generation: Int) -> Image? {
      try? session.scene(at: HistoryMoment(generation: generation)).image
    }
    return StepViews(
      step.operations, step.narration, guest: step.range, before: image(number), after: image(number + 1),
      names: number == session.generation - 1 ? session.byteMap : nil)
  }

  func count(ofPane pane: Int) -> Int {
    guard let views else { return 0 }
    return [views.guest.count, views.entries.count, views.writes.count][pane - 1]
  }

  private func layout(_ frame: ScreenFrame) -> ThreeLayout {
    ThreeLayout(frame, counts: (1...3).map { count(ofPane: $0) }, pane: pane)
  }

  func sessionWasReplaced() {
    (known, number) = (nil, 0)
    (rows, tops, pane) = ([0, 0, 0], [0, 0, 0], 3)
  }

  // MARK: Words

  var context: Context { .three }

  var titles: [String] {
    guard views != nil, let step = desk.session.step(number) else { return [" three views", "three views"] }
    let title = Escaping.human(step.title)
    let place = "operation \(number + 1) of \(desk.session.generations)"
    let isInPlace = number < desk.session.generation
    return [
      " three views: \(title)   \(place)\(isInPlace ? "" : ", not in place")",
      "\(title), \(place)\(isInPlace ? "" : ", not in place")", title,
    ]
  }

  var hints: [HintRule] {
    [
      HintRule([.down, .up], "move"), HintRule(.nextPane, nil, "next view"),
      HintRule([.left, .right], "operation"), HintRule(.follow, nil, "go there"), HintRule(.step),
      HintRule(.undo),
      HintRule(.prompt), HintRule(.help), .back,
    ]
  }

  static let keys: [CommandID: [KeyRule]] = [
    .nextPane: [KeyRule("Tab", in: .three)], .previousPane: [KeyRule("S-Tab", in: .three)],
  ]

  var cursorText: String { "" }
  var partialReason: String? { nil }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    ThreeDrawing(self, layout(frame)).draw(on: &canvas)
  }

  // MARK: Answers

  var address: Address { Address(.three, [UInt64(number), UInt64(rows[2]), UInt64(pane)]) }
  var operation: Int? { number + 1 }

  func restore(_ address: Address) {
    number = Int(clamping: address[0])
    rows = [0, 0, Int(clamping: address[1])]
    pane = (1...3).contains(address[2]) ? Int(address[2]) : 3
  }

  func keepsake() -> () -> Void {
    let (pane, rows) = (pane, rows)
    return {
      self.pane = pane
      self.rows = rows
    }
  }

  func settle() {
    number = max(0, min(number, desk.session.generations - 1))
    let layout = layout(desk.frame)
    for index in 0..<3 {
      let count = count(ofPane: index + 1)
      rows[index] = max(0, min(rows[index], count - 1))
      let height = max(1, layout.areas[index].height - 1)
      tops[index] =
        ListWindow(count: count, height: height, selected: rows[index], top: tops[index]).top
    }
  }

  func imageChanged(at offset: UInt64?) {
    desk.reanchor()
    // What was done last is what one wants to see.
    show(desk.session.generation - 1)
  }

  /// Shows an operation from its beginning.
  private func show(_ number: Int) {
    self.number = max(0, number)
    (rows, tops) = ([0, 0, 0], [0, 0, 0])
    settle()
  }

  func move(_ movement: Movement, _ count: Int) {
    // Rows are up and down; to the sides there are other operations.
    switch movement {
    case .left: return show(number - count)
    case .right: return show(number + min(count, desk.session.generations))
    default: break
    }
    let page = max(1, layout(desk.frame).areas[pane - 1].height - 1)
    rows[pane - 1] = movement.row(from: rows[pane - 1], count, in: self.count(ofPane: pane), page: page)
  }

  func focus(_ pane: Int) throws(CommandError) {
    guard (1...3).contains(pane) else { throw CommandError("this screen has panes 1 to 3") }
    self.pane = pane
  }

  func focusNext(_ step: Int) { pane = (pane - 1 + step % 3 + 3) % 3 + 1 }

  func focus(at point: Point, _ frame: ScreenFrame) {
    pane = (layout(frame).areas.firstIndex { $0.contains(point) } ?? pane - 1) + 1
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    for (index, area) in layout(frame).areas.enumerated() {
      rows[index] =
        area.row(at: point, heading: 1, top: tops[index], of: count(ofPane: index + 1)) ?? rows[index]
    }
  }

  /// To the bytes of the disk, the entry, or the bytes of the file.
  func follow() throws(CommandError) {
    guard let views, rows[pane - 1] < count(ofPane: pane) else { return }
    let row = rows[pane - 1]
    let last = max(1, desk.host.length) - 1
    switch pane {
    case 1: try desk.go(to: .guest(views.guest[row].range.lowerBound))
    case 2:
      guard let place = views.entries[row].place else {
        throw CommandError("where it stands in the file is not known")
      }
      desk.remember()
      desk.show(.hex(min(place, last), .image))
    default:
      let write = views.writes[row]
      guard write.file == .image else {
        throw CommandError("this write changes no byte of the image file")
      }
      desk.remember()
      desk.show(.hex(min(write.range.lowerBound, last), .image))
    }
  }

  func goToOtherSide() throws(CommandError) { try follow() }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    guard let views else { return false }
    let found = Searching.row(
      with: text, in: count(ofPane: pane), from: rows[pane - 1], forward: forward
    ) { row in
      switch pane {
      case 1: "0x" + Notation.hex(views.guest[row].range.lowerBound)
      case 2: views.entries[row].name
      default: views.writes[row].name
      }
    }
    guard let found else { return false }
    rows[pane - 1] = found
    return true
  }

  /// Opens the screen on an operation, counted from 1; nil for the newest.
  private static func open(_ which: Int?, _ desk: Desk) throws(CommandError) {
    let count = desk.session.generations
    // The screen says itself what is to be done.
    guard count > 0 else { return desk.open(.three) }
    let number = which ?? desk.current.operation ?? max(1, desk.session.generation)
    guard (1...count).contains(number) else {
      throw CommandError("there are operations 1 to \(count)")
    }
    desk.open(.three)
    desk.screen(ThreeScreen.self)?.show(number - 1)
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .three, .looking, arguments: [CommandArgument("N", .index, optional: true)],
      keys: [KeyRule("E", in: .image)], hint: "three views",
      help: """
        operation N, or the newest, seen three times: what the guest reads, which entries and counts change, and what \
        is written to the file
        """,
      run: { explorer, command throws(CommandError) in
        try open(
          try command.arguments.first.map { word throws(CommandError) in try Quantity.index(word) },
          explorer.desk)
      })
  ]
}
