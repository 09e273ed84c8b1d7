// The screen of a fleet: many images as a list, while they are still looked at; any of them can be opened, and closing
// its maps comes back to the list as it was left.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The screen of many images.
  package static let fleet = ScreenKind("fleet")
}

extension Context {
  /// Where its keys are.
  package static let fleet = Context("fleet", title: "Fleet", [.searched])
}

extension Contexts {
  static let fleet = Contexts(.fleet)
}

final class FleetScreen: Screen {
  static let kind = ScreenKind.fleet
  static let contexts: [Context] = [.fleet]

  let desk: Desk
  private(set) var list = FleetList()
  /// The selected row and the first one that is seen, among those that are shown.
  private(set) var selected = 0
  private(set) var top = 0
  /// What a row was opened as, and its name.
  private weak var opened: Session?
  private var openedPath = ""
  /// The image that was gone to from here, until the list is seen again.
  private var left: String?
  /// The last click was on a row.
  private var hasHitRow = false
  /// Files that a look which was given up has not reached.
  private var unreached: Int?

  init(_ desk: Desk) { self.desk = desk }

  var shelf: (any FleetShelf)? { desk.fleet }
  /// There is something to be listed.
  var hasFleet: Bool { shelf?.places.isEmpty == false }
  /// Images are opened from here, and the program ends here.
  private var isRoot: Bool { desk.root == .fleet }
  var row: FleetRow? { list.row(selected) }

  // MARK: Words

  var context: Context { .fleet }

  /// What is looked at, in short.
  var placesText: String {
    let places = shelf?.places ?? []
    guard let first = places.first else { return "" }
    return Escaping.human(first)
      + (places.count > 1 ? " and \(Notation.grouped(UInt64(places.count - 1))) more" : "")
  }

  var subject: String? { hasFleet ? placesText : nil }

  var titles: [String] {
    guard hasFleet else { return [" no fleet", "no fleet"] }
    let all = "\(Notation.grouped(UInt64(list.count))) \(worded(list.count, "file"))"
    let shown =
      list.filter == .all ? all : "\(Notation.grouped(UInt64(list.shown.count))) of \(all)"
    return ["fleet: \(shown)", shown]
  }

  /// How far the look is, and the image that is open.
  var states: [String]? {
    guard hasFleet else { return nil }
    var look = ""
    if let progress = shelf?.progress {
      look =
        progress.all.map {
          "looked at \(Notation.grouped(UInt64(progress.done))) of \(Notation.grouped(UInt64($0)))"
        } ?? "listing folders"
    } else if let unreached {
      look = "stopped, \(Notation.grouped(UInt64(unreached))) not looked at"
    }
    guard let opened, opened === desk.session else { return [look, ""] }
    let open = Escaping.human(opened.title) + (opened.hasUnsavedChanges ? " is open, UNSAVED" : " is open")
    return look.isEmpty ? [open, ""] : [look + "   " + open, look, ""]
  }

  var hints: [HintRule] {
    guard hasFleet else { return [HintRule(.fleet), HintRule(.prompt), HintRule(.help), back] }
    return [
      HintRule([.down, .up], "move"), HintRule(.openRow), HintRule(.sort, ["next"], "order"),
      HintRule(.sort, ["reverse"], "reverse"), HintRule(.only), HintRule(.search),
      HintRule(.again, [], "again"), HintRule(.prompt), HintRule(.help), back,
    ]
  }

  private var back: HintRule { isRoot ? HintRule(.close, nil, "quit") : .back }

  var cursorText: String { "" }
  var hidesLesson: Bool { true }
  var searchScope: String { "in the list" }
  var partialReason: String? { hasFleet ? shelf?.problem : nil }

