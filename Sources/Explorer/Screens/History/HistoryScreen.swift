// The screen of the history: every operation that was done or taken back, with the disk as it was behind it and what
// it changed there. Any moment can be explored on all screens, or gone to; looking moves nothing.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The screen of the history.
  package static let history = ScreenKind("history")
}

extension Context {
  /// Where its keys are.
  package static let history = Context("history", title: "History", [.image, .searched])
}

extension Contexts {
  static let history = Contexts(.history)
}

extension CommandID {
  static let history = CommandID("history")
  static let goToGeneration = CommandID("generation")
  static let fork = CommandID("fork")
}

final class HistoryScreen: Screen {
  static let kind = ScreenKind.history
  static let contexts: [Context] = [.history]

  let desk: Desk
  /// The generation that has the cursor; 0 is the image as it was opened.
  private(set) var selected = 0
  private(set) var top = 0
  /// The scene of the selected generation.
  private var made: (revision: Int, generation: Int, scene: Scene?)?
  /// The revision that the cursor was set for.
  private var followed = -1

  init(_ desk: Desk) { self.desk = desk }

  var count: Int { rows.count }

  /// The generations that are listed, each the last one of what was done together; the one in place is always there.
  var rows: [Int] {
    let session = desk.session
    if let listed, listed.revision == session.revision { return listed.rows }
    let rows = (0...session.generations).filter { generation in
      guard generation != session.generation, generation < session.generations, generation > 0,
        let step = step(generation), step.group != nil, let next = self.step(generation + 1)
      else { return true }
      return next.group != step.group || next.title != step.title
    }
    listed = (session.revision, rows)
    return rows
  }
  private var listed: (revision: Int, rows: [Int])?

  /// The row of a generation, or of what it was done with.
  private func row(of generation: Int) -> Int { rows.firstIndex { $0 >= generation } ?? count - 1 }

  /// The row that has the cursor.
  var selectedRow: Int { row(of: selected) }

  /// The steps that a row stands for.
  func steps(ofRow row: Int) -> [Session.Step] {
    guard row > 0, rows.indices.contains(row) else { return [] }
    return (rows[row - 1] + 1...rows[row]).compactMap { step($0) }
  }

  /// What made a generation; nil for the image as it was opened.
  func step(_ generation: Int) -> Session.Step? { desk.session.step(generation - 1) }

  /// The image as it was at the selected generation; nil if none could be opened then.
  var scene: Scene? {
    let session = desk.session
    if selected == session.generation { return session.scene }
    if let made, made.revision == session.revision, made.generation == selected { return made.scene }
    let scene = try? session.scene(at: HistoryMoment(generation: selected))
    made = (session.revision, selected, scene)
    return scene
  }

  func sessionWasReplaced() {
    (made, listed) = (nil, nil)
    (selected, top, followed) = (0, 0, -1)
  }

  // MARK: Words

  var context: Context { .history }

  var titles: [String] {
    let session = desk.session
    let text = "generation \(session.generation) of \(session.generations)"
    return [" history: \(text)\(session.hasUnsavedChanges ? "" : ", saved")", "history: \(text)", "history"]
  }

  var hints: [HintRule] {
    [
      HintRule([.down, .up], "move"), HintRule(.follow, nil, "explore it"), HintRule(.step),
      HintRule(.goToGeneration), HintRule(.fork), HintRule(.undo), HintRule(.redo), HintRule(.prompt),
      HintRule(.help), .back,
    ]
  }

