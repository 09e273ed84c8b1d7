// Keys as text, and the prompt that eats them: every editing key of the checklist, one table each.
// A script is a list of key notations, so the tests read like what a person would press.

import CellScreen
import TestSupport
import Testing

@Suite("Keys and the line editor", .tags(.fast))
struct InputTests {
  @Test(
    "notation goes both ways",
    arguments: [
      ("C-r", Key.control("r")), ("Enter", .enter), ("Esc", .escape), ("Space", .character(" ")),
      ("F1", Key(.function(1))), ("F12", Key(.function(12))), ("PgUp", .pageUp), ("a", .character("a")),
      ("A", .character("A")), ("M-x", Key(.character("x"), .alt)),
      ("C-M-x", Key(.character("x"), [.control, .alt])),
      ("S-Tab", .backTab), ("C-Left", Key(.left, .control)), ("S-Up", Key(.up, .shift)),
      ("-", .character("-")),
      ("C--", Key(.character("-"), .control)), ("é", .character("é")), ("C", .character("C")),
      ("Del", Key(.delete)),
      ("C-Space", Key(.character(" "), .control)), (":", .character(":")), ("Backspace", .backspace),
    ])
  func notation(_ text: String, _ key: Key) {
    #expect(Key(text) == key)
    #expect(key.notation == text)
  }

