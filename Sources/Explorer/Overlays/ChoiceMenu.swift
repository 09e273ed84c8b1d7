// A list to choose one command from, each with a sentence: the lenses of the maps, and the screens.

import Cartography
import CellScreen

final class ChoiceMenu: Overlay {
  /// One row.
  struct Choice {
    /// The key in front, or a number.
    var label: String
    var name: String
    /// What it is for.
    var sentence: String
    var command: Command
    /// What the row says of it.
    var row: String
    /// A key that takes it at once.
    var key: Key?
  }

  private let desk: Desk
  private let title: String
  private let choices: [Choice]
  private let nameWidth: Int
  private var selected: Int

  private init(_ title: String, _ choices: [Choice], selected: Int, nameWidth: Int, _ desk: Desk) {
    self.title = title
    self.choices = choices
    self.selected = selected
    self.nameWidth = nameWidth
    self.desk = desk
  }

  /// What map cells can show.
  static func lenses(_ desk: Desk, _ lens: Lens) -> ChoiceMenu {
    let choices = Lens.allCases.enumerated().map { index, lens in
      Choice(
        label: String(index + 1), name: lens.name, sentence: lens.help,
        command: Command(.lens, [lens.name]), row: lens.help, key: index < 9 ? Key(String(index + 1)) : nil)
    }
    return ChoiceMenu(
      "Lens: what the cells show", choices, selected: Lens.allCases.firstIndex(of: lens) ?? 0, nameWidth: 13,
      desk)
  }

  /// What each screen answers; every screen says it itself.
  static func screens(_ desk: Desk) -> ChoiceMenu {
    let context = desk.current.context
    let choices = ScreenList.all.compactMap { screen -> Choice? in
      guard let spec = screen.opener else { return nil }
      let key = desk.keys.keys(for: spec.id, in: context).first
      let sentence = spec.help.text(desk.keys, in: context)
      return Choice(
        label: key?.notation ?? "", name: screen.word, sentence: sentence, command: Command(spec.id),
        row: String(sentence.prefix { $0 != ":" && $0 != ";" }), key: key)
    }
    let shown = choices.firstIndex { $0.command.id == type(of: desk.current).opener?.id } ?? 0
    return ChoiceMenu(
      "Screens: what each answers", choices, selected: desk.currentKind == .explorer ? 0 : shown,
      nameWidth: 15,
      desk)
  }

  private static let take = OverlayKey(key: .enter, word: "take", footer: "take it")
  private static let cancel = OverlayKey(key: .escape, word: "cancel", footer: "cancel")
  private static let down = Key.character("j")
  private static let up = Key.character("k")

  var hints: [Hint] {
    [
      Hint(Self.down.notation + Self.up.notation, "choose"), Self.take.hint, Self.cancel.hint,
    ]
  }

  func press(_ key: Key) -> OverlayOutcome {
    switch key {
    case .down, Self.down, .control("n"): selected = min(choices.count - 1, selected + 1)
    case .up, Self.up, .control("p"): selected = max(0, selected - 1)
    case .home: selected = 0
    case .end: selected = choices.count - 1
    case Self.take.key: return choose(selected)
    case Self.cancel.key, .character("q"), .control("c"): return .closes
    default:
      guard let index = choices.firstIndex(where: { $0.key == key }) else { break }
      return choose(index)
    }
    return .stays
  }

  private func choose(_ index: Int) -> OverlayOutcome {
    let command = choices[index].command
    return .closesAnd { explorer throws(CommandError) in try explorer.execute(command) }
  }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    // One line each, so that a key moves by one; the whole sentence of the selected one stands below.
    let room = max(0, min(72, frame.body.width) - 4)
    let height = max(1, frame.body.height - 2)
    let below = max(0, min(3, height - 4))
    let sentence = TextWrap.wrap(choices[selected].sentence, width: room).prefix(below)
    let window = ListWindow(
      count: choices.count, height: max(1, height - (below > 0 ? below + 1 : 0)), selected: selected)
    let rows = window.visible.count + (below > 0 ? below + 1 : 0)
    let outer = frame.body.centred(width: room + 4, height: rows + 2)
    canvas.fill(outer)
    let inner = canvas.frame(
      outer, title: title, footer: OverlayKey.footer([Self.take, Self.cancel]),
      focused: true, glyphs: desk.glyphs
    ).inset(1, 0)
    let labels = max(1, choices.map(\.label.count).max() ?? 1)
    for (row, index) in window.visible.enumerated() where row < inner.height {
      let choice = choices[index]
      let mark = index == selected ? ">" : " "
      let label = TextWidth.padded(choice.label, to: labels)
      let line = "\(mark) \(label) \(TextWidth.padded(choice.name, to: nameWidth))\(choice.row)"
      canvas.put(
        TextWidth.truncated(line, to: inner.width, glyphs: desk.glyphs), at: inner.x, inner.y + row)
    }
    for (row, line) in sentence.enumerated() {
      canvas.put(line, at: inner.x, inner.y + window.visible.count + 1 + row, role: .muted)
    }
    let row = Rect(x: inner.x, y: inner.y + window.selectedRow, width: inner.width, height: 1)
    canvas.restyle(row, adding: .selected)
    canvas.cursor = Point(x: row.x, y: row.y)
  }
}
