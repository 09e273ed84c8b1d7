// The screen of persistent bitmaps: what each records, how much of the disk it marks and where, and what may be done
// with it.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

extension ScreenKind {
  /// The screen of persistent bitmaps.
  package static let bitmaps = ScreenKind("bitmaps")
}

extension Context {
  /// Where its keys are.
  package static let bitmaps = Context("bitmaps", title: "Bitmaps", [.image, .searched])
}

extension Contexts {
  static let bitmaps = Contexts(.bitmaps)
}

extension CommandID {
  static let bitmaps = CommandID("bitmaps")
}

extension Desk {
  /// The name of the bitmap that the screen of bitmaps has selected; nil if there is none.
  var selectedBitmap: String? { screen(BitmapsScreen.self)?.bitmap }
}

final class BitmapsScreen: Screen {
  static let kind = ScreenKind.bitmaps
  static let contexts: [Context] = [.bitmaps]
  private static let parts = 64

  let desk: Desk
  private(set) var selected = 0
  private(set) var top = 0
  private var counting: (revision: Int, scan: BitmapScan)?

  init(_ desk: Desk) { self.desk = desk }

  /// The image that is worked on, whatever is looked at.
  var image: Image { desk.session.image }

  var scan: BitmapScan {
    let revision = desk.session.revision
    if let counting, counting.revision == revision { return counting.scan }
    let scan = BitmapScan(image, parts: Self.parts)
    counting = (revision, scan)
    return scan
  }

  var bitmaps: [BitmapCount] { scan.bitmaps }
  private var layout: StripLayout { StripLayout(desk.frame, rows: max(1, bitmaps.count)) }

  func sessionWasReplaced() { counting = nil }

  // MARK: Words

  var context: Context { .bitmaps }

  var titles: [String] {
    let count = bitmaps.isEmpty ? "no bitmap" : counted(bitmaps.count, "bitmap")
    return [" persistent bitmaps: \(count)", count]
  }

  private static let actions: [(key: String, change: any Change.Type, word: String)] = [
    ("a", AddBitmap.self, "add"), ("d", RemoveBitmap.self, "remove"), ("c", ClearBitmap.self, "clear"),
    ("e", EnableBitmap.self, "enable"), ("E", DisableBitmap.self, "disable"),
    ("m", MergeBitmap.self, "merge"),
  ]

  var hints: [HintRule] {
    [HintRule([.down, .up], "move"), HintRule(.follow, nil, "its table")]
      + Self.actions.map { HintRule(CommandID($0.change.words.name), nil, $0.word) }
      + [HintRule(.undo), HintRule(.prompt), HintRule(.help), .back]
  }

  static let keys: [CommandID: [KeyRule]] = Dictionary(
    uniqueKeysWithValues: actions.map { (CommandID($0.change.words.name), [KeyRule($0.key, in: .bitmaps)]) })

  var cursorText: String { "" }
  var progress: (text: String, done: Double)? { scan.isDone ? nil : ("bits", scan.progress) }
  var partialReason: String? { scan.failure }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    BitmapsDrawing(self, StripLayout(frame, rows: max(1, bitmaps.count))).draw(on: &canvas)
  }

  // MARK: Answers

  var address: Address { Address(.bitmaps, [UInt64(selected)]) }
  func restore(_ address: Address) { selected = Int(clamping: address[0]) }

  func settle() {
    selected = max(0, min(selected, bitmaps.count - 1))
    top = ListWindow(count: bitmaps.count, height: layout.listRows, selected: selected, top: top).top
  }

  func move(_ movement: Movement, _ count: Int) {
    selected = movement.row(from: selected, count, in: bitmaps.count, page: layout.listRows)
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    selected = layout.row(at: point, top: top, of: bitmaps.count) ?? selected
  }

  /// The name that dialogs about a bitmap begin with.
  var bitmap: String? { bitmaps.indices.contains(selected) ? bitmaps[selected].entry.name : nil }

  /// To the table of the bitmap in the file.
  func follow() throws(CommandError) {
    guard bitmaps.indices.contains(selected) else { throw CommandError("there is no bitmap") }
    let table = bitmaps[selected].entry.tableOffset.value
    guard table != 0 else {
      throw CommandError("this bitmap is not in the file yet; it is stored when the image is saved")
    }
    try desk.go(to: .host(table))
  }

  func goToOtherSide() throws(CommandError) { try follow() }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    let names = bitmaps.map { Escaping.human($0.entry.name) }
    guard
      let found = Searching.row(
        with: text, in: names.count, from: selected, forward: forward, { names[$0] })
    else { return false }
    selected = found
    return true
  }

  var scans: [any Work] { [scan] }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .bitmaps, .looking, keys: [KeyRule("M", in: .image)], hint: "bitmaps",
      help: "the persistent bitmaps: what each records, how much of the disk it marks, and where",
      run: { explorer, _ in explorer.desk.open(.bitmaps) })
  ]
}
