// The list of lenses: what map cells can show, to choose from.

import Cartography
import CellScreen

final class LensMenu: Overlay {
  private let desk: Desk
  private var selected: Int

  init(_ desk: Desk, _ lens: Lens) {
    self.desk = desk
    selected = Lens.allCases.firstIndex(of: lens) ?? 0
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
    let last = Lens.allCases.count - 1
    switch key {
    case .down, Self.down, .control("n"): selected = min(last, selected + 1)
    case .up, Self.up, .control("p"): selected = max(0, selected - 1)
    case Self.take.key: return choose(selected)
    case Self.cancel.key, .character("q"): return .closes
    default:
      guard let digit = key.typed, let number = Int(String(digit)), (1...last + 1).contains(number) else {
        break
      }
      return choose(number - 1)
    }
    return .stays
  }

  private func choose(_ index: Int) -> OverlayOutcome {
    .closesAnd { explorer throws(CommandError) in
      try explorer.execute(Command(.lens, [Lens.allCases[index].name]))
    }
  }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    // One line each, so that a key moves by one; the whole sentence of the selected one stands below.
    let room = max(0, min(72, frame.body.width) - 4)
    let height = max(1, frame.body.height - 2)
    let sentence = TextWrap.wrap(Lens.allCases[selected].help, width: room)
    let below = min(sentence.count, max(0, min(3, height - 4)))
    let window = ListWindow(
      count: Lens.allCases.count, height: max(1, height - (below > 0 ? below + 1 : 0)), selected: selected)
    let rows = window.visible.count + (below > 0 ? below + 1 : 0)
    let outer = frame.body.centred(width: room + 4, height: rows + 2)
    canvas.fill(outer)
    let inner = canvas.frame(
      outer, title: "Lens: what the cells show", footer: OverlayKey.footer([Self.take, Self.cancel]),
      focused: true, glyphs: desk.glyphs
    ).inset(1, 0)
    for (row, index) in window.visible.enumerated() where row < inner.height {
      let lens = Lens.allCases[index]
      let mark = index == selected ? ">" : " "
      let line = "\(mark) \(index + 1) \(TextWidth.padded(lens.name, to: 11))\(lens.help)"
      canvas.put(
        TextWidth.truncated(line, to: inner.width, glyphs: desk.glyphs), at: inner.x, inner.y + row)
    }
    for (row, line) in sentence.prefix(below).enumerated() {
      canvas.put(line, at: inner.x, inner.y + window.visible.count + 1 + row, role: .muted)
    }
    let row = Rect(x: inner.x, y: inner.y + window.selectedRow, width: inner.width, height: 1)
    canvas.restyle(row, adding: .selected)
    canvas.cursor = Point(x: row.x, y: row.y)
  }
}
