// An answer of several lines over the screen: it is read, scrolled if it is long, and closed.

import Cartography
import CellScreen

final class AnswerBox: Overlay {
  private let desk: Desk
  private let title: String
  private let lines: [String]
  private var top = 0
  /// Rows that were seen last.
  private var room = 1

  private static let widest = 76

  /// Columns of its text.
  static func columns(_ desk: Desk) -> Int { max(1, min(widest, desk.frame.body.width) - 4) }

  init(_ title: String, _ lines: [String], _ desk: Desk) {
    self.title = title
    self.lines = lines
    self.desk = desk
  }

  private static let close = OverlayKey(key: .escape, word: "close", footer: "close")
  private static let down = OverlayKey(key: .character("j"), word: "down")
  private static let page = OverlayKey(key: .character(" "), word: "page")
  private static let up = OverlayKey(key: .character("k"), word: "up")

  var hidesCursorText: Bool { true }
  var hints: [Hint] {
    [
      Hint(Self.page.key.notation, "page", press: Self.page.key),
      Hint(Self.down.key.notation + Self.up.key.notation, "scroll"), Self.close.hint,
    ]
  }

  func press(_ key: Key) -> OverlayOutcome {
    switch key {
    case Self.close.key, .enter, .character("q"), .control("c"): return .closes
    case Self.down.key, .down, .control("n"): top += 1
    case Self.up.key, .up, .control("p"): top = max(0, top - 1)
    // A page keeps its last row in sight.
    case Self.page.key, .pageDown, .control("f"): top += max(1, room - 1)
    case .pageUp, .control("b"): top = max(0, top - max(1, room - 1))
    default: break
    }
    return .stays
  }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    let width = min(Self.widest, frame.body.width)
    let wrapped = lines.flatMap { TextWrap.wrap($0, width: max(1, width - 4)) }
    room = max(1, frame.body.height - 2)
    top = min(top, max(0, wrapped.count - room))
    let more =
      wrapped.count > room ? "   \(top + 1)-\(min(wrapped.count, top + room)) of \(wrapped.count)" : ""
    canvas.dialog(
      title: title, lines: Array(wrapped.dropFirst(top).prefix(room)),
      footer: OverlayKey.footer([Self.close]) + more, in: frame.body, maximumWidth: width,
      glyphs: desk.glyphs)
  }
}