  var progress: (text: String, done: Double)? {
    guard let progress = shelf?.progress, let all = progress.all, all > 0 else { return nil }
    return ("looking at images", Double(progress.done) / Double(all))
  }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    FleetDrawing(self, FleetLayout(frame)).draw(on: &canvas)
  }

  // MARK: News

  var isAnimating: Bool { shelf?.progress != nil }
  func beginFrame() { takeNews() }

  /// Takes what has become known. The selected row stays where it is on the screen.
  func takeNews() {
    guard let news = shelf?.news(), !news.isEmpty else { return }
    keepingPlace { $0.take(news) }
  }

  /// Changes the list. The first row stays the first one; any other stays the one that is selected.
  func keepingPlace(_ change: (inout FleetList) -> Void) {
    let item = selected > 0 && list.shown.indices.contains(selected) ? list.shown[selected] : nil
    change(&list)
    if let item, let place = list.place(of: item) {
      top = max(0, top + place - selected)
      selected = place
    }
    settle()
  }

  func settle() {
    let window = ListWindow(
      count: list.shown.count, height: FleetLayout(desk.frame).rows, selected: selected, top: top)
    (selected, top) = (window.selected, window.top)
    // What was done to the image that was open may have changed its row.
    guard isShown, let path = left, let row = list.row(named: path) else { return }
    left = nil
    shelf?.look(at: row, always: false)
  }

  /// Esc: the look, then the filter; where the program ends nothing else.
  func cancel() -> Bool {
    if let shelf, shelf.progress != nil {
      takeNews()
      unreached = shelf.progress?.all.map { all in max(0, all - (shelf.progress?.done ?? all)) }
      shelf.stop()
      desk.tell("stopped; \(desk.key(.again, "all")) goes on")
      return true
    }
    if list.filter != .all {
      keepingPlace { $0.show(.all) }
      return true
    }
    return isRoot
  }

  func close() throws(CommandError) {
    if !desk.leave() { try Saving.quit(force: false, desk) }
  }

  // MARK: Moving

  func move(_ movement: Movement, _ count: Int) {
    selected = movement.row(from: selected, count, in: list.shown.count, page: FleetLayout(desk.frame).rows)
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    let layout = FleetLayout(frame)
    hasHitRow = false
    if let column = FleetDrawing(self, layout).column(at: point) {
      return order(by: column, reversed: column == list.column && !list.isReversed)
    }
    guard point.y < layout.list.y + 2 + layout.rows,
      let row = layout.list.row(at: point, heading: 2, top: top, of: list.shown.count)
    else { return }
    selected = row
    hasHitRow = true
  }

  var doubleClick: CommandID? { hasHitRow ? .openRow : nil }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    let found = Searching.row(with: text, in: list.shown.count, from: selected, forward: forward) { index in
      list.row(index).map(FleetList.sought) ?? ""
    }
    guard let found else { return false }
    selected = found
    return true
  }

  // MARK: What its commands do

  func order(by column: FleetColumn, reversed: Bool) {
    keepingPlace { $0.order(by: column, reversed: reversed) }
    desk.tell("by \(orderText)")
  }

  /// How the rows are ordered, in words.
  var orderText: String {
    let column = list.column
    let first =
      column == .check
      ? list.isReversed ? "the best first" : "the worst first"
      : column.isText
        ? list.isReversed ? "backwards" : ""
        : column == .changed
          ? list.isReversed ? "the oldest first" : "the newest first"
          : list.isReversed ? "the smallest first" : "the largest first"
    return column.rawValue + (first.isEmpty ? "" : ", " + first)
  }

  func show(_ filter: FleetFilter) {
    let item = list.shown.indices.contains(selected) ? list.shown[selected] : nil
    keepingPlace { $0.show(filter) }
    // Without the row that was selected there is no place to be kept.
    if let item, list.place(of: item) == nil { (selected, top) = (0, 0) }
  }

  func lookAgain(atAll: Bool) throws(CommandError) {
    guard hasFleet, let shelf else {
      throw CommandError("there is no fleet; \(CommandID.fleet) takes a folder")
    }
    if atAll {
      unreached = nil
      return shelf.lookAgain(list.rows)
    }
    guard let row else { throw CommandError("no file is selected") }
    shelf.look(at: row, always: true)
  }

  /// Looks at other folders and files.
  func turn(to places: [String]) throws(CommandError) {
    guard let shelf else { throw CommandError("no fleet can be looked at here") }
    shelf.turn(to: places)
    list = FleetList()
    (selected, top, unreached, left) = (0, 0, nil, nil)
  }

  /// The selected row is the image that is open.
  var isOpen: Bool {
    guard let opened, let row else { return false }
    return opened === desk.session && ByteText.areSame(openedPath, row.path)
  }

  /// The selected row was opened, or is gone to once more.
  func noteOpened() {
    guard let row else { return }
    opened = desk.session
    openedPath = row.path
    left = row.path
  }
}
