// Bytes to events without a terminal: every split of every sequence, noise, and unfinished input.
// The decoder is a value, so ten thousand hostile inputs take no time.

import CellScreen
import TerminalHost
import TestSupport
import Testing

@Suite("Input decoder and capabilities", .tags(.fast))
struct DecoderTests {
  static func decode(_ chunks: [[UInt8]], sequences: [[UInt8]: Key] = [:]) -> [InputEvent] {
    var decoder = InputDecoder(sequences: sequences)
    var events: [InputEvent] = []
    for chunk in chunks {
      decoder.feed(chunk, at: 0)
      while let event = decoder.next() { events.append(event) }
    }
    if decoder.patience != nil { decoder.timeout(at: 0) }
    while let event = decoder.next() { events.append(event) }
    return events
  }

  static let sequences: [(String, [InputEvent])] = [
    ("a", [.key(.character("a"))]), ("é", [.key(.character("é"))]), ("😀", [.key(.character("😀"))]),
    ("\u{1b}[A", [.key(.up)]), ("\u{1b}OA", [.key(.up)]), ("\u{1b}[1;5A", [.key(Key(.up, .control))]),
    ("\u{1b}[1;2D", [.key(Key(.left, .shift))]), ("\u{1b}[3~", [.key(Key(.delete))]),
    ("\u{1b}[3;3~", [.key(Key(.delete, .alt))]),
    ("\u{1b}[15~", [.key(Key(.function(5)))]), ("\u{1b}[[A", [.key(Key(.function(1)))]),
    ("\u{1b}[97;5u", [.key(.control("a"))]),
    ("\u{1b}[27;5;105~", [.key(.control("i"))]), ("\u{1b}\u{1b}[A", [.key(Key(.up, .alt))]),
    ("\u{1b}", [.key(.escape)]),
    ("\u{1b}\u{1b}", [.key(.escape), .key(.escape)]), ("\u{1b}[", [.key(Key(.character("["), .alt))]),
    ("\u{1a}", [.suspendRequested]),
    ("\u{7f}", [.key(.backspace)]), ("\u{1b}\u{7f}", [.key(Key(.backspace, .alt))]),
    ("\0", [.key(Key(.character(" "), .control))]),
    ("\u{1b}[<0;5;6M", [.mouse(Mouse(x: 4, y: 5, kind: .press))]),
    ("\u{1b}[<2;1;1m", [.mouse(Mouse(x: 0, y: 0, button: .right, kind: .release))]),
    ("\u{1b}[<32;5;6M", []), ("\u{1b}[M !!", [.mouse(Mouse(x: 0, y: 0, kind: .press))]),
    ("\u{1b}[<64;5;6M", [.mouse(Mouse(x: 4, y: 5, button: .none, kind: .wheelUp))]),
    ("\u{1b}[200~a\u{1b}b\r\nc\u{1b}[201~x", [.paste("a\u{1b}b\nc"), .key(.character("x"))]),
    ("\u{1b}[200~\u{1b}[201~", [.paste("")]),
    ("\u{1b}[200~lost", [.paste("lost")]), ("\u{1b}[I", []), ("\u{1b}[?1;2c", []),
    ("\u{1b}[99999999999999999999999~", []), ("\u{1b}OM", [.key(.enter)]),
  ]

  @Test("sequences, whole and split at every byte", arguments: sequences)
  func whole(_ text: String, _ expected: [InputEvent]) {
    let bytes = Array(text.utf8)
    #expect(DecoderTests.decode([bytes]) == expected)
    #expect(DecoderTests.decode(bytes.map { [$0] }) == expected)
    for cut in 1..<max(2, bytes.count) {
      #expect(DecoderTests.decode([Array(bytes.prefix(cut)), Array(bytes.dropFirst(cut))]) == expected)
    }
  }

