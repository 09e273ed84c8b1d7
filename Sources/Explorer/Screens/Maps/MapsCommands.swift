// The commands of the main screen and of its panes.

import Cartography
import CellScreen
import QcowFormat

extension CommandID {
  static let log = CommandID("log")
  static let otherFile = CommandID("other-file")
  static let explorer = CommandID("explorer")
  static let focus = CommandID("focus")
  static let nextPane = CommandID("next-pane")
  static let previousPane = CommandID("previous-pane")
  static let enlarge = CommandID("enlarge")
  static let hide = CommandID("hide")
  static let panes = CommandID("panes")
}

extension ValueType where Value == Int {
  /// The number of a pane.
  static var pane: ValueType {
    ValueType(candidates: { _ in PaneNumber.allCases.map { String($0.rawValue) } }) {
      word throws(CommandError) in
      guard let pane = Int(word), let number = PaneNumber(rawValue: pane) else {
        throw CommandError("the panes are 1, 2, 3 and 4")
      }
      return number.rawValue
    }
  }
}

enum MapsCommands {
  static let all: [CommandSpec] = [
    CommandSpec(
      .explorer, .looking, hint: "maps",
      help:
        "the two maps, from any screen: where every part of the disk is in the file, and the other way round",
      run: { explorer, _ in explorer.desk.goHome() }),
    CommandSpec(
      .log, .looking, hint: "log", help: "what the operations of this session did (pane 4)",
      run: { explorer, _ throws(CommandError) in
        try explorer.desk.current.focus(PaneNumber.log.rawValue)
      }),
    CommandSpec(
      .otherFile, .looking, keys: [KeyRule("f", in: .panes)], hint: "other file",
      help: "the host map shows the external data file, or the image file again",
      refusal: { explorer in
        let scene = explorer.desk.scene
        guard scene.geometry.hasExternalData else { return "the image has no external data file" }
        return scene.dataMap == nil
          ? "the external data file '\(scene.dataFileName ?? "")' is not open" : nil
      },
      run: MapsScreen.run { maps, _ in maps.showOtherFile() }),
    CommandSpec(
      .focus, .looking, arguments: [CommandArgument("PANE", .pane)],
      keys: PaneNumber.allCases.map { KeyRule(String($0.rawValue), in: .panes, [String($0.rawValue)]) },
      hint: "pane", help: "the keys go to pane 1, 2, 3 or 4",
      run: { explorer, command throws(CommandError) in
        try explorer.desk.current.focus(try ValueType.pane.parse(command.arguments.first ?? ""))
      }),
    CommandSpec(
      .nextPane, .looking, keys: [KeyRule("Tab", in: .panes)], hint: "next pane",
      help: "the keys go to the next pane", run: { explorer, _ in explorer.desk.current.focusNext(1) }),
    CommandSpec(
      .previousPane, .looking, keys: [KeyRule("S-Tab", in: .panes)],
      hint: "previous pane", help: "the keys go to the pane before",
      run: { explorer, _ in explorer.desk.current.focusNext(-1) }),
    CommandSpec(
      .enlarge, .looking, keys: [KeyRule("Z", in: .panes)], hint: "enlarge",
      help: "the pane that has the keys takes all of the screen, and gives it back",
      run: MapsScreen.run { maps, _ in maps.enlarge() }),
    CommandSpec(
      .hide, .looking, keys: [KeyRule("P", in: .panes)], hint: "hide",
      help: "put the pane away that has the keys, for more room; its number shows it again",
      run: MapsScreen.run { maps, _ throws(CommandError) in try maps.hide() }),
    CommandSpec(
      .panes, .looking, help: "all panes again, after \(CommandID.hide) and \(CommandID.enlarge)",
      run: MapsScreen.run { maps, _ in maps.showAll() }),
  ]
}
