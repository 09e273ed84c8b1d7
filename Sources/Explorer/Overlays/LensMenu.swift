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
    let lines = Lens.allCases.enumerated().map { index, lens in
      (index == selected ? ">" : " ") + " \(index + 1) " + TextWidth.padded(lens.name, to: 9) + lens.help
    }
    let inner = canvas.dialog(
      title: "Lens: what the cells show", lines: lines, footer: OverlayKey.footer([Self.take, Self.cancel]),
      in: frame.body, glyphs: desk.glyphs)
    let row = Rect(x: inner.x, y: inner.y + selected, width: inner.width, height: 1)
    canvas.restyle(row, adding: .selected)
    canvas.cursor = Point(x: row.x, y: row.y)
  }
}
