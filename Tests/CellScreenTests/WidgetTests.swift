// Layout, hint lines, windows on lists, tables, wrapped text: arithmetic that screens rely on.
// Every table holds the case where the room runs out.

import CellScreen
import TestSupport
import Testing

@Suite("Widgets", .tags(.fast))
struct WidgetTests {
  @Test(
    "lengths are divided completely and never beyond",
    arguments: [
      (100, [20, 0], [1, 1], [60, 40]), (10, [20, 5], [1, 1], [10, 0]), (10, [3, 3], [0, 0], [3, 3]),
      (0, [1], [1], [0]), (-4, [1], [1], [0]),
      (101, [0, 0, 0], [1, 1, 1], [33, 34, 34]), (80, [47, 33], [2, 0], [47, 33]),
    ])
  func division(_ length: Int, _ minimums: [Int], _ weights: [Int], _ expected: [Int]) {
    let shares = zip(minimums, weights).map { Layout.Share(minimum: $0, weight: $1) }
    #expect(Layout.divide(length, among: shares) == expected)
  }

  @Test("rectangles stay non-negative")
  func rectangles() {
    let rect = Rect(x: 2, y: 3, width: 4, height: 5)
    #expect(rect.inset(3, 3) == Rect(x: 5, y: 6, width: 0, height: 0))
    #expect(
      rect.splitTop(9).rest.height == 0 && rect.splitBottom(2).bottom == Rect(x: 2, y: 6, width: 4, height: 2)
    )
    #expect(rect.splitLeft(-1).left.width == 0)
    #expect(rect.intersection(Rect(x: 100, y: 100, width: 1, height: 1)).isEmpty)
    #expect(rect.columns([.fixed(1), .flexible(1)]).map(\.x) == [2, 3])
  }

  static let hints = [
    Hint("hjkl/arrows", "move", press: nil), Hint("o", "lens"),
    Hint("Enter", "follow pointer", short: "follow"), essential("?", "help"), essential("q", "quit"),
  ]

  private static func essential(_ key: String, _ text: String) -> Hint {
    var hint = Hint(key, text)
    hint.isEssential = true
    return hint
  }

  @Test(
    "hints give up gaps, then long words, then whole hints, the essential ones last",
    arguments: [
      (80, "hjkl/arrows move  o lens  Enter follow pointer  ? help  q quit"),
      (60, "hjkl/arrows move o lens Enter follow pointer ? help q quit"),
      (52, "hjkl/arrows move o lens Enter follow ? help q quit"),
      (42, "hjkl/arrows move o lens ? help q quit"), (22, "? help q quit"), (12, "? help"),
      (5, ""), (0, ""),
    ])
  func hintLine(_ width: Int, _ expected: String) {
    var canvas = Canvas(width: 80, height: 1)
    let regions = HintLine.draw(WidgetTests.hints, on: &canvas, at: 0, 0, width: width)
    #expect(canvas.rowText(0) == expected)
    for region in regions {
      #expect(region.area.endX <= width)
      let text = (region.area.x..<region.area.endX).map { String(canvas[$0, 0].scalar) }.joined()
      #expect(text.hasPrefix(region.key.notation))
    }
  }

  @Test(
    "moving in a list",
    arguments: [
      (ListWindow.Move.down(1), 51), (.up(1), 49), (.pageDown, 60), (.pageUp, 40), (.halfPageDown, 55),
      (.halfPageUp, 45), (.first, 0), (.last, 999),
      (.down(.max), 999), (.up(.max), 0), (.down(-3), 50), (.to(-1), 0), (.to(.max), 999), (.to(.min), 0),
    ])
  func moves(_ move: ListWindow.Move, _ expected: Int) {
    var window = ListWindow(count: 1000, height: 10, selected: 50)
    window.move(move)
    #expect(window.selected == expected)
    #expect(window.visible.contains(window.selected) && window.visible.count == 10)
  }

  @Test(
    "empty and huge lists", arguments: [(0, 5), (1, 5), (Int.max, 5), (Int.max, Int.max), (3, 0), (-4, -4)])
  func extremes(_ count: Int, _ height: Int) {
    var window = ListWindow(count: count, height: height)
    for move in [.last, .down(.max), .pageDown, .pageUp, .first, .to(.max), .to(.min), .halfPageDown]
      as [ListWindow.Move]
    {
      window.move(move)
      #expect(count <= 0 ? window.visible.isEmpty : window.visible.contains(window.selected))
    }
    for rows in [1, -1, .max, .min] {
      window.scroll(by: rows)
      #expect(count <= 0 || window.visible.contains(window.selected))
    }
  }

  @Test("random walks keep the selection in view", arguments: 0..<10)
  func walk(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var window = ListWindow(count: 100, height: 7)
    for _ in 0..<500 {
      switch random.below(5) {
      case 0: window.move(.down(Int(random.below(20))))
      case 1: window.move(.up(Int(random.below(20))))
      case 2: window.scroll(by: Int(random.below(20)) - 10)
      case 3: window.resize(count: Int(random.below(120)), height: Int(random.below(12)))
      default: window.move(.to(Int(random.below(120))))
      }
      #expect(window.count == 0 || window.visible.contains(window.selected))
    }
  }

  @Test("a table shows its window, marks its row and places the cursor")
  func table() throws {
    var canvas = Canvas(width: 30, height: 5)
    let window = ListWindow(count: 100, height: 4, selected: 42, top: 40)
    let areas = Table.draw(
      columns: [
        .init("index", width: 6, alignment: .right), .init("name", width: 12), .init("x", width: 30),
      ],
      window: window, in: canvas.bounds, on: &canvas, focused: true, glyphs: .ascii
    ) { [.init("\($0)"), .init("a very long name", role: .link), .init("\u{1b}c")] }
    #expect(areas.keys.sorted() == [40, 41, 42, 43] && canvas.cursor == Point(x: 0, y: 3))
    try checkGolden("table.txt", goldenPlanes(text: canvas.text(), style: canvas.stylePlane()))
  }

  @Test(
    "wrapping",
    arguments: [
      ("one two three", 7, ["one two", "three"]), ("one two three", 3, ["one", "two", "thr", "ee"]),
      ("", 5, [""]), ("a\n\nb", 5, ["a", "", "b"]),
      ("  - item goes on", 9, ["  - item", "  goes on"]), ("你好 世界", 5, ["你好", "世界"]), ("你好", 1, [""]),
      ("text", 0, []), ("   ", 5, [""]),
      ("a b", 1, ["a", "b"]),
    ])
  func wrapping(_ text: String, _ width: Int, _ expected: [String]) {
    #expect(TextWrap.wrap(text, width: width) == expected)
  }

  @Test("random text is never wider than its lines", arguments: 0..<20)
  func wrapProperty(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let letters: [Character] = ["a", "b", " ", " ", "你", "\n", "\u{1b}", "e\u{301}"]
    let text = String((0..<200).map { _ in letters[Int(random.below(8))] })
    for width in 2...30 {
      #expect(TextWrap.wrap(text, width: width).allSatisfy { TextWidth.width($0) <= width })
    }
  }

  @Test("a dialog covers what is under it")
  func dialog() throws {
    var canvas = Canvas(width: 60, height: 12)
    canvas.fill(canvas.bounds, "x")
    canvas.dialog(
      title: "Discard",
      lines: [
        "Discard 64K at 0x500000.", "", "1 cluster is freed inside the file; the file keeps its length.",
      ],
      footer: "Enter do it   Esc cancel", in: canvas.bounds, maximumWidth: 44, glyphs: .ascii)
    try checkGolden("dialog.txt", goldenPlanes(text: canvas.text(), style: canvas.stylePlane()))
  }
}
