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
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let control = Modifiers(rawValue: 1)
    package static let alt = Modifiers(rawValue: 2)
    package static let shift = Modifiers(rawValue: 4)
  }

  package var code: Code
  package var modifiers: Modifiers

  package init(_ code: Code, _ modifiers: Modifiers = []) {
    self.code = code
    self.modifiers = modifiers
  }

  package static func character(_ scalar: Unicode.Scalar) -> Key { Key(.character(scalar)) }
  /// Control and a letter; the letter counts in lower case.
  package static func control(_ letter: Unicode.Scalar) -> Key { Key(.character(letter), .control) }
  package static let enter = Key(.enter)
  package static let escape = Key(.escape)
  package static let tab = Key(.tab)
  package static let backTab = Key(.backTab)
  package static let backspace = Key(.backspace)
  package static let up = Key(.up)
  package static let down = Key(.down)
  package static let left = Key(.left)
  package static let right = Key(.right)
  package static let pageUp = Key(.pageUp)
  package static let pageDown = Key(.pageDown)
  package static let home = Key(.home)
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
