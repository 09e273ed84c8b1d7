// Keys as values with a textual notation that scripts, help and tests share: `a`, `C-r`, `M-x`, `PgUp`.
// The notation goes both ways: `Key(key.notation)` is the key again.

/// One key press.
package struct Key: Hashable, Sendable {
  /// Which key.
  package enum Code: Hashable, Sendable {
    case character(Unicode.Scalar)
    case enter, escape, tab, backTab, backspace, delete, insert
    case up, down, left, right, home, end, pageUp, pageDown
    /// F1 to F63.
    case function(Int)
  }

  /// What was held down with it.
  package struct Modifiers: OptionSet, Hashable, Sendable {
    /// One bit per modifier.
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Held with the key.
    package static let control = Modifiers(rawValue: 1)
    /// Held with the key, or Escape in front of it.
    package static let alt = Modifiers(rawValue: 2)
    /// Held with a key that has no capital.
    package static let shift = Modifiers(rawValue: 4)
  }

  /// Which key.
  package var code: Code
  /// What was held with it.
  package var modifiers: Modifiers

  package init(_ code: Code, _ modifiers: Modifiers = []) {
    self.code = code
    self.modifiers = modifiers
  }

  /// The key that types a character.
  package static func character(_ scalar: Unicode.Scalar) -> Key { Key(.character(scalar)) }
  /// Control and a letter; the letter counts in lower case.
  package static func control(_ letter: Unicode.Scalar) -> Key { Key(.character(letter), .control) }
  /// The key without modifiers.
  package static let enter = Key(.enter)
  /// The key without modifiers.
  package static let escape = Key(.escape)
  /// The key without modifiers.
  package static let tab = Key(.tab)
  /// Tab with shift, which terminals send as a key of its own.
  package static let backTab = Key(.backTab)
  /// The key without modifiers.
  package static let backspace = Key(.backspace)
  /// The key without modifiers.
  package static let up = Key(.up)
  /// The key without modifiers.
  package static let down = Key(.down)
  /// The key without modifiers.
  package static let left = Key(.left)
  /// The key without modifiers.
  package static let right = Key(.right)
  /// The key without modifiers.
  package static let pageUp = Key(.pageUp)
  /// The key without modifiers.
  package static let pageDown = Key(.pageDown)
  /// The key without modifiers.
  package static let home = Key(.home)
  /// The key without modifiers.
  package static let end = Key(.end)

  /// The character the key types into a prompt; nil for every other key.
  package var typed: Unicode.Scalar? {
    guard case .character(let scalar) = code, modifiers.isEmpty, scalar.value >= 0x20 else { return nil }
    return scalar
  }

  private static let names: [(Code, String)] = [
    (.enter, "Enter"), (.escape, "Esc"), (.tab, "Tab"), (.backTab, "S-Tab"),
    (.backspace, "Backspace"), (.delete, "Del"), (.insert, "Ins"), (.up, "Up"), (.down, "Down"),
    (.left, "Left"), (.right, "Right"), (.home, "Home"), (.end, "End"), (.pageUp, "PgUp"),
    (.pageDown, "PgDn"), (.character(" "), "Space"),
  ]

  /// Other spellings that scripts may use.
  private static let aliases: [String: Code] = [
    "return": .enter, "cr": .enter, "escape": .escape, "backtab": .backTab, "bs": .backspace,
    "bspace": .backspace, "delete": .delete, "insert": .insert, "pageup": .pageUp,
    "pagedown": .pageDown, "ppage": .pageUp, "npage": .pageDown,
  ]

  /// The key in words: `C-r`, `Enter`, `Space`, `F1`, `PgUp`, `a`, `M-x`, `S-Up`.
  package var notation: String {
    var prefix = ""
    if modifiers.contains(.control) { prefix += "C-" }
    if modifiers.contains(.alt) { prefix += "M-" }
    if modifiers.contains(.shift) { prefix += "S-" }
    if let name = Key.names.first(where: { $0.0 == code })?.1 { return prefix + name }
    switch code {
    case .function(let number): return prefix + "F\(number)"
    case .character(let scalar): return prefix + String(scalar)
    default: return prefix + "?"
    }
  }

  /// The key that a notation names; nil if it names none. Names ignore case, single characters do not.
  package init?(_ notation: String) {
    var modifiers: Modifiers = []
    var rest = Substring(notation)
    // The length test keeps `-` and a bare `C` as characters.
    while rest.unicodeScalars.count > 2 {
      if rest.lowercased() == "s-tab" { break }
      if rest.hasPrefix("C-") {
        modifiers.insert(.control)
      } else if rest.hasPrefix("M-") {
        modifiers.insert(.alt)
      } else if rest.hasPrefix("S-") {
        modifiers.insert(.shift)
      } else {
        break
      }
      rest = rest.dropFirst(2)
    }
    guard let code = Key.code(named: rest) else { return nil }
    self.init(code, modifiers)
  }

  private static func code(named name: Substring) -> Code? {
    if name.unicodeScalars.count == 1, let scalar = name.unicodeScalars.first {
      return scalar.value > 0x20 && scalar.value != 0x7f ? .character(scalar) : nil
    }
    let lower = name.lowercased()
    if let code = names.first(where: { $0.1.lowercased() == lower })?.0 ?? aliases[lower] { return code }
    if lower.hasPrefix("f"), let number = Int(lower.dropFirst()), (1...63).contains(number) {
      return .function(number)
    }
    return nil
  }
}
