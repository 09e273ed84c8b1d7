// Looking around: what every screen answers in its own way. Nothing in here changes a byte.

import Cartography
import CellScreen

extension CommandID {
  static let zoom = CommandID("zoom")
  static let lens = CommandID("lens")
  static let lensList = CommandID("lens-list")
  static let owner = CommandID("owner")
  static let otherSide = CommandID("other-side")
  static let follow = CommandID("follow")
  static let back = CommandID("back")
  static let screens = CommandID("screens")
}

/// How `:zoom` changes the size of a cell.
enum ZoomTarget: Hashable, Sendable {
  case `in`, out, fit
  /// Bytes per cell.
  case bytes(UInt64)

  /// - Throws: `CommandError` for a word that is neither a direction nor a size.
  init(_ word: String) throws(CommandError) {
    switch word {
    case "in", "+": self = .in
    case "out", "-": self = .out
    case "fit", "all": self = .fit
    case "": throw CommandError("\(CommandID.zoom) needs in, out, fit or a size")
    default:
      let bytes = try Quantity.bytes(word)
      guard bytes > 0 else { throw CommandError("a cell cannot stand for 0 bytes") }
      self = .bytes(bytes)
    }
  }
}

extension ValueType where Value == ZoomTarget {
  static var zoom: ValueType {
    ValueType(candidates: { _ in ["in", "out", "fit"] }) { word throws(CommandError) in try ZoomTarget(word) }
  }
}

extension ValueType where Value == String {
  /// A lens of the maps or a choice of clusters; the screen knows which.
  static var lens: ValueType {
    ValueType(candidates: { _ in ScreenList.all.flatMap { $0.choices } }) {
      word throws(CommandError) in word
    }
  }
}

enum Looking {
  static let commands: [CommandSpec] = [
    CommandSpec(
      .zoom, .looking, arguments: [CommandArgument("HOW", .zoom)],
      keys: [
        KeyRule("+ =", in: .maps, ["in"]), KeyRule("-", in: .maps, ["out"]),
        KeyRule("_", in: .maps, ["fit"]),
      ], counts: true, hint: "zoom",
      help: "bytes per cell: 'in', 'out', 'fit' for all in one view, or a size such as 64k",
      check: { command throws(CommandError) in _ = try ZoomTarget(command.arguments.first ?? "") },
      run: { explorer, command throws(CommandError) in
        try explorer.desk.current.zoom(try ZoomTarget(command.arguments.first ?? ""), command.times)
      }),
    CommandSpec(
      .lens, .looking, arguments: [CommandArgument("NAME", .lens, optional: true)],
      keys: [KeyRule("o", in: [.panes, .table])], hint: "lens",
      help: """
        what the cells show: kind, fill, refcount, order, owner, layer, age, difference, bitmap, \
        looks-like, compressible or reclaimable; on the fragmentation screen all, standard or \
        compressed; without a name the next one
        """,
      run: { explorer, command throws(CommandError) in
        try explorer.desk.current.choose(command.arguments.first)
      }),
    CommandSpec(
      .lensList, .looking, keys: [KeyRule("O", in: [.panes, .table])], hint: "lenses",
      help: "choose the lens from a list",
      run: { explorer, _ in
        explorer.overlay = ChoiceMenu.lenses(
          explorer.desk, explorer.desk.screen(MapsScreen.self)?.lens ?? .kind)
      }),
    CommandSpec(
      .screens, .looking, keys: [KeyRule("Space", in: .image)], hint: "screens",
      help: "choose a screen from a list that says what each of them answers",
      run: { explorer, _ in explorer.overlay = ChoiceMenu.screens(explorer.desk) }),
    CommandSpec(
      .owner, .looking, arguments: [CommandArgument("SNAPSHOT", .text, optional: true)],
      keys: [KeyRule("B", in: .panes)], hint: "owner",
      help: """
        whose the clusters are: with SNAPSHOT what it has alone, and what it shares with the disk or with others; 'all' \
        for a letter for each set of owners; without a name the next snapshot
        """,
      run: { explorer, command throws(CommandError) in
        guard let maps = explorer.desk.screen(MapsScreen.self) else { return }
        explorer.desk.open(.explorer)
        try maps.chooseOwner(command.arguments.first)
      }),
    CommandSpec(
      .otherSide, .looking, keys: [KeyRule("x", in: .image)], hint: "other side",
      help: "from the guest side of this place to its host side, or back",
      run: { explorer, _ throws(CommandError) in
        if SnapshotOffer.opens(in: explorer, for: .otherSide) { return }
        try explorer.desk.current.goToOtherSide()
      }),
    CommandSpec(
      .follow, .looking, keys: [KeyRule("Enter", in: .image)], hint: "follow",
      help: "follow the pointer: guest map to L2 entry to host cluster to its owner",
      run: { explorer, _ throws(CommandError) in
        if SnapshotOffer.opens(in: explorer, for: .follow) { return }
        try explorer.desk.current.follow()
      }),
    CommandSpec(
      .back, .looking, keys: [KeyRule("b Backspace", in: .image)], hint: "back",
      help: "back to where the last jump began", run: { explorer, _ in explorer.desk.goBack() }),
  ]
}
