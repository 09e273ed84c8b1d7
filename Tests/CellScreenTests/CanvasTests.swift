// Canvases clip, keep wide characters whole and never let a control byte through.
// The exact pictures of frames are those of the design's mock-ups.

import CellScreen
import TestSupport
import Testing

@Suite("Canvas", .tags(.fast))
struct CanvasTests {
  @Test("frames look like the mock-ups")
  func frames() {
    var canvas = Canvas(width: 24, height: 4)
    let inner = canvas.frame(canvas.bounds, title: "1 Guest map", footer: "x", focused: true, glyphs: .ascii)
    #expect(inner == Rect(x: 1, y: 1, width: 22, height: 2))
    #expect(
      canvas.text() == """
        += 1 Guest map ========+
        |                      |
        |                      |
        += x ==================+
        """)
    canvas.frame(canvas.bounds, title: "a title that is too long", glyphs: .ascii)
    #expect(canvas.rowText(0) == "+- a title that is... -+")
    canvas.frame(canvas.bounds, title: "你好", focused: true, glyphs: .unicode)
    #expect(canvas.rowText(0) == "╒═ 你好 ═══════════════╕")
    canvas.frame(canvas.bounds, glyphs: .unicode)
    #expect(canvas.rowText(3) == "└──────────────────────┘")
  }

  @Test(
    "text is clipped on both sides and wide characters stay whole",
    arguments: [
      (0, Int.max, "ab你好cd"), (-1, .max, "b你好cd"), (-3, .max, " 好cd"), (5, .max, "     ab你"),
      (6, .max, "      ab你"), (7, .max, "       ab"), (0, 3, "ab"), (0, 4, "ab你"), (0, 0, ""), (10, 5, ""),
      (.max, 5, ""),
      (.min, 5, ""),
    ])
  func clipping(_ x: Int, _ maxWidth: Int, _ expected: String) {
    var canvas = Canvas(width: 10, height: 1)
    canvas.put("ab你好cd", at: x, 0, maxWidth: maxWidth)
    #expect(canvas.rowText(0) == expected)
    let widths = canvas.cells.reduce(0) { $0 + Int($1.width) }
    #expect(widths == 10)
  }

  @Test("overwriting half of a wide character blanks the other half")
  func halves() {
    var canvas = Canvas(width: 6, height: 1)
    canvas.put("你好吗", at: 0, 0)
    canvas.put("x", at: 1, 0)
    #expect(canvas.rowText(0) == " x好吗")
    canvas.put("y", at: 2, 0)
    #expect(canvas.rowText(0) == " xy 吗")
    canvas.put("界", at: 3, 0)
    #expect(canvas.rowText(0) == " xy界")
    #expect(canvas.cells.reduce(0) { $0 + Int($1.width) } == 6)
  }

  @Test("random drawing keeps every row as wide as the canvas", arguments: 0..<20)
  func randomDrawing(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var canvas = Canvas(width: 17, height: 3)
    let texts = ["ab", "你", "e\u{301}x", "界界界", "\u{1b}[2J", "\u{301}", "a\u{300}\u{301}\u{302}"]
    for _ in 0..<200 {
      let text = texts[Int(random.below(UInt64(texts.count)))]
      canvas.put(text, at: Int(random.below(24)) - 4, Int(random.below(5)) - 1)
      for y in 0..<3 {
        #expect(canvas.row(y).reduce(0) { $0 + Int($1.width) } == 17)
        #expect(TextWidth.width(canvas.rowText(y)) <= 17)
        #expect(canvas.rowText(y).unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7f })
      }
    }
  }

  @Test(
    "untrusted text becomes visible text",
    arguments: [
      ("plain", "plain", 5), ("\u{1b}[31m", "^[[31m", 6), ("a\nb\t\0", "a^Jb^I^@", 8), ("\u{7f}", "^?", 2),
      ("\u{9b}31m", "<9b>31m", 7), ("\u{202e}txt", "<202e>txt", 9), ("\u{200d}", "<200d>", 6),
      ("e\u{301}", "e\u{301}", 1), ("\u{301}x", " \u{301}x", 2), ("你好", "你好", 4), ("\u{feff}", "<feff>", 6),
      ("a\u{300}\u{301}\u{302}\u{303}", "a\u{300}\u{301}", 1), ("\u{1f1e9}", "<1f1e9>", 7),
      ("\r\n", "^M^J", 4),
      ("\u{fffe}", "<fffe>", 6), ("\u{e000}", "<e000>", 6), ("😀", "😀", 2), ("", "", 0),
    ])
  func sanitising(_ text: String, _ expected: String, _ width: Int) {
    #expect(Array(TextWidth.sanitized(text).unicodeScalars) == Array(expected.unicodeScalars))
    #expect(TextWidth.width(text) == width)
    var canvas = Canvas(width: 20, height: 1)
    #expect(canvas.put(text, at: 0, 0) == width)
  }

  @Test("every scalar is safe on a canvas")
  func everyScalar() {
    var canvas = Canvas(width: 12, height: 1)
    for value in (0...0x2ffff as ClosedRange<UInt32>) {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let width = TextWidth.width(String(scalar))
      #expect((1...9).contains(width), "\(value)")
      if value % 97 == 0 || value < 0x400 {
        canvas.fill(canvas.bounds)
        canvas.put(String(scalar) + "|", at: 0, 0)
        #expect(canvas[width, 0].scalar == "|", "\(value)")
        #expect(canvas.asciiOnly.text().utf8.allSatisfy { $0 >= 0x20 && $0 <= 0x7e })
      }
    }
  }

  @Test(
    "truncation and padding",
    arguments: [
      ("abcdef", 6, "abcdef"), ("abcdef", 5, "ab..."), ("abcdef", 4, "a..."), ("abcdef", 3, "abc"),
      ("abcdef", 0, ""), ("你好吗", 5, "你..."), ("你好吗", 4, "..."), ("ab", 4, "ab"),
    ])
  func truncation(_ text: String, _ width: Int, _ expected: String) {
    let truncated = TextWidth.truncated(text, to: width, glyphs: .ascii)
    #expect(truncated == expected)
    #expect(TextWidth.width(TextWidth.padded(text, to: width, .right)) == width)
  }

  @Test("the end of a path survives")
  func pathTruncation() {
    #expect(TextWidth.truncatedAtStart("/var/lib/disk.qcow2", to: 13, glyphs: .ascii) == "...disk.qcow2")
    #expect(TextWidth.truncatedAtStart("/var/lib/disk.qcow2", to: 11, glyphs: .unicode) == "…disk.qcow2")
    #expect(TextWidth.truncatedAtStart("/disk", to: 5, glyphs: .ascii) == "/disk")
  }

  @Test("both planes tell what a golden file needs")
  func planes() throws {
    var canvas = Canvas(width: 40, height: 6)
    canvas.frame(canvas.bounds, title: "1 Map", footer: "keys", focused: true, glyphs: .ascii)
    for (index, state) in GuestGlyph.allCases.enumerated() {
      canvas.set(2 + index, 1, Glyphs.guest(state).ascii, role: Glyphs.guest(state).role)
    }
    canvas.restyle(Rect(x: 4, y: 1, width: 1, height: 1), adding: .selected)
    canvas.restyle(Rect(x: 7, y: 1, width: 3, height: 1), adding: [.twin, .minority])
    canvas.progressBar(done: 42, total: 100, in: Rect(x: 2, y: 3, width: 30, height: 1), glyphs: .ascii)
    try checkGolden("planes.txt", goldenPlanes(text: canvas.text(), style: canvas.stylePlane()))
  }

  @Test("extreme sizes and rectangles do nothing worse than nothing")
  func extremes() {
    for (width, height) in [(0, 0), (-5, 3), (1, 1), (1, 0)] {
      var canvas = Canvas(width: width, height: height)
      canvas.put("text", at: 0, 0)
      canvas.frame(Rect(x: -3, y: -3, width: 100, height: 100), title: "t", glyphs: .unicode)
      canvas.fill(Rect(x: 5, y: 5, width: 5, height: 5), "x")
      canvas.dialog(title: "t", lines: ["some text"], footer: "f", in: canvas.bounds, glyphs: .ascii)
      canvas.progressBar(done: .max, total: 1, in: canvas.bounds, glyphs: .ascii)
      canvas.draw(Canvas(width: 5, height: 5), at: Point(x: -2, y: -2))
      #expect(canvas.cells.count == canvas.width * canvas.height)
    }
    #expect(Canvas(width: .max, height: 1).width == Canvas.maximumSide)
  }
}
