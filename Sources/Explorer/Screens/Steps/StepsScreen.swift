// The screen that goes through one operation step by step: which bytes change, why in that order, and what a check
// and the guest would see if the power went there. The operation is one of the history, in place or taken back.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The screen of the steps of an operation.
  package static let steps = ScreenKind("steps")
}

extension Context {
  /// Where its keys are.
  package static let steps = Context("steps", title: "Step by step", [.image, .searched])
}

extension Contexts {
  static let steps = Contexts(.steps)
}

extension CommandID {
  static let step = CommandID("step")
  static let crash = CommandID("crash")
  static let plug = CommandID("plug")
  static let nextOperation = CommandID("next-operation")
  static let previousOperation = CommandID("previous-operation")
}

final class StepsScreen: Screen {
  static let kind = ScreenKind.steps
  static let contexts: [Context] = [.steps]

  let desk: Desk
  /// The operation that is told, counted in the history.
  private(set) var number = 0
  private(set) var selected = 0
  private(set) var top = 0
  private var told: (revision: Int, number: Int, story: Session.Story)?

  init(_ desk: Desk) { self.desk = desk }

  /// The story that is told; nil without operations.
  var story: Session.Story? {
    let session = desk.session
    if let told, told.revision == session.revision, told.number == number { return told.story }
    told = session.story(of: number).map { (session.revision, number, $0) }
    return told?.story
  }

  var count: Int { story?.trace.count ?? 0 }
  /// The operation is in place; if not it was taken back.
  var isInPlace: Bool { number < desk.session.generation }

  func sessionWasReplaced() {
    told = nil
    (number, selected, top) = (0, 0, 0)
  }

  /// What the selected step changes, with the names of the bytes.
  struct Changed {
    var changes: [ByteChange]
    var isMore: Bool
    var names: [UInt64: String]
  }

  /// Words that are looked at for names.
  private static let shown = 64
  private var changed: (revision: Int, number: Int, step: Int, value: Changed)?

  /// The words of the file that the selected step changes.
  var changedWords: Changed {
    let revision = desk.session.revision
    if let changed, changed.revision == revision, changed.number == number, changed.step == selected {
      return changed.value
    }
    var value = Changed(changes: [], isMore: false, names: [:])
    if let story, let event = story.trace.event(selected) {
      (value.changes, value.isMore) = ByteChange.changes(of: event.event, limit: Self.shown)
      if event.file == .image, ![.data, .compressedData].contains(event.event.tag.target) {
        for change in value.changes {
          // A word may hold several counts; the name is that of the first one that changes.
          let first = zip(change.before, change.after).prefix { $0 == $1 }.count
          let place = HostOffset(change.offset + UInt64(first))
          value.names[change.offset] = desk.session.byteMap.field(at: place).name
        }
      }
    }
    changed = (revision, number, selected, value)
    return value
  }

  // MARK: Words

  var context: Context { .steps }

  var titles: [String] {
    guard let story else { return ["step by step"] }
    let title = Escaping.human(story.title)
    let place = "operation \(number + 1) of \(desk.session.generations)"
    return [
      " step by step: \(title)   \(place)\(isInPlace ? "" : ", not in place")",
      "\(title), \(place)\(isInPlace ? "" : ", not in place")", title,
    ]
  }

  var states: [String]? {
    count == 0 ? nil : ["step \(selected + 1) of \(count)", "\(selected + 1)/\(count)"]
  }

  var hints: [HintRule] {
    [
      HintRule([.down, .up], "step"), HintRule(.crash), HintRule(.plug), HintRule(.follow, nil, "its bytes"),
      HintRule(.three),
      HintRule(.previousOperation, .nextOperation, separator: "", "operation"), HintRule(.undo),
      HintRule(.redo),
      HintRule(.prompt), HintRule(.help), .back,
    ]
  }

