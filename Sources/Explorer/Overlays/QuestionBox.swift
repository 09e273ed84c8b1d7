// A question over the screen: what there is to know, and a key for each answer.

import Cartography
import CellScreen

final class QuestionBox: Overlay {
  /// A key, and what is done when the box has closed.
  struct Answer {
    let key: OverlayKey
    let run: (Explorer) throws(CommandError) -> Void
  }

  private let desk: Desk
  private let title: String
  private let lines: [String]
  private let answers: [Answer]

  init(_ title: String, _ lines: [String], _ answers: [Answer], _ desk: Desk) {
    self.title = title
    self.lines = lines
    self.answers = answers
    self.desk = desk
  }

  private static let cancel = OverlayKey(key: .escape, word: "cancel", footer: "cancel")

  private var keys: [OverlayKey] { answers.map(\.key) + [Self.cancel] }

  var hidesCursorText: Bool { true }
  var hints: [Hint] { keys.map(\.hint) }

  func press(_ key: Key) -> OverlayOutcome {
    if let answer = answers.first(where: { $0.key.key == key }) { return .closesAnd(answer.run) }
    switch key {
    case Self.cancel.key, .character("q"), .control("c"): return .closes
    default: return .stays
    }
  }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    let width = min(72, frame.body.width)
    canvas.dialog(
      title: title, lines: lines.flatMap { TextWrap.wrap($0, width: max(1, width - 4)) },
      footer: OverlayKey.footer(keys), in: frame.body, maximumWidth: width, glyphs: desk.glyphs)
  }
}
