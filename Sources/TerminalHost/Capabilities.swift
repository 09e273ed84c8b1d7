// Decisions that follow from the environment alone: terminal type, colours, glyphs.
// Pure functions of strings, so that tests can go through every combination without a terminal.

package import CellScreen

/// What the command line may ask of the terminal.
package struct TerminalOptions: Hashable, Sendable {
  package enum Color: Hashable, Sendable { case auto, always, never }
  package enum Glyphs: Hashable, Sendable { case auto, ascii, unicode }

  /// `auto` follows `NO_COLOR` and the terminal; `always` only the terminal.
  package var color: Color
  package var glyphs: Glyphs
  package var mouse: Bool

  package init(color: Color = .auto, glyphs: Glyphs = .auto, mouse: Bool = true) {
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
    option: TerminalOptions.Color, noColor: String?, colors: Int
  ) -> ColorMode {
    switch option {
    case .never: return .none
    case .auto where !(noColor ?? "").isEmpty: return .none
    case .auto, .always: break
    }
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

  /// The colour that a direct-colour terminal needs for a palette number: 0xRRGGBB above the first 8.
  package static func directColor(_ palette: Int16) -> Int32 {
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
