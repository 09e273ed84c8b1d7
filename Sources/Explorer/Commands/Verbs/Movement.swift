// The fourteen movements: the same in maps, lists, tables, bytes and help. Each place says what a cell, a row
// and a page are there.

import Cartography
import CellScreen
import Storage

/// A way to move.
enum Movement: String, CaseIterable, Sendable {
  case left, down, up, right
  case pageDown = "page-down"
  case pageUp = "page-up"
  case halfDown = "half-down"
  case halfUp = "half-up"
  case first, last
  case rowStart = "row-start"
  case rowEnd = "row-end"
  case nextUsed = "next-used"
  case previousUsed = "previous-used"

  var id: CommandID { CommandID(rawValue) }

  /// A row of a list after a movement.
  func row(from row: Int, _ count: Int, in rows: Int, page: Int) -> Int {
    let last = max(0, rows - 1)
    let step: Int
    switch self {
    case .up, .left, .previousUsed: step = -count
    case .down, .right, .nextUsed: step = count
    case .pageUp: step = -count * page
    case .pageDown: step = count * page
    case .halfUp: step = -count * max(1, page / 2)
    case .halfDown: step = count * max(1, page / 2)
    case .first, .rowStart: return 0
    case .last, .rowEnd: return last
    }
    let (sum, overflow) = row.addingReportingOverflow(step)
    return overflow ? (step > 0 ? last : 0) : max(0, min(last, sum))
  }

  private func spec(
    _ keys: [KeyRule], hint: String = "", _ help: KeyText, argument: Bool = false, counts: Bool = true
  ) -> CommandSpec {
    CommandSpec(
      id, .moving, arguments: argument ? [CommandArgument("n", .count, optional: true)] : [], keys: keys,
      counts: counts, hint: hint, help: help,
      run: { explorer, command in
        explorer.desk.current.move(self, max(1, min(command.times, 1 << 30)))
      })
  }

  static let commands: [CommandSpec] = [
    left.spec(
      [KeyRule("h Left", in: .all)], hint: "left",
      "one cell, subcluster or byte to the left; in lists one row up", argument: true),
    down.spec([KeyRule("j Down C-n", in: .all)], hint: "down", "one row down", argument: true),
    up.spec([KeyRule("k Up C-p", in: .all)], hint: "up", "one row up", argument: true),
    right.spec(
      [KeyRule("l Right", in: .all)], hint: "right",
      "one cell, subcluster or byte to the right; in lists one row down", argument: true),
    pageDown.spec([KeyRule("PgDn C-f", in: .all)], "one page down"),
    pageUp.spec([KeyRule("PgUp C-b", in: .all)], "one page up"),
    halfDown.spec([KeyRule("C-d", in: .all)], "half a page down"),
    halfUp.spec([KeyRule("C-u", in: .all)], "half a page up"),
    first.spec([KeyRule("g", in: .all)], "to the very start", counts: false),
    last.spec([KeyRule("G", in: .all)], "to the very end", counts: false),
    rowStart.spec(
      [KeyRule("0 Home", in: .all)], "to the start of the row", counts: false),
    rowEnd.spec([KeyRule("$ End", in: .all)], "to the end of the row", counts: false),
    nextUsed.spec(
      [KeyRule("J", in: [.maps, .table])], hint: "next used",
      "to the next place that differs from 'nothing here'"),
    previousUsed.spec(
      [KeyRule("K", in: [.maps, .table])], hint: "previous used",
      "to the place in use before this one"),
    CommandSpec(
      .goto, .moving, aliases: ["g"], arguments: [CommandArgument("WHERE", .place)],
      hint: "go to",
      help: "to a guest offset (5M), 'guest OFF', 'host OFF', 'L1 i', 'L2 i j', 'start' or 'end'",
      check: { command throws(CommandError) in
        _ = try GotoTarget(command.arguments, for: CommandID.goto.description)
      },
      run: { explorer, command throws(CommandError) in
        try explorer.desk.go(to: try GotoTarget(command.arguments, for: CommandID.goto.description))
      }),
  ]
}

extension CommandID {
  static let goto = CommandID("goto")
}

extension ValueType where Value == GotoTarget {
  /// A place in several words; only the first one is completed.
  static var place: ValueType {
    var type = ValueType(candidates: { _ in ["guest", "host", "L1", "L2", "start", "end"] }) {
      word throws(CommandError) in try GotoTarget([word], for: CommandID.goto.description)
    }
    type.isOpen = true
    return type
  }
}
