// The line behind the `:` prompt: editing keys, history with a kept draft, search and completion.
// A pure value: keys go in, an outcome comes out, and `draw` shows the line with its cursor in view.

/// Candidates for the text before the cursor.
package struct Completion: Hashable, Sendable {
  /// How many characters before the cursor the candidates replace.
  package var replaces: Int
  /// What could stand there, in the order of being offered.
  package var candidates: [String]

  package init(replaces: Int, candidates: [String]) {
    self.replaces = replaces
    self.candidates = candidates
  }
}

/// A one-line editor.
package struct LineEditor: Hashable, Sendable {
  /// What a key did.
  package enum Outcome: Hashable, Sendable {
    /// The line or the cursor changed, or nothing did.
    case handled
    /// Enter: the line is done and was added to the history.
    case submitted(String)
    /// Esc or C-c: the prompt should close.
    case cancelled
    /// The key means nothing to the editor.
    case ignored
  }

  /// The line, one element per visible character, so that Backspace takes a letter with its marks.
  package private(set) var characters: [Character] = []
  /// The cursor: how many characters are before it.
  package private(set) var cursor = 0
  /// Submitted lines, the newest last.
  package private(set) var history: [String]
  /// The candidates to show, after a Tab that has nothing to add; empty otherwise.
  package private(set) var candidates: [String] = []
  /// The candidate that is in the line; nil before the first cycle step.
  package private(set) var candidateIndex: Int?
  /// The pattern of a running history search; nil outside of one.
  package private(set) var searchPattern: String?
  /// Whether the running search found nothing for its pattern.
  package private(set) var searchFailed = false

  /// The whole line is selected: what is typed replaces it.
  package private(set) var isSelected = false

  private var draft: [Character] = []
  private var historyIndex: Int?
  private var killed: [Character] = []
  private var completionStart = 0
  /// Whether the last key was a Tab that left several candidates.
  private var pendingList = false
  private var beforeSearch: (characters: [Character], cursor: Int) {
    get { (savedCharacters, savedCursor) }
    set { (savedCharacters, savedCursor) = newValue }
  }
  private var savedCharacters: [Character] = []
  private var savedCursor = 0

  /// The longest line, in characters; further input is ignored.
  package static let maximumLength = 4096
  /// The most lines the history keeps.
  package static let maximumHistory = 1000

  /// A line with the cursor at its end; the history is oldest first.
  package init(_ text: String = "", history: [String] = []) {
    self.history = Array(history.suffix(LineEditor.maximumHistory))
    insert(text)
  }

  /// Selects the whole line, as where a dialog offers it.
  package mutating func selectAll() {
    isSelected = !characters.isEmpty
    cursor = characters.count
  }

  /// The whole line.
  package var text: String { String(characters) }

  /// Empties the line; the history stays.
  package mutating func clear() {
    characters = []
    cursor = 0
    isSelected = false
    historyIndex = nil
    draft = []
    endCompletion()
    searchPattern = nil
  }

  /// Inserts typed or pasted text at the cursor; line ends become blanks.
  package mutating func insert(_ text: String) {
    replaceSelection()
    let room = LineEditor.maximumLength - characters.count
    let clean = text.map { $0.isNewline ? " " : $0 }.prefix(max(0, room))
    characters.insert(contentsOf: clean, at: cursor)
    cursor += clean.count
    // A combining mark typed after its letter joins it, so the line is cut into characters anew.
    if clean.contains(where: { !$0.isASCII }) {
      let before = String(characters[..<cursor]).count
      characters = Array(String(characters))
      cursor = min(before, characters.count)
    }
  }

  /// Feeds one key. `complete` is asked for candidates when Tab is pressed.
  package mutating func handle(
    _ key: Key, complete: (_ line: String, _ cursor: Int) -> Completion? = { _, _ in nil }
  ) -> Outcome {
    if searchPattern != nil, let outcome = handleSearch(key) { return outcome }
    if key == .tab || key == .backTab {
      completeNext(backwards: key == .backTab, complete)
      return .handled
    }
    if key == .escape && !candidates.isEmpty {
      endCompletion()
      return .handled
    }
    let outcome = edit(key)
    endCompletion()
    return outcome
  }

  private mutating func replaceSelection() {
    guard isSelected else { return }
    (characters, cursor, isSelected) = ([], 0, false)
  }

  private mutating func edit(_ key: Key) -> Outcome {
    let wasSelected = isSelected
    if key.typed == nil { isSelected = false }
    if let scalar = key.typed {
      insert(String(scalar))
      return .handled
    }
    switch (key.code, key.modifiers) {
    case (.enter, []), (.character("m"), .control), (.character("j"), .control): return submit()
    case (.escape, []), (.character("c"), .control), (.character("g"), .control): return .cancelled
    case (.backspace, []) where wasSelected, (.delete, []) where wasSelected:
      (characters, cursor) = ([], 0)
    case (.backspace, []), (.character("h"), .control): remove(cursor - 1..<cursor, keep: false)
    case (.delete, []), (.character("d"), .control): remove(cursor..<cursor + 1, keep: false)
    case (.left, []), (.character("b"), .control): cursor = max(0, cursor - 1)
    case (.right, []), (.character("f"), .control): cursor = min(characters.count, cursor + 1)
    case (.left, .control), (.character("b"), .alt): cursor = wordStart()
    case (.right, .control), (.character("f"), .alt): cursor = wordEnd()
    case (.home, []), (.character("a"), .control): cursor = 0
    case (.end, []), (.character("e"), .control): cursor = characters.count
    case (.character("w"), .control), (.backspace, .alt): remove(wordStart()..<cursor, keep: true)
    case (.character("u"), .control): remove(0..<cursor, keep: true)
    case (.character("k"), .control): remove(cursor..<characters.count, keep: true)
    case (.character("y"), .control): insert(String(killed))
    case (.up, []), (.character("p"), .control): older()
    case (.down, []), (.character("n"), .control): newer()
    case (.character("r"), .control): startSearch()
    default: return .ignored
    }
    return .handled
  }

  private mutating func remove(_ range: Range<Int>, keep: Bool) {
    let clamped = range.clamped(to: 0..<characters.count)
    guard !clamped.isEmpty else { return }
    if keep { killed = Array(characters[clamped]) }
    characters.removeSubrange(clamped)
    if cursor > clamped.lowerBound { cursor = max(clamped.lowerBound, cursor - clamped.count) }
  }

  private func wordStart() -> Int {
    var index = cursor
    while index > 0 && characters[index - 1] == " " { index -= 1 }
    while index > 0 && characters[index - 1] != " " { index -= 1 }
    return index
  }

  private func wordEnd() -> Int {
    var index = cursor
    while index < characters.count && characters[index] == " " { index += 1 }
    while index < characters.count && characters[index] != " " { index += 1 }
    return index
  }

  // MARK: History

  private mutating func submit() -> Outcome {
    let line = text
    if !line.allSatisfy({ $0 == " " }) && history.last != line {
      history.append(line)
      if history.count > LineEditor.maximumHistory { history.removeFirst() }
    }
    clear()
    return .submitted(line)
  }

  private mutating func show(_ line: [Character]) {
    characters = line
    cursor = line.count
  }

  private mutating func older() {
    let index = historyIndex ?? history.count
    guard index > 0, index <= history.count else { return }
    if historyIndex == nil { draft = characters }
    historyIndex = index - 1
    show(Array(history[index - 1]))
  }

  private mutating func newer() {
    guard let index = historyIndex else { return }
    if index + 1 < history.count {
      historyIndex = index + 1
      show(Array(history[index + 1]))
    } else {
      historyIndex = nil
      show(draft)
    }
  }

  // MARK: Search

  private mutating func startSearch() {
    beforeSearch = (characters, cursor)
    if historyIndex == nil { draft = characters }
    searchPattern = ""
    searchFailed = false
  }

  /// Returns nil when the key ends the search and should act on the line that was found.
  private mutating func handleSearch(_ key: Key) -> Outcome? {
    guard let pattern = searchPattern else { return nil }
    if let scalar = key.typed {
      search(pattern + String(scalar), below: (historyIndex ?? history.count - 1) + 1)
      return .handled
    }
    switch (key.code, key.modifiers) {
    case (.character("r"), .control):
      search(pattern, below: historyIndex ?? history.count)
    case (.backspace, []), (.character("h"), .control):
      historyIndex = nil
      search(String(pattern.dropLast()), below: history.count)
    case (.escape, []), (.character("c"), .control), (.character("g"), .control):
      (characters, cursor) = beforeSearch
      historyIndex = nil
      searchPattern = nil
    default:
      searchPattern = nil
      return nil
    }
    return .handled
  }

  /// Shows the newest line before `limit` that contains the pattern.
  private mutating func search(_ pattern: String, below limit: Int) {
    searchPattern = pattern
    searchFailed = false
    guard !pattern.isEmpty else {
      (characters, cursor) = beforeSearch
      return
    }
    let end = max(0, min(limit, history.count))
    guard let found = history[..<end].lastIndex(where: { LineEditor.contains($0, pattern) }) else {
      searchFailed = true
      return
    }
    historyIndex = found
    show(Array(history[found]))
  }

  private static func contains(_ line: String, _ pattern: String) -> Bool {
    let haystack = Array(line)
    let needle = Array(pattern)
    guard needle.count <= haystack.count else { return false }
    return (0...haystack.count - needle.count).contains {
      haystack[$0..<$0 + needle.count].elementsEqual(needle)
    }
  }

  // MARK: Completion

  private mutating func endCompletion() {
    candidates = []
    candidateIndex = nil
    pendingList = false
  }

  private mutating func completeNext(
    backwards: Bool, _ complete: (String, Int) -> Completion?
  ) {
    if !candidates.isEmpty {
      cycle(backwards: backwards)
      return
    }
    guard let completion = complete(text, cursor), !completion.candidates.isEmpty else { return }
    completionStart = max(0, cursor - max(0, completion.replaces))
    let common = LineEditor.commonPrefix(completion.candidates)
    let current = String(characters[completionStart..<cursor])
    if completion.candidates.count == 1 {
      replaceCompletion(with: common)
    } else if pendingList || common.count <= current.count {
      candidates = completion.candidates
      candidateIndex = nil
    } else {
      // The first Tab adds what all candidates share, the next in a row shows them; where they share nothing more
      // the first one does.
      replaceCompletion(with: common)
      pendingList = true
    }
  }

  private mutating func cycle(backwards: Bool) {
    let count = candidates.count
    let next: Int
    if let index = candidateIndex {
      next = backwards ? (index + count - 1) % count : (index + 1) % count
    } else {
      next = backwards ? count - 1 : 0
    }
    candidateIndex = next
    replaceCompletion(with: candidates[next])
  }

  private mutating func replaceCompletion(with candidate: String) {
    let start = min(completionStart, cursor)
    characters.removeSubrange(start..<cursor)
    cursor = start
    insert(candidate)
  }

  static func commonPrefix(_ candidates: [String]) -> String {
    guard var common = candidates.first.map(Array.init) else { return "" }
    for candidate in candidates.dropFirst() {
      let matching = zip(common, candidate).prefix { $0.0 == $0.1 }.count
      common = Array(common.prefix(matching))
    }
    return String(common)
  }

  // MARK: Drawing

  /// Draws the prompt and the line in one row, scrolled so that the cursor is visible, and places the
  /// hardware cursor.
  package func draw(prompt: String, at x: Int, _ y: Int, width: Int, on canvas: inout Canvas) {
    let label =
      searchPattern.map { (searchFailed ? "no match " : "search ") + "`\($0)`: " } ?? prompt
    let used = canvas.put(label, at: x, y, role: .prompt, maxWidth: width)
    let room = width - used
    guard room > 0 else { return }
    var first = 0
    var before = TextWidth.width(String(characters[..<cursor]))
    while before >= room && first < cursor {
      before -= TextWidth.width(String(characters[first]))
      first += 1
    }
    canvas.put(
      String(characters[first...]), at: x + used, y, marks: isSelected ? .selected : [], maxWidth: room)
    canvas.cursor = Point(x: x + used + max(0, min(before, room - 1)), y: y)
  }
}
