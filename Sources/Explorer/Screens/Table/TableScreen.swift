// The L2 table: one row per entry in use, runs of unused ones folded, and below it the selected entry
// bit by bit and its subclusters. The twin cursor goes with it, so that leaving it shows the same place on the maps.

import Cartography
import CellScreen
import Qcow
import QcowFormat

extension ScreenKind {
  /// The screen of one L2 table.
  package static let table = ScreenKind("table")
}

extension Context {
  /// Where its keys are.
  package static let table = Context("table", title: "L2 table", [.image, .searched])
}

extension Contexts {
  static let table = Contexts(.table)
}

extension Address {
  /// An entry of the table of an L1 entry, and one of its subclusters.
  static func table(_ l1Index: Int, entry: Int, subcluster: Int) -> Address {
    Address(.table, [l1Index, entry, subcluster].map { UInt64(max(0, $0)) })
  }
}

final class TableScreen: Screen {
  static let kind = ScreenKind.table
  static let contexts: [Context] = [.table]

  let desk: Desk
  private(set) var l1Index = 0
  private(set) var entry = 0
  private(set) var subcluster = 0
  private var isFolded = true
  private(set) var top = 0
  private var cache: (key: [Int], view: L2View)?
  private var geometry: Geometry { desk.geometry }

  init(_ desk: Desk) { self.desk = desk }

  /// The rows of the table that is open; nil if it cannot be read.
  var view: L2View? {
    let key = [l1Index, desk.revision]
    if cache?.key != key {
      guard let read = try? L2View(desk.scene.atlas, l1Index: l1Index) else { return nil }
      cache = (key, read)
    }
    var view = cache?.view
    view?.isFolded = isFolded
    return view
  }

  func sessionWasReplaced() { cache = nil }

  // MARK: Words

  var context: Context { .table }

  var titles: [String] {
    let table = view?.table
    let place = table.map { "at host 0x\(Notation.hex($0.value))" } ?? "does not exist"
    let short = table.map { "@\(Notation.hex($0.value))" } ?? "none"
    let entries = "\(geometry.l2EntriesPerTable) entries x \(geometry.l2EntrySize) bytes"
    return [
      " L2 table of L1[\(l1Index)] \(place), \(entries)",
      "L2 table \(short) (L1[\(l1Index)]) \(geometry.l2EntriesPerTable) x \(geometry.l2EntrySize) B",
      "L2 table \(short) (L1[\(l1Index)])", "L1[\(l1Index)]",
    ]
  }

  var hints: [HintRule] {
    [
      HintRule([.left, .down, .up, .right], "move"),
      HintRule(Movement.nextUsed.id, Movement.previousUsed.id, separator: "/", short: "used"),
      HintRule(.follow), HintRule(.back), HintRule(.fold),
      HintRule(.previousTable, .nextTable, separator: " ", click: 1, "other table", short: "table"),
      HintRule(.search), HintRule(.write), HintRule(.discard), HintRule(.zero), HintRule(.undo),
      HintRule(.hex), HintRule(.prompt), HintRule(.help), .back,
    ]
  }

