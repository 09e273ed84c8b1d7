// The commands of a fleet: the list itself, opening a row, order, choice, and looking again.

import Cartography
import CellScreen
import Qcow
import Storage

extension CommandID {
  /// The list of many images.
  package static let fleet = CommandID("fleet")
  static let openRow = CommandID("open-row")
  static let sort = CommandID("sort")
  static let only = CommandID("only")
  static let again = CommandID("again")
  static let copyPath = CommandID("copy-path")
}

/// How the order of a fleet is asked for.
private enum FleetOrder {
  case column(FleetColumn), next, previous, reverse

  static let words = ["next", "previous", "reverse"]

  /// - Throws: `CommandError` for a word that is no column.
  init(_ word: String) throws(CommandError) {
    switch word {
    case "next": self = .next
    case "previous": self = .previous
    case "reverse": self = .reverse
    default:
      let found = FleetColumn.allCases.filter { $0.rawValue == word }
      let matches = found.isEmpty ? FleetColumn.allCases.filter { $0.rawValue.hasPrefix(word) } : found
      guard matches.count == 1, let column = matches.first else {
        throw CommandError(
          "a fleet is not ordered by '\(word)'; there are "
            + FleetColumn.allCases.map(\.rawValue).joined(separator: ", "))
      }
      self = .column(column)
    }
  }
}

extension ValueType where Value == FleetOrder {
  fileprivate static var fleetOrder: ValueType {
    ValueType(candidates: { _ in FleetColumn.allCases.map(\.rawValue) + FleetOrder.words }) {
      word throws(CommandError) in try FleetOrder(word)
    }
  }
}

extension ValueType where Value == FleetFilter {
  /// A word, or text that may be several words.
  fileprivate static var fleetFilter: ValueType {
    var type = ValueType(candidates: { _ in FleetFilter.words.map(\.word) }) {
      word throws(CommandError) in FleetFilter(word)
    }
    type.isOpen = true
    return type
  }
}

extension FleetScreen {
  private static let all = "all"

  static let commands: [CommandSpec] = [
    CommandSpec(
      .fleet, .program, arguments: [CommandArgument("PATH", .file, optional: true)], hint: "the fleet",
      short: "fleet",
      help:
        "many images as a list; with PATH those of a folder: sizes, what could be given back, what a check finds",
      run: { explorer, command throws(CommandError) in
        guard let screen = explorer.desk.screen(FleetScreen.self) else { return }
        if let path = command.arguments.first { try screen.turn(to: [path]) }
        explorer.desk.openRoot(.fleet)
      }),
    CommandSpec(
      .openRow, .looking, force: true, keys: [KeyRule("Enter", in: .fleet)], hint: "open",
      help: """
        open the selected image of the fleet and show its maps, from which \(key: .close) comes back to the list; ! drops \
        unsaved changes of the one that is open
        """,
      run: { explorer, command throws(CommandError) in try open(explorer, force: command.force) }),
    CommandSpec(
      .sort, .looking, arguments: [CommandArgument("COLUMN", .fleetOrder)],
      keys: [
        KeyRule("o >", in: .fleet, ["next"]), KeyRule("<", in: .fleet, ["previous"]),
        KeyRule("I", in: .fleet, ["reverse"]),
      ], hint: "order",
      help: """
        the order of the fleet: a column, the next or previous one, or reverse; what is not known comes last; a click on \
        the head of a column does the same
        """,
      check: { command throws(CommandError) in _ = try FleetOrder(command.arguments.first ?? "") },
      run: run { screen, command throws(CommandError) in
        sort(try FleetOrder(command.arguments.first ?? ""), screen)
      }),
    CommandSpec(
      .only, .looking, arguments: [CommandArgument("WHAT", .fleetFilter, optional: true)],
      keys: [KeyRule("f", in: .fleet, [ImageChanges.ask])], hint: "filter",
      help: """
        which rows of the fleet are shown: \(FleetFilter.words.map(\.word).joined(separator: ", ")), or those with a text \
        in name, parent, features or error; without WHAT all of them
        """,
      run: { explorer, command in
        guard command.arguments != [ImageChanges.ask] else {
          explorer.overlay = Prompt(
            command: explorer.desk, history: explorer.commandHistory, typed: CommandID.only.name + " ")
          return
        }
        let words = command.arguments.joined(separator: " ")
        explorer.desk.screen(FleetScreen.self)?.show(words.isEmpty ? .all : FleetFilter(words))
      }),
    CommandSpec(
      .again, .looking, aliases: ["refresh"],
      arguments: [
        CommandArgument(
          all, ValueType<String>(candidates: { _ in [all] }) { word throws(CommandError) in word },
          optional: true)
      ],
      keys: [KeyRule("r", in: .fleet), KeyRule("R", in: .fleet, [all])], hint: "again",
      help: """
        look at the selected file of the fleet again; with \(all) at those that have changed and at new ones, and drop \
        what is not there any more
        """,
      check: { command throws(CommandError) in
        guard command.arguments.isEmpty || command.arguments == [all] else {
          throw CommandError("\(CommandID.again) takes nothing or \(all)")
        }
      },
      run: run { screen, command throws(CommandError) in
        try screen.lookAgain(atAll: !command.arguments.isEmpty)
      }),
    CommandSpec(
      .copyPath, .looking, keys: [KeyRule("y", in: .fleet)], hint: "copy",
      help: "the name of the selected file of the fleet to the clipboard of the terminal",
      run: run { screen, _ throws(CommandError) in
        guard let row = screen.row else { throw CommandError("no file is selected") }
        screen.desk.effects.append(.copy(row.path))
        screen.desk.tell("its name for the clipboard")
      }),
  ]

  private static func open(_ explorer: Explorer, force: Bool) throws(CommandError) {
    guard let screen = explorer.desk.screen(FleetScreen.self), let row = screen.row else {
      throw CommandError("no image is selected; \(CommandID.fleet) lists those of a folder")
    }
    if screen.isOpen, !force {
      // As it was left.
      explorer.desk.goHome()
    } else {
      try OtherImages.goOn(with: row.path, secret: nil, force: force, as: .openRow, explorer)
    }
    screen.noteOpened()
    explorer.desk.root = .fleet
  }

  private static func sort(_ order: FleetOrder, _ screen: FleetScreen) {
    let list = screen.list
    let columns = FleetColumn.allCases
    let at = columns.firstIndex(of: list.column) ?? 0
    switch order {
    case .column(let column): screen.order(by: column, reversed: false)
    case .next: screen.order(by: columns[(at + 1) % columns.count], reversed: false)
    case .previous: screen.order(by: columns[(at + columns.count - 1) % columns.count], reversed: false)
    case .reverse: screen.order(by: list.column, reversed: !list.isReversed)
    }
  }
}

/// What the program around an explorer does for its list of images.
package enum FleetBrowsing {
  /// Lets it list images.
  package static func allow(_ shelf: any FleetShelf, on explorer: Explorer) { explorer.desk.fleet = shelf }

  /// Begins with the list: what is opened comes back to it, and the program ends there.
  package static func begin(with shelf: any FleetShelf, on explorer: Explorer) {
    allow(shelf, on: explorer)
    explorer.desk.root = .fleet
    explorer.desk.openRoot(.fleet)
  }
}