  var cursorText: String { "" }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    HistoryDrawing(self, HistoryLayout(frame, rows: count)).draw(on: &canvas)
  }

  // MARK: Answers

  var address: Address { Address(.history, [UInt64(selected)]) }
  func restore(_ address: Address) { selected = Int(clamping: address[0]) }

  /// The selected operation, for its steps.
  var operation: Int? { selected == 0 ? nil : selected }

  func settle() {
    // What was done or taken back last is where one is.
    if followed != desk.session.revision {
      followed = desk.session.revision
      selected = desk.session.generation
    }
    let row = row(of: max(0, selected))
    selected = rows[row]
    let layout = HistoryLayout(desk.frame, rows: count)
    top = ListWindow(count: count, height: layout.listRows, selected: row, top: top).top
  }

  func move(_ movement: Movement, _ count: Int) {
    let page = HistoryLayout(desk.frame, rows: self.count).listRows
    selected = rows[movement.row(from: row(of: selected), count, in: self.count, page: page)]
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    let list = HistoryLayout(frame, rows: count).list
    selected = list.row(at: point, heading: 2, top: top, of: count).map { rows[$0] } ?? selected
  }

  /// Shows the selected generation on all screens.
  func follow() throws(CommandError) {
    guard selected != desk.session.generation else { return desk.explore(nil) }
    let scene: Scene
    do throws(ImageError) {
      scene = try desk.session.scene(at: HistoryMoment(generation: selected))
    } catch { throw CommandError(error.description) }
    desk.explore(scene)
  }

  func goToOtherSide() throws(CommandError) { try follow() }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    let found = Searching.row(with: text, in: count, from: row(of: selected), forward: forward) {
      HistoryDrawing.title(step(rows[$0]))
    }
    guard let found else { return false }
    selected = rows[found]
    return true
  }

  var scans: [any Work] { scene.map { $0.works } ?? [] }

  /// Takes back or does again until a generation is the one in place.
  private static func go(to generation: Int?, _ explorer: Explorer) throws(CommandError) {
    let session = explorer.desk.session
    let screen = explorer.desk.screen(HistoryScreen.self)
    let target = generation ?? screen.flatMap { $0.isShown ? $0.selected : nil } ?? session.generation
    guard (0...session.generations).contains(target) else {
      throw CommandError("there are generations 0 to \(session.generations)")
    }
    let isBack = target < session.generation
    guard target != session.generation else {
      return explorer.desk.tell("generation \(target) is in place already")
    }
    // What was done together is one step there and back.
    let passed = isBack ? target + 1...session.generation : session.generation + 1...target
    let groups = passed.map { session.step($0 - 1)?.group }
    let steps = groups.indices.count { $0 == 0 || groups[$0] == nil || groups[$0] != groups[$0 - 1] }
    try explorer.execute(Command(isBack ? .undo : .redo, [String(steps)]))
    explorer.desk.tell("generation \(explorer.desk.session.generation) of \(session.generations) is in place")
  }

  /// The generation that a fork begins with: the selected one, the one that is looked at, or the present.
  private static func forked(_ explorer: Explorer) -> Int {
    let desk = explorer.desk
    if let screen = desk.screen(HistoryScreen.self), screen.isShown { return screen.selected }
    if case .moment(let moment) = desk.scene.subject { return moment.generation }
    return desk.session.generation
  }

  /// Goes on from an old generation: in a file of its own, or here, where what came behind it can be done again until
  /// something else is done.
  private static func fork(_ path: String?, force: Bool, _ explorer: Explorer) throws(CommandError) {
    let (desk, session) = (explorer.desk, explorer.desk.session)
    let generation = forked(explorer)
    if let path {
      let bytes: UInt64
      do throws(ImageError) { bytes = try session.fork(generation, to: path, replacing: force) } catch {
        throw CommandError(error.description)
      }
      return desk.tell(
        "generation \(generation) is in '\(Escaping.human(path))', \(bytes) bytes; nothing moved here")
    }
    if desk.scene !== session.scene { desk.look(at: nil) }
    if let refusal = session.refusal { throw CommandError(refusal) }
    if generation != session.generation { try go(to: generation, explorer) }
    let behind = session.generations - session.generation
    guard behind > 0 else {
      return desk.tell("generation \(generation) is the present, and nothing lies behind it")
    }
    desk.tell(
      "generation \(generation) is the present; \(desk.key(.redo)) does the \(counted(behind, "operation")) behind it "
        + "again until the next change drops them; \(CommandID.fork) FILE keeps a generation apart")
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .fork, .saving, arguments: [CommandArgument("FILE", .file, optional: true)], force: true,
      keys: [KeyRule("f", in: .history)], hint: "fork",
      help: """
        go on from the selected or shown generation: FILE becomes the image as it was then, without FILE it becomes the \
        present here, and the next change drops what came behind it
        """,
      run: { explorer, command throws(CommandError) in
        try fork(command.arguments.first, force: command.force, explorer)
      }),
    CommandSpec(
      .history, .looking, keys: [KeyRule("H", in: .image)], hint: "history",
      help: "every operation that was done or taken back, with the disk as it was and what changed there",
      run: { explorer, _ in explorer.desk.open(.history) }),
    CommandSpec(
      .goToGeneration, .changing, arguments: [CommandArgument("N", .index, optional: true)],
      keys: [KeyRule("a", in: .history)], hint: "go there",
      help: "take back or do again until generation N, or the selected one, is in place",
      refusal: Changing.ofFollowed,
      run: { explorer, command throws(CommandError) in
        let number = try command.arguments.first.map { word throws(CommandError) in try Quantity.index(word) }
        try go(to: number, explorer)
      }),
  ]
}