  /// The pane of the subclusters shows it.
  var cursorText: String {
    TableLayout(desk.frame).subclusters.isEmpty || !geometry.hasExtendedL2 ? desk.cursorText : ""
  }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    TableDrawing(self, TableLayout(frame)).draw(on: &canvas)
  }

  // MARK: Places

  var address: Address { .table(l1Index, entry: entry, subcluster: subcluster) }

  func restore(_ address: Address) {
    l1Index = Int(clamping: address[0])
    entry = Int(clamping: address[1])
    subcluster = Int(clamping: address[2])
  }

  func go(to address: Address) {
    restore(address)
    pullCursor()
  }

  func imageChanged(at offset: UInt64?) { pullCursor() }

  /// The cursor of the maps goes where the selected entry and subcluster are.
  private func pullCursor() {
    entry = max(0, min(entry, geometry.l2EntriesPerTable - 1))
    subcluster = max(0, min(subcluster, geometry.subclustersPerCluster - 1))
    let start = geometry.guestOffset(l1Index: l1Index, l2Index: entry).value
    let offset = start + UInt64(subcluster) * geometry.subclusterSize
    if offset < geometry.virtualSize { desk.setCursor(.guest, offset) }
  }

  func settle() {
    l1Index = max(0, min(l1Index, desk.scene.image.l1Count - 1))
    guard let view else { return }
    let window = ListWindow(
      count: view.rowCount, height: TableLayout(desk.frame).rows, selected: view.rowNumber(ofEntry: entry),
      top: top)
    top = window.top
  }

  /// The bytes of the entry. A table stands in the image file, whatever it points to.
  var hexStart: (offset: UInt64, file: HostFileKind)? {
    let place = view?.table.map { $0.value + UInt64(entry * geometry.l2EntrySize) }
    return (place ?? desk.cursor.host, .image)
  }

  var unit: UInt64 { geometry.subclusterSize }

  // MARK: Answers

  func move(_ movement: Movement, _ count: Int) {
    guard let view else { return }
    let last = geometry.subclustersPerCluster - 1
    switch movement {
    case .left where geometry.hasExtendedL2: subcluster = max(0, subcluster - min(count, 32))
    case .right where geometry.hasExtendedL2: subcluster = min(last, subcluster + min(count, 32))
    case .rowStart: subcluster = 0
    case .rowEnd: subcluster = last
    case .nextUsed, .previousUsed: moveToUsed(view, forward: movement == .nextUsed, count)
    default:
      let row = movement.row(
        from: view.rowNumber(ofEntry: entry), count, in: view.rowCount, page: TableLayout(desk.frame).rows)
      select(row, view)
    }
    pullCursor()
  }

  private func moveToUsed(_ view: L2View, forward: Bool, _ count: Int) {
    for _ in 0..<min(count, 1 << 18) {
      guard let next = view.nextUsed(from: entry, forward: forward) else {
        return desk.tell(forward ? "no entry in use behind here" : "no entry in use before here")
      }
      entry = next
    }
  }

  private func select(_ row: Int, _ view: L2View) {
    switch view.row(row) {
    case .entry(let row): entry = row.index
    case .unused(let first, _), .pastEnd(let first, _): entry = first
    case nil: break
    }
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    let table = TableLayout(frame).table
    let row = point.y - table.y - 2
    guard table.contains(point), row >= 0, let view, view.row(top + row) != nil else { return }
    select(top + row, view)
    pullCursor()
  }

  /// To the host cluster of the entry.
  func follow() throws(CommandError) {
    guard let view, case .entry(let row)? = view.row(view.rowNumber(ofEntry: entry)) else {
      throw CommandError("these entries point nowhere")
    }
    guard let host = row.host else {
      throw CommandError("entry \(row.index) has no host cluster to follow to")
    }
    let inside = row.entry.isCompressed ? 0 : UInt64(subcluster) * geometry.subclusterSize
    desk.remember()
    desk.show(.maps(.hostMap))
    desk.cursor.file = geometry.hasExternalData ? .data : .image
    desk.setCursor(.host, host.value + inside)
  }

  func goToOtherSide() throws(CommandError) { try follow() }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    if let offset = try? Quantity.bytes(text), text.hasPrefix("0x") {
      try desk.go(to: .guest(offset))
      return true
    }
    guard let view, let found = entry(with: text, view, forward) else { return false }
    entry = found
    pullCursor()
    return true
  }

  private func entry(with text: String, _ view: L2View, _ forward: Bool) -> Int? {
    let wanted = text.lowercased()
    var unfolded = view
    unfolded.isFolded = false
    var index = entry
    while let next = view.nextUsed(from: index, forward: forward) {
      index = next
      guard case .entry(let row)? = unfolded.row(unfolded.rowNumber(ofEntry: next)) else { continue }
      let host = row.host.map { "0x" + Notation.hex($0.value) } ?? ""
      let words = "\(row.index) \(row.meaning) \(host) 0x\(Notation.hex(row.guest.value))"
      if Searching.contains(words.lowercased(), wanted) { return next }
    }
    return nil
  }

  // MARK: Commands

  fileprivate func step(_ step: Int) throws(CommandError) {
    let (wanted, overflow) = l1Index.addingReportingOverflow(step)
    let index = overflow ? -1 : wanted
    guard index >= 0, index < desk.scene.image.l1Count else {
      throw CommandError(step < 0 ? "this is the first L2 table" : "this is the last L2 table")
    }
    desk.show(.table(index, entry: 0, subcluster: 0))
  }

  fileprivate func toggleFolding() { isFolded.toggle() }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .l2, .looking, arguments: [CommandArgument("L1", .count, optional: true)],
      keys: [KeyRule("t", in: .image)], hint: "L2 table",
      help: "the L2 table that maps this place, entry by entry, bit by bit",
      refusal: { $0.desk.scene.image.l1Count > 0 ? nil : "the L1 table has no entries" },
      run: { explorer, command throws(CommandError) in
        let desk = explorer.desk
        if let word = command.arguments.first {
          return try desk.openTable(try Quantity.index(word), entry: 0)
        }
        let guest = GuestOffset(desk.cursor.guest)
        try desk.openTable(
          desk.geometry.l1Index(of: guest), entry: desk.geometry.l2Index(of: guest),
          subcluster: desk.geometry.subcluster(of: guest).value)
      }),
    CommandSpec(
      .previousTable, .looking, keys: [KeyRule("[", in: .table)], counts: true, hint: "previous table",
      help: "the L2 table before this one",
      run: run { table, command throws(CommandError) in try table.step(-command.times) }),
    CommandSpec(
      .nextTable, .looking, keys: [KeyRule("]", in: .table)], counts: true, hint: "next table",
      help: "the L2 table after this one",
      run: run { table, command throws(CommandError) in try table.step(command.times) }),
    CommandSpec(
      .fold, .looking, keys: [KeyRule("f", in: .table)], hint: "fold",
      help: "show or fold runs of entries that are not in use", run: run { table, _ in table.toggleFolding() }
    ),
  ]
}

extension CommandID {
  static let l2 = CommandID("l2")
  static let previousTable = CommandID("previous-table")
  static let nextTable = CommandID("next-table")
  static let fold = CommandID("fold")
}

extension Explorer {
  /// What the table screen has selected.
  package var tableEntry: (l1: Int, l2: Int, subcluster: Int) {
    desk.screen(TableScreen.self).map { ($0.l1Index, $0.entry, $0.subcluster) } ?? (0, 0, 0)
  }
}