  var cursorText: String { "" }
  var progress: (text: String, done: Double)? {
    guard let survey = story?.survey, survey.progress < 1 else { return nil }
    return ("pulling the plug", survey.progress)
  }
  var partialReason: String? { nil }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    StepsDrawing(self, StepsLayout(frame, steps: count)).draw(on: &canvas)
  }

  // MARK: Answers

  var address: Address { Address(.steps, [UInt64(number), UInt64(selected)]) }

  func restore(_ address: Address) {
    (number, selected) = (Int(clamping: address[0]), Int(clamping: address[1]))
  }

  func settle() {
    number = max(0, min(number, desk.session.generations - 1))
    selected = max(0, min(selected, count - 1))
    let layout = StepsLayout(desk.frame, steps: count)
    top = ListWindow(count: count, height: layout.listRows, selected: selected, top: top).top
  }

  func imageChanged(at offset: UInt64?) {
    desk.reanchor()
    // What was done last is what one wants to see.
    show(desk.session.generation - 1)
  }

  /// Tells an operation from its beginning.
  func show(_ number: Int) {
    (self.number, selected, top) = (max(0, number), 0, 0)
    settle()
  }

  func move(_ movement: Movement, _ count: Int) {
    selected = movement.row(
      from: selected, count, in: self.count, page: StepsLayout(desk.frame, steps: self.count).listRows)
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    let list = StepsLayout(frame, steps: count).list
    selected = list.row(at: point, heading: 2, top: top, of: count) ?? selected
  }

  /// To the bytes that the step changes.
  func follow() throws(CommandError) {
    guard let event = story?.trace.event(selected), event.file == .image else {
      throw CommandError("this step changes no byte of the image file")
    }
    let offset = event.event.kind == .note ? event.event.tag.table : event.event.offset
    try desk.go(to: .host(min(offset, max(1, desk.host.length) - 1)))
  }

  func goToOtherSide() throws(CommandError) { try follow() }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    guard let trace = story?.trace else { return false }
    let found = Searching.row(with: text, in: trace.count, from: selected, forward: forward) {
      trace[$0].text
    }
    guard let found else { return false }
    selected = found
    return true
  }

  var scans: [any Work] { story.map { [$0.survey] } ?? [] }

  func cancel() -> Bool { story?.survey.cancel() ?? false }

  /// Shows the image on all screens as a crash behind the selected step would leave it.
  private func openCrash() throws(CommandError) {
    guard let story else { return }
    let moment = HistoryMoment(generation: number, events: story.trace.events(behind: selected))
    let scene: Scene
    do throws(ImageError) { scene = try desk.session.scene(at: moment) } catch {
      throw CommandError("the crashed image does not open: \(error.description)")
    }
    desk.explore(
      scene, as: "as a power cut behind step \(selected + 1) leaves it",
      named: "crash behind step \(selected + 1)")
  }

  private func pull() throws(CommandError) {
    guard let story else { return }
    story.survey.ask(story.trace.events(behind: selected))
  }

  private func go(by step: Int) throws(CommandError) {
    let next = number + step
    guard desk.session.step(next) != nil else {
      throw CommandError(step > 0 ? "this is the last operation" : "this is the first operation")
    }
    show(next)
  }

  /// Opens the screen on an operation, counted from 1; nil for the newest.
  static func open(_ which: Int?, _ explorer: Explorer) throws(CommandError) {
    let desk = explorer.desk
    let count = desk.session.generations
    // The screen says itself what is to be done.
    guard count > 0 else { return desk.open(.steps) }
    let number = which ?? desk.current.operation ?? max(1, desk.session.generation)
    guard (1...count).contains(number) else {
      throw CommandError("there are operations 1 to \(count)")
    }
    desk.open(.steps)
    desk.screen(StepsScreen.self)?.show(number - 1)
  }

  private static let told: CommandSpec.Refusal = refusal {
    $0.count == 0 ? "there is no operation to tell" : nil
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .step, .looking, arguments: [CommandArgument("N", .index, optional: true)],
      keys: [KeyRule("s", in: .image)], hint: "steps",
      help: """
        the steps of operation N, or of the newest: which bytes change, why in that order, and what a power cut \
        behind each would leave
        """,
      run: { explorer, command throws(CommandError) in
        try open(
          try command.arguments.first.map { word throws(CommandError) in try Quantity.index(word) }, explorer)
      }),
    CommandSpec(
      .crash, .looking, keys: [KeyRule("c", in: .steps)], hint: "crashed copy",
      help: "show the image on all screens as a power cut behind the selected step would leave it",
      refusal: told, run: run { screen, _ throws(CommandError) in try screen.openCrash() }),
    CommandSpec(
      .plug, .looking, keys: [KeyRule("v", in: .steps)], hint: "pull the plug",
      help: "check what a power cut behind the selected step would leave, however long that takes",
      refusal: told, run: run { screen, _ throws(CommandError) in try screen.pull() }),
    CommandSpec(
      .nextOperation, .looking, keys: [KeyRule("]", in: .steps)], hint: "next operation",
      help: "the steps of the next operation",
      run: run { screen, _ throws(CommandError) in try screen.go(by: 1) }),
    CommandSpec(
      .previousOperation, .looking, keys: [KeyRule("[", in: .steps)], hint: "previous operation",
      help: "the steps of the operation before",
      run: run { screen, _ throws(CommandError) in try screen.go(by: -1) }),
  ]
}