  @Test("a terminal's own sequences win")
  func described() {
    let sequences: [[UInt8]: Key] = [
      Array("\u{1b}[7$".utf8): Key(.home, .shift), Array("\u{1b}[A".utf8): .pageUp,
    ]
    #expect(
      DecoderTests.decode([Array("\u{1b}[7$".utf8)], sequences: sequences) == [.key(Key(.home, .shift))])
    #expect(
      DecoderTests.decode([Array("\u{1b}[A\u{1b}[B".utf8)], sequences: sequences) == [
        .key(.pageUp), .key(.down),
      ])
  }

  @Test("two presses are a double click only on one cell and in time")
  func doubleClick() {
    for (second, time, expected) in [
      ("\u{1b}[<0;5;6M", 300, Mouse.Kind.doubleClick), ("\u{1b}[<0;5;6M", 500, .press),
      ("\u{1b}[<0;6;6M", 300, .press),
    ] {
      var decoder = InputDecoder()
      decoder.feed(Array("\u{1b}[<0;5;6M".utf8), at: 0)
      decoder.feed(Array(second.utf8), at: time)
      _ = decoder.next()
      guard case .mouse(let mouse)? = decoder.next() else {
        Issue.record("no second event")
        return
      }
      #expect(mouse.kind == expected)
    }
  }

  @Test("noise neither traps nor sticks", arguments: 0..<200)
  func noise(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let favourites: [UInt8] = [
      0x1b, 0x5b, 0x4f, 0x3c, 0x3b, 0x4d, 0x6d, 0x7e, 0x32, 0x30, 0x31, 0xff, 0xc3, 0xf0,
    ]
    var decoder = InputDecoder()
    for _ in 0..<50 {
      let chunk = (0..<random.below(40)).map { _ in
        random.below(3) == 0 ? UInt8(random.below(256)) : favourites[Int(random.below(14))]
      }
      decoder.feed(chunk, at: 0)
      if random.below(4) == 0 { decoder.timeout(at: 0) }
    }
    decoder.timeout(at: 0)
    decoder.timeout(at: 0)
    while decoder.next() != nil {}
    #expect(decoder.patience == nil)
    decoder.feed([0x78], at: 0)
    #expect(decoder.next() == .key(.character("x")))
  }

  @Test("a paste is bounded")
  func hugePaste() {
    var decoder = InputDecoder()
    decoder.feed(Array("\u{1b}[200~".utf8), at: 0)
    for _ in 0..<300 { decoder.feed([UInt8](repeating: 0x61, count: 4096), at: 0) }
    decoder.feed(Array("\u{1b}[201~".utf8), at: 0)
    guard case .paste(let text)? = decoder.next() else {
      Issue.record("no paste")
      return
    }
    #expect(text.utf8.count == InputDecoder.maximumPaste)
  }

  @Test(
    "glyphs follow codeset, option and type",
    arguments: [
      (TerminalOptions.Glyphs.auto, true, "xterm-256color", GlyphSet.unicode),
      (.auto, false, "xterm", .ascii), (.auto, true, "linux", .ascii),
      (.auto, true, "vt100", .ascii), (.ascii, true, "xterm", .ascii), (.unicode, true, "linux", .unicode),
      (.unicode, false, "xterm", .ascii),
    ])
  func glyphs(_ option: TerminalOptions.Glyphs, _ utf8: Bool, _ type: String, _ expected: GlyphSet) {
    #expect(Capabilities.glyphSet(option: option, codesetIsUTF8: utf8, terminalType: type) == expected)
  }

  @Test(
    "colours follow option, NO_COLOR and terminal",
    arguments: [
      (TerminalOptions.Color.auto, nil, 256, ColorMode.twoFiftySix), (.auto, "", 8, .sixteen),
      (.auto, "1", 256, .none), (.always, "1", 256, .twoFiftySix),
      (.never, nil, 256, .none), (.always, nil, -1, .none), (.auto, nil, 16_777_216, .twoFiftySix),
    ] as [(TerminalOptions.Color, String?, Int, ColorMode)])
  func colours(_ option: TerminalOptions.Color, _ noColor: String?, _ colors: Int, _ expected: ColorMode) {
    #expect(Capabilities.colorMode(option: option, noColor: noColor, colors: colors) == expected)
  }

  @Test("every colour is used where the terminal says that it has them, and NO_COLOR goes before that")
  func exactColours() {
    #expect(Capabilities.colorMode(option: .auto, noColor: nil, colors: 1 << 24, isDirect: true) == .exact)
    #expect(Capabilities.colorMode(option: .auto, noColor: "1", colors: 1 << 24, isDirect: true) == .none)
    #expect(Capabilities.colorMode(option: .never, noColor: nil, colors: 1 << 24, isDirect: true) == .none)
    #expect(Capabilities.directType(terminalType: "xterm-256color", colorTerm: "truecolor") == "xterm-direct")
    #expect(Capabilities.directType(terminalType: "tmux-256color", colorTerm: "24bit") == "tmux-direct")
    #expect(Capabilities.directType(terminalType: "xterm-256color", colorTerm: nil) == nil)
    #expect(Capabilities.directType(terminalType: "xterm", colorTerm: "truecolor") == nil)
    #expect(Capabilities.directColor(Style.exact(0x56_b4e9)) == 0x56_b4e9)
    #expect(Capabilities.directColor(74) == 0x5f_afd7 && Capabilities.directColor(3) == 3)
  }

  @Test(
    "base64", arguments: [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")])
  func base64(_ text: String, _ expected: String) {
    #expect(Terminal.base64(Array(text.utf8)) == expected)
  }
}
