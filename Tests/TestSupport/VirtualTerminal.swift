// A small terminal emulator: bytes of a program become cells, a cursor and modes that tests can ask.
// It knows what curses sends to common terminals; any other escape is kept in `unknown` to be asserted.

import Foundation

/// The emulator.
package struct VirtualTerminal {
  /// Colours and attributes of a cell; colours are what the escape said (`5;74`, `4`), nil is default.
  package struct Attributes: Hashable {
    package var foreground: String?
    package var background: String?
    package var bold = false
    package var underline = false
    package var reverse = false
  }

  /// One cell. The right half of a wide character has empty text.
  package struct Cell: Hashable {
    package var text = " "
    package var attributes = Attributes()
  }

  package private(set) var width: Int
  package private(set) var height: Int
  package private(set) var cells: [[Cell]]
  package private(set) var cursor = (x: 0, y: 0)
  package private(set) var cursorIsVisible = true
  package private(set) var isAlternate = false
  package private(set) var hasBracketedPaste = false
  /// The private modes that are on: 1000 and 1006 mean mouse reporting.
  package private(set) var modes: Set<Int> = [7, 25]
  package var reportsMouse: Bool { !modes.isDisjoint(with: [9, 1000, 1002, 1003]) }
  /// Escapes that mean nothing here, as text.
  package private(set) var unknown: [String] = []
  /// How often the whole screen was cleared.
  package private(set) var clears = 0
  /// How often a sequence set a colour.
  package private(set) var colourChanges = 0

  private var attributes = Attributes()
  private var scroll: ClosedRange<Int>
  private var main: [[Cell]] = []
  private var saved = (x: 0, y: 0)
  private var pending: [UInt8] = []
  private var wrapNext = false
  private var lastText = " "

  package init(width: Int, height: Int) {
    self.width = width
    self.height = height
    cells = VirtualTerminal.blank(width, height)
    scroll = 0...max(0, height - 1)
  }

  private static func blank(_ width: Int, _ height: Int) -> [[Cell]] {
    Array(repeating: Array(repeating: Cell(), count: width), count: height)
  }

  /// The screen as text without trailing blanks.
  package var text: String {
    cells.indices.map { line($0) }.joined(separator: "\n")
  }

  /// One row without trailing blanks.
  package func line(_ y: Int) -> String {
    guard cells.indices.contains(y) else { return "" }
    let full = cells[y].map(\.text).joined()
    return String(full.reversed().drop { $0 == " " }.reversed())
  }

  /// The column in which a text starts in a row; nil if it does not occur.
  package func column(of text: String, in y: Int) -> Int? {
    guard cells.indices.contains(y) else { return nil }
    return cells[y].indices.first { x in
      cells[y][x...].map(\.text).joined().hasPrefix(text)
    }
  }

  package mutating func resize(width: Int, height: Int) {
    var fresh = VirtualTerminal.blank(width, height)
    for y in 0..<min(height, self.height) {
      for x in 0..<min(width, self.width) { fresh[y][x] = cells[y][x] }
    }
    cells = fresh
    self.width = width
    self.height = height
    scroll = 0...max(0, height - 1)
    cursor = (min(cursor.x, width - 1), min(cursor.y, height - 1))
    wrapNext = false
  }

  /// Takes output of the program.
  package mutating func feed(_ bytes: some Sequence<UInt8>) {
    pending.append(contentsOf: bytes)
    var position = 0
    while position < pending.count, let used = consume(pending[position...]) { position += used }
    pending.removeFirst(position)
  }

  /// Handles one unit and returns its length; nil when it is incomplete.
  private mutating func consume(_ bytes: ArraySlice<UInt8>) -> Int? {
    guard let byte = bytes.first else { return nil }
    switch byte {
    case 0x1b: return escape(bytes)
    case 0x07, 0x00, 0x0e, 0x0f: return 1
    case 0x08:
      cursor.x = max(0, cursor.x - 1)
      wrapNext = false
    case 0x09:
      cursor.x = min(width - 1, (cursor.x / 8 + 1) * 8)
    case 0x0a, 0x0b, 0x0c: lineFeed()
    case 0x0d:
      cursor.x = 0
      wrapNext = false
    case 0x20..<0x7f:
      put(String(UnicodeScalar(byte)), columns: 1)
    case 0xc2...0xf4:
      let length = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4
      guard bytes.count >= length else { return nil }
      let text = String(decoding: bytes.prefix(length), as: UTF8.self)
      guard let scalar = text.unicodeScalars.first, text.unicodeScalars.count == 1 else {
        unknown.append("invalid UTF-8 \(Array(bytes.prefix(length)))")
        return 1
      }
      put(text, columns: VirtualTerminal.columns(scalar))
      return length
    default: unknown.append(String(format: "byte %02x", byte))
    }
    return 1
  }

  /// Widths of its own, so that tests do not believe what they test.
  private static func columns(_ scalar: Unicode.Scalar) -> Int {
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark: return 0
    default: break
    }
    switch scalar.value {
    case 0x1100...0x115f, 0x2e80...0xa4cf, 0xac00...0xd7a3, 0xf900...0xfaff, 0xff00...0xff60,
      0x1f300...0x1f64f, 0x1f900...0x1f9ff, 0x20000...0x3fffd:
      return 2
    default: return 1
    }
  }

  private mutating func put(_ text: String, columns: Int) {
    if columns == 0 {
      let x = wrapNext ? cursor.x : max(0, cursor.x - 1)
      let base = cells[cursor.y][x].text.isEmpty ? max(0, x - 1) : x
      cells[cursor.y][base].text += text
      return
    }
    if wrapNext || cursor.x + columns > width {
      cursor.x = 0
      lineFeed()
      wrapNext = false
    }
    lastText = text
    cells[cursor.y][cursor.x] = Cell(text: text, attributes: attributes)
    if columns == 2, cursor.x + 1 < width {
      cells[cursor.y][cursor.x + 1] = Cell(text: "", attributes: attributes)
    }
    if cursor.x + columns >= width {
      cursor.x = width - 1
      wrapNext = modes.contains(7)
    } else {
      cursor.x += columns
    }
  }

  private mutating func lineFeed() {
    if cursor.y == scroll.upperBound {
      scrollUp(1)
    } else if cursor.y < height - 1 {
      cursor.y += 1
    }
  }

  private mutating func scrollUp(_ count: Int) {
    for _ in 0..<min(count, scroll.count) {
      cells.remove(at: scroll.lowerBound)
      cells.insert(blankLine, at: scroll.upperBound)
    }
  }

  private mutating func scrollDown(_ count: Int) {
    for _ in 0..<min(count, scroll.count) {
      cells.remove(at: scroll.upperBound)
      cells.insert(blankLine, at: scroll.lowerBound)
    }
  }

  private var blankLine: [Cell] { Array(repeating: blankCell, count: width) }
  private var blankCell: Cell {
    Cell(text: " ", attributes: Attributes(background: attributes.background))
  }

  // MARK: Escapes

  private mutating func escape(_ bytes: ArraySlice<UInt8>) -> Int? {
    guard let kind = bytes.dropFirst().first else { return nil }
    switch kind {
    case 0x5b: return controlSequence(bytes)
    case 0x5d:
      // A title or clipboard string: ends with BEL or ESC \.
      guard let end = bytes.firstIndex(where: { $0 == 0x07 || $0 == 0x5c }) else { return nil }
      return end - bytes.startIndex + 1
    case 0x28, 0x29: return bytes.count < 3 ? nil : 3
    case 0x37: saved = cursor
    case 0x38: cursor = saved
    case 0x3d, 0x3e: break
    case 0x4d:
      if cursor.y == scroll.lowerBound { scrollDown(1) } else { cursor.y = max(0, cursor.y - 1) }
    case 0x63:
      self = VirtualTerminal(width: width, height: height)
    default: unknown.append("ESC \(UnicodeScalar(kind))")
    }
    return 2
  }

  private mutating func controlSequence(_ bytes: ArraySlice<UInt8>) -> Int? {
    let body = bytes.dropFirst(2)
    guard let end = body.firstIndex(where: { !(0x20...0x3f).contains($0) }) else { return nil }
    let text = String(decoding: body[..<end], as: UTF8.self)
    let final = Character(UnicodeScalar(bytes[end]))
    let length = end - bytes.startIndex + 1
    if final == "m" {
      select(text)
      return length
    }
    if text.hasPrefix("?") {
      let numbers = text.dropFirst().split(separator: ";").compactMap { Int($0) }
      // The Linux console sets the shape of its cursor with `CSI ? n c`.
      if final == "c" { return length }
      guard final == "h" || final == "l" else {
        unknown.append("CSI \(text)\(final)")
        return length
      }
      for number in numbers { setMode(number, final == "h") }
      return length
    }
    let numbers = text.split(separator: ";", omittingEmptySubsequences: false).map { Int($0) ?? 0 }
    if !perform(final, numbers) { unknown.append("CSI \(text)\(final)") }
    return length
  }

  private mutating func perform(_ final: Character, _ numbers: [Int]) -> Bool {
    let first = numbers.first ?? 0
    let count = max(1, first)
    if final != "m" { wrapNext = false }
    switch final {
    case "A": cursor.y = max(0, cursor.y - count)
    case "B": cursor.y = min(height - 1, cursor.y + count)
    case "C": cursor.x = min(width - 1, cursor.x + count)
    case "D": cursor.x = max(0, cursor.x - count)
    case "G": cursor.x = min(width - 1, count - 1)
    case "d": cursor.y = min(height - 1, count - 1)
    case "H", "f":
      cursor.y = min(height - 1, count - 1)
      cursor.x = min(width - 1, max(1, numbers.count > 1 ? numbers[1] : 1) - 1)
    case "J": erase(first)
    case "K": eraseLine(first)
    case "X":
      for x in cursor.x..<min(width, cursor.x + count) { cells[cursor.y][x] = blankCell }
    case "P":
      for _ in 0..<min(count, width - cursor.x) {
        cells[cursor.y].remove(at: cursor.x)
        cells[cursor.y].append(blankCell)
      }
    case "@":
      for _ in 0..<min(count, width - cursor.x) {
        cells[cursor.y].insert(blankCell, at: cursor.x)
        cells[cursor.y].removeLast()
      }
    case "L", "M":
      guard scroll.contains(cursor.y) else { return true }
      let whole = scroll
      scroll = cursor.y...whole.upperBound
      if final == "L" { scrollDown(count) } else { scrollUp(count) }
      scroll = whole
    case "S": scrollUp(count)
    case "T": scrollDown(count)
    case "b": for _ in 0..<count { put(lastText, columns: 1) }
    case "r":
      let top = max(1, first) - 1
      let bottom = (numbers.count > 1 && numbers[1] > 0 ? numbers[1] : height) - 1
      scroll = min(top, height - 1)...max(min(top, height - 1), min(bottom, height - 1))
      cursor = (0, 0)
    case "h", "l":
      // 34 is the shape of the cursor in screen and tmux.
      return first == 34 || (first == 4 && final == "l")
    case "t": return true
    default: return false
    }
    return true
  }

  private mutating func erase(_ kind: Int) {
    switch kind {
    case 0:
      eraseLine(0)
      for y in min(height, cursor.y + 1)..<height { cells[y] = blankLine }
      if cursor.x == 0 && cursor.y == 0 { clears += 1 }
    case 1:
      for y in 0..<cursor.y { cells[y] = blankLine }
      eraseLine(1)
    default:
      for y in 0..<height { cells[y] = blankLine }
      clears += 1
    }
  }

  private mutating func eraseLine(_ kind: Int) {
    let range = kind == 0 ? cursor.x..<width : kind == 1 ? 0..<min(width, cursor.x + 1) : 0..<width
    for x in range { cells[cursor.y][x] = blankCell }
  }

  private mutating func setMode(_ mode: Int, _ on: Bool) {
    if on { modes.insert(mode) } else { modes.remove(mode) }
    switch mode {
    case 25: cursorIsVisible = on
    case 2004: hasBracketedPaste = on
    case 47, 1047, 1049:
      guard on != isAlternate else { return }
      isAlternate = on
      if on {
        main = cells
        saved = cursor
        cells = VirtualTerminal.blank(width, height)
      } else {
        let kept = main
        cells = VirtualTerminal.blank(width, height)
        for y in 0..<min(height, kept.count) {
          for x in 0..<min(width, kept[y].count) { cells[y][x] = kept[y][x] }
        }
        cursor = (min(saved.x, width - 1), min(saved.y, height - 1))
      }
    case 1, 5, 7, 9, 12, 1000, 1002, 1003, 1006, 1034: break
    default: unknown.append("mode ?\(mode)")
    }
  }

  private mutating func select(_ text: String) {
    var numbers = text.split(whereSeparator: { $0 == ";" || $0 == ":" }).compactMap { Int($0) }[...]
    if numbers.isEmpty { attributes = Attributes() }
    while let number = numbers.popFirst() {
      switch number {
      case 0: attributes = Attributes()
      case 1: attributes.bold = true
      case 4: attributes.underline = true
      case 7: attributes.reverse = true
      case 10, 11: break
      case 22: attributes.bold = false
      case 24: attributes.underline = false
      case 27: attributes.reverse = false
      case 30...37: setColour("\(number - 30)", foreground: true)
      case 40...47: setColour("\(number - 40)", foreground: false)
      case 90...97: setColour("\(number - 82)", foreground: true)
      case 100...107: setColour("\(number - 92)", foreground: false)
      case 38, 48:
        let isPalette = numbers.first == 5
        let taken = numbers.prefix(isPalette ? 2 : 4)
        numbers = numbers.dropFirst(taken.count)
        setColour(taken.dropFirst().map(String.init).joined(separator: ","), foreground: number == 38)
      case 39: attributes.foreground = nil
      case 49: attributes.background = nil
      default: unknown.append("SGR \(number)")
      }
    }
  }

  private mutating func setColour(_ name: String, foreground: Bool) {
    colourChanges += 1
    if foreground { attributes.foreground = name } else { attributes.background = name }
  }
}
