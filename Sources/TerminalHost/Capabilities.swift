// Decisions that follow from the environment alone: terminal type, colours, glyphs.
// Pure functions of strings, so that tests can go through every combination without a terminal.

package import CellScreen

/// What the command line may ask of the terminal.
package struct TerminalOptions: Hashable, Sendable {
  /// Whether colours are used.
  package enum Color: Hashable, Sendable { case auto, always, never }
  /// Which characters maps are drawn with.
  package enum Glyphs: Hashable, Sendable { case auto, ascii, unicode }

  /// `auto` follows `NO_COLOR` and the terminal; `always` only the terminal.
  package var color: Color
  /// Which characters maps are drawn with.
  package var glyphs: Glyphs
  /// The mouse is asked for.
  package var mouse: Bool
  /// What the colours are chosen for.
  package var theme: ThemeName

  package init(color: Color = .auto, glyphs: Glyphs = .auto, mouse: Bool = true, theme: ThemeName = .dark) {
    self.theme = theme
    self.color = color
    self.glyphs = glyphs
    self.mouse = mouse
  }
}

/// Rules that need no terminal.
package enum Capabilities {
  /// Why a terminal type cannot show screens; nil if nothing speaks against it yet.
  package static func refusal(terminalType: String?) -> TerminalError? {
    let name = terminalType ?? ""
    let reason: String
    switch name {
    case "": reason = "TERM is not set, so the terminal's type is unknown"
    case "dumb", "unknown": reason = "a terminal of type `\(name)` cannot draw screens"
    default: return nil
    }
    return TerminalError(code: .unusableType, message: reason + "; " + TerminalError.textCommands)
  }

  /// The colour mode for a terminal with so many colours.
  package static func colorMode(
    option: TerminalOptions.Color, noColor: String?, colors: Int, isDirect: Bool = false
  ) -> ColorMode {
    switch option {
    case .never: return .none
    case .auto where !(noColor ?? "").isEmpty: return .none
    case .auto, .always: break
    }
    if isDirect { return .exact }
    if colors >= 256 { return .twoFiftySix }
    return colors >= 8 ? .sixteen : .none
  }

  /// The glyph set: Unicode only with a UTF-8 codeset and a type whose font is known to have it.
  package static func glyphSet(
    option: TerminalOptions.Glyphs, codesetIsUTF8: Bool, terminalType: String
  ) -> GlyphSet {
    guard codesetIsUTF8 else { return .ascii }
    switch option {
    case .ascii: return .ascii
    case .unicode: return .unicode
    case .auto:
      let plain = terminalType == "linux" || terminalType.hasPrefix("linux-")
      return plain || terminalType.hasPrefix("vt") || terminalType == "dumb" ? .ascii : .unicode
    }
  }

  /// The description of the same terminal with every colour, for one that says in `COLORTERM` that it has them. Not
  /// every system has these descriptions.
  package static func directType(terminalType: String, colorTerm: String?) -> String? {
    guard colorTerm == "truecolor" || colorTerm == "24bit", terminalType.hasSuffix("-256color") else {
      return nil
    }
    return terminalType.dropLast("-256color".count) + "-direct"
  }

  /// `sgr` and `sgr0` without their part about the alternate character set; nil if they are not of the
  /// form `%?%p9%t` alternate `%e` ordinary `%;` with the ordinary set named in the reset too.
  package static func withoutCharacterSets(set: String, reset: String) -> (set: String, reset: String)? {
    let bytes = Array(set.utf8)
    func find(_ text: String, from: Int) -> Int? {
      let wanted = Array(text.utf8)
      guard bytes.count >= wanted.count else { return nil }
      return (from...max(from, bytes.count - wanted.count)).first { bytes[$0...].starts(with: wanted) }
    }
    let condition = "%?%p9%t"
    guard let start = find(condition, from: 0),
      let otherwise = find("%e", from: start + condition.utf8.count),
      let end = find("%;", from: otherwise + 2)
    else { return nil }
    let ordinary = Array(bytes[otherwise + 2..<end])
    // Nested conditions would be cut in the middle.
    guard !ordinary.isEmpty, !bytes[start + condition.utf8.count..<end].contains(0x3f) else { return nil }
    let shorter = bytes[..<start] + bytes[(end + 2)...]
    var plain = Array(reset.utf8)
    guard let at = plain.indices.first(where: { plain[$0...].starts(with: ordinary) }) else { return nil }
    plain.removeSubrange(at..<at + ordinary.count)
    guard !plain.isEmpty else { return nil }
    return (String(decoding: shorter, as: UTF8.self), String(decoding: plain, as: UTF8.self))
  }

  /// The colour that a direct-colour terminal needs for a palette number: 0xRRGGBB above the first 8.
  package static func directColor(_ palette: Int32) -> Int32 {
    // Numbers below 8 are colours of the palette there: their like with a trace of blue stands for them.
    if let rgb = Style.rgb(palette) { return max(8, rgb) }
    let levels: [Int32] = [0, 95, 135, 175, 215, 255]
    let value = Int(palette)
    switch value {
    case ..<8: return Int32(palette)
    case 8..<16:
      let bright: [Int32] = [
        0x808080, 0xff5555, 0x55ff55, 0xffff55, 0x5555ff, 0xff55ff, 0x55ffff, 0xffffff,
      ]
      return bright[value - 8]
    case 16..<232:
      let cube = value - 16
      return levels[cube / 36] << 16 | levels[cube / 6 % 6] << 8 | levels[cube % 6]
    default:
      let level = Int32(8 + (min(value, 255) - 232) * 10)
      return level << 16 | level << 8 | level
    }
  }
}