  @Test(
    "what is no key is refused",
    arguments: ["", " ", "C-", "Foo", "F0", "F64", "ab", "C-Foo", "\u{1b}", "M-S-"])
  func refused(_ text: String) { #expect(Key(text) == nil) }

  @Test(
    "names ignore case and have aliases",
    arguments: [
      ("enter", Key.enter), ("RETURN", .enter), ("escape", .escape), ("pgdn", .pageDown),
      ("BSpace", .backspace), ("f5", Key(.function(5))),
    ])
  func aliases(_ text: String, _ key: Key) { #expect(Key(text) == key) }

  /// Presses keys and shows the line with `|` at the cursor.
  static func press(_ keys: String, in editor: inout LineEditor, candidates: [String] = []) -> String {
    for name in keys.split(separator: " ") {
      guard let key = Key(String(name)) else { return "no key \(name)" }
      _ = editor.handle(key) { line, cursor in
        let word = line.prefix(cursor).split(separator: " ", omittingEmptySubsequences: false).last ?? ""
        return Completion(replaces: word.count, candidates: candidates.filter { $0.hasPrefix(word) })
      }
    }
    var shown = editor.characters
    shown.insert("|", at: editor.cursor)
    return String(shown)
  }

  @Test(
    "editing keys",
    arguments: [
      ("a b c", "abc|"), ("a b Left c", "ac|b"), ("a b C-a c", "c|ab"), ("a b Home c End d", "cabd|"),
      ("a b C-b Del", "a|"), ("a b Backspace", "a|"), ("Backspace Del Left Right", "|"),
      ("a b C-a C-f C-d", "a|"),
      ("a b Space c d C-w", "ab |"), ("a b Space c d Space C-w", "ab |"), ("a b c Left C-u", "|c"),
      ("a b c Home Right C-k", "a|"), ("a b c C-u x C-y", "xabc|"), ("a b C-e C-a C-k C-y C-y", "abab|"),
      ("a b Space c M-b M-b x", "x|ab c"), ("a b Space c C-a C-Right x", "abx| c"), ("F5 C-z Tab", "|"),
      ("a C-h b", "b|"),
    ])
  func editing(_ keys: String, _ expected: String) {
    var editor = LineEditor()
    #expect(InputTests.press(keys, in: &editor) == expected)
  }

  @Test(
    "history keeps the draft",
    arguments: [
      ("Up", "write|"), ("Up Up", "goto|"), ("Up Up Up", "goto|"), ("x Up Down", "x|"),
      ("x Up Up Down", "write|"), ("Down", "|"), ("x C-p C-n", "x|"),
    ])
  func history(_ keys: String, _ expected: String) {
    var editor = LineEditor(history: ["goto", "write"])
    #expect(InputTests.press(keys, in: &editor) == expected)
  }

  @Test(
    "incremental search",
    arguments: [
      ("C-r g", "goto 2|"), ("C-r g C-r", "goto 1|"), ("C-r g C-r C-r", "goto 1|"), ("C-r 1", "goto 1|"),
      ("C-r g Esc", "|"), ("x C-r g C-g", "x|"), ("C-r g Left x", "goto x|2"),
      ("C-r w Backspace g", "goto 2|"), ("C-r q", "|"),
      ("C-r g o t o Space 1", "goto 1|"),
    ])
  func search(_ keys: String, _ expected: String) {
    var editor = LineEditor(history: ["goto 1", "write", "goto 2"])
    #expect(InputTests.press(keys, in: &editor) == expected)
  }

  @Test(
    "completion: prefix, list, cycle",
    arguments: [
      ("w r Tab", "write|"), ("Tab", "|"), ("g o Tab", "goto|"), ("g o Tab Tab Tab", "goto|"),
      ("g o Tab Tab Tab Tab", "gotoline|"), ("g o Tab Tab Tab Tab Tab", "goto|"),
      ("g o Tab Tab S-Tab", "gotoline|"), ("g o Tab x Tab", "gotox|"),
      ("x Space w Tab", "x write|"), ("q Tab", "q|"),
    ])
  func completion(_ keys: String, _ expected: String) {
    var editor = LineEditor()
    #expect(InputTests.press(keys, in: &editor, candidates: ["goto", "gotoline", "write"]) == expected)
  }

  @Test("the second Tab shows the candidates, Esc hides them and only then cancels")
  func candidateList() {
    var editor = LineEditor()
    _ = InputTests.press("g Tab", in: &editor, candidates: ["goto", "gotoline"])
    #expect(editor.candidates == [])
    _ = InputTests.press("Tab", in: &editor, candidates: ["goto", "gotoline"])
    #expect(editor.candidates == ["goto", "gotoline"])
    #expect(editor.handle(.escape) == .handled && editor.candidates == [])
    #expect(editor.handle(.escape) == .cancelled)
  }

  @Test("Enter submits, remembers, and forgets repeats and blanks")
  func submit() {
    var editor = LineEditor()
    for line in ["one", "one", " ", "two"] {
      editor.insert(line)
      #expect(editor.handle(.enter) == .submitted(line))
      #expect(editor.text == "")
    }
    #expect(editor.history == ["one", "two"])
  }

  @Test("combining marks belong to their letter, and input is bounded")
  func characters() {
    var editor = LineEditor()
    _ = editor.handle(.character("e"))
    _ = editor.handle(.character("\u{301}"))
    #expect(editor.characters.count == 1 && editor.cursor == 1)
    _ = editor.handle(.backspace)
    #expect(editor.text == "")
    editor.insert(String(repeating: "x\n", count: 10_000))
    #expect(editor.characters.count == LineEditor.maximumLength && !editor.text.contains("\n"))
  }

  @Test("a long line scrolls so that the cursor stays visible")
  func drawing() {
    var canvas = Canvas(width: 12, height: 1)
    var editor = LineEditor("abcdefghijklmnop")
    editor.draw(prompt: ":", at: 0, 0, width: 12, on: &canvas)
    #expect(canvas.rowText(0) == ":ghijklmnop" && canvas.cursor == Point(x: 11, y: 0))
    _ = editor.handle(.home)
    canvas.fill(canvas.bounds)
    editor.draw(prompt: ":", at: 0, 0, width: 12, on: &canvas)
    #expect(canvas.rowText(0) == ":abcdefghijk" && canvas.cursor == Point(x: 1, y: 0))
    _ = editor.handle(.control("r"))
    editor.draw(prompt: ":", at: 0, 0, width: 12, on: &canvas)
    #expect(canvas.rowText(0).hasPrefix("search `':") || canvas.rowText(0).hasPrefix("search ``:"))
  }
}
