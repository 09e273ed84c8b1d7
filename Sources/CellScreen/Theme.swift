// The one table that turns roles into colours and attributes, for every theme and kind of terminal.
// Hues come from the Okabe-Ito set, text keeps the terminal's own colours, and no state needs colour.

/// How many colours a terminal may be sent.
package enum ColorMode: Hashable, Sendable, CaseIterable {
  /// No colour codes at all; reverse, underline and bold only.
  case none
  /// The sixteen (or eight) named colours.
  case sixteen
  /// The 256-colour palette.
  case twoFiftySix
  /// Every colour: the hues of the set as they are.
  case exact
}

/// What the colours are chosen for.
package enum ThemeName: String, Hashable, Sendable, CaseIterable {
  /// A dark background.
  case dark
  /// A light background.
  case light
  /// A dark background seen from afar, or by tired eyes: nothing is grey.
  case contrast
  /// No colours, whatever the terminal has.
  case mono

  /// One sentence for lists of themes.
  package var help: String {
    switch self {
    case .dark: "for a dark background"
    case .light: "for a light background"
    case .contrast: "for a dark background, and nothing is grey"
    case .mono: "no colours: bold, underlined and reversed letters"
    }
  }
}

/// Colours and attributes of one cell. Colours are palette numbers or exact ones (``exact(_:)``); -1 is the terminal's
/// default.
package struct Style: Hashable, Sendable {
  /// What a terminal can do to a letter besides colour.
  package struct Attributes: OptionSet, Hashable, Sendable {
    /// One bit per attribute.
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    /// Heavier or brighter.
    package static let bold = Attributes(rawValue: 1)
    /// A line below.
    package static let underline = Attributes(rawValue: 2)
    /// Foreground and background exchanged.
    package static let reverse = Attributes(rawValue: 4)
  }

  /// A colour; -1 for that of the terminal.
  package var foreground: Int32 = -1
  /// A colour; -1 for that of the terminal.
  package var background: Int32 = -1
  /// What is done besides.
  package var attributes: Attributes = []

  /// The number of a colour given as 0xRRGGBB.
  package static func exact(_ rgb: Int32) -> Int32 { rgb | exactBit }
  /// What 0xRRGGBB a number means; nil for those of the palette and for -1.
  package static func rgb(_ color: Int32) -> Int32? { color >= exactBit ? color & 0xff_ffff : nil }
  private static let exactBit: Int32 = 1 << 24

  package init(foreground: Int32 = -1, background: Int32 = -1, attributes: Attributes = []) {
    self.foreground = foreground
    self.background = background
    self.attributes = attributes
  }

  /// Text as the terminal shows it by itself.
  package static let plain = Style()
}

/// The styles of every role in one colour mode.
package struct Theme: Sendable {
  /// How many colours there are.
  package let mode: ColorMode
  /// What they are chosen for.
  package let name: ThemeName
  private let styles: [Style]

  /// The styles of all roles for that many colours.
  package init(mode: ColorMode, name: ThemeName = .dark) {
    self.mode = name == .mono ? .none : mode
    self.name = name
    styles = Role.allCases.map { Theme.row($0).style(mode, name) }
  }

  /// The style of a role before marks.
  package func style(_ role: Role) -> Style {
    let index = Int(role.rawValue)
    return index < styles.count ? styles[index] : .plain
  }

  /// The style of a cell: its role, its marks, and for maps its glyph.
  ///
  /// Letters and digits of a map carry the colour behind them, because a coloured thin letter has too
  /// few pixels to tell hues apart; block glyphs carry it themselves.
  package func style(for cell: Cell) -> Style {
    var style = style(cell.role)
    if cell.role.isMap && style.foreground >= 0 && Theme.isLetter(cell.scalar) {
      style.background = style.foreground
      style.foreground = contrast(with: style.background)
      // The colour behind the letter already stands out; reversing it would undo that.
      style.attributes.remove(.reverse)
    }
    apply(cell.marks, to: &style)
    return style
  }

  private func apply(_ marks: Marks, to style: inout Style) {
    if marks.isEmpty { return }
    if marks.contains(.bold) { style.attributes.insert(.bold) }
    if marks.contains(.minority) { style.attributes.insert(.underline) }
    if marks.contains(.changed) {
      if mode == .twoFiftySix || mode == .exact {
        let changed = self.style(.changed)
        style.foreground = changed.foreground
        style.background = changed.background
        style.attributes.insert(.bold)
      } else {
        style.attributes.insert(.bold)
        style.attributes.formSymmetricDifference(.reverse)
      }
    }
    if marks.contains(.selected) || marks.contains(.twin) {
      if marks.contains(.selected), style.attributes.contains(.reverse) {
        // Turned back, the cell would look like any other: the cursor stays reversed, and is heavier.
        style.attributes.formUnion([.bold, .underline])
      } else {
        // The twin on a cell that is already reversed must still be seen, so it flips what is there.
        style.attributes.formSymmetricDifference(.reverse)
      }
    }
    if marks.contains(.twin) { style.attributes.insert(.underline) }
  }

  private static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "a"..."z", "A"..."Z", "0"..."9", "#", "!", "?", "+", "*", "~", "=", "-": true
    default: false
    }
  }

  /// Black or white, whichever is easier to read on a palette colour. Of the two blacks and whites of
  /// the palette those that take three bytes less to name: maps are full of letters.
  private func contrast(with color: Int32) -> Int32 {
    if mode == .sixteen { return [0, 1, 4, 5].contains(color) ? 7 : 0 }
    func brightness(_ red: Int, _ green: Int, _ blue: Int) -> Int { (red * 3 + green * 6 + blue) / 10 }
    let value = Int(color)
    let light: Int
    if let rgb = Style.rgb(color).map(Int.init) {
      light = brightness(rgb >> 16, rgb >> 8 & 0xff, rgb & 0xff)
    } else {
      switch value {
      case 16...231:
        let level = [0, 95, 135, 175, 215, 255]
        let cube = value - 16
        light = brightness(level[cube / 36], level[cube / 6 % 6], level[cube % 6])
      case 232...255: light = 8 + (value - 232) * 10
      default: light = [0, 1, 4, 5, 8].contains(value) ? 0 : 255
      }
    }
    return light > 110 ? 0 : 15
  }

  // MARK: The table

  /// The colours of a role in the themes; -1 is that of the terminal.
  private struct Colors {
    var dark: Int32
    var light: Int32
    var contrast: Int32
    /// The hue itself, 0xRRGGBB, for terminals that can show it on a dark background; nil where the palette has it.
    var hue: Int32?

    static let plain = Colors(-1, -1, -1)

    init(_ dark: Int32, _ light: Int32, _ contrast: Int32, hue: Int32? = nil) {
      self.dark = dark
      self.light = light
      self.contrast = contrast
      self.hue = hue
    }

    func color(_ name: ThemeName, isExact: Bool) -> Int32 {
      switch name {
      case .dark: isExact ? hue.map(Style.exact) ?? dark : dark
      case .light: light
      case .contrast: contrast
      case .mono: -1
      }
    }
  }

  /// One row of the theme table.
  private struct Row {
    var colors = Colors.plain
    var behind = Colors.plain
    /// Of the named colours: on a dark background, and on a light one.
    var sixteen: Int32 = -1
    var lightSixteen: Int32 = -1
    /// Attributes beside colour.
    var coloured: Style.Attributes = []
    /// Attributes without colour.
    var mono: Style.Attributes = []

    func style(_ mode: ColorMode, _ name: ThemeName) -> Style {
      if mode == .none || name == .mono { return Style(attributes: mono) }
      guard mode != .sixteen else {
        return Style(foreground: name == .light ? lightSixteen : sixteen, attributes: coloured)
      }
      return Style(
        foreground: colors.color(name, isExact: mode == .exact),
        background: behind.color(name, isExact: mode == .exact), attributes: coloured)
    }
  }

  /// A role with colours; `light` are those of the named colours on a light background.
  private static func row(
    _ colors: Colors, _ sixteen: Int32, light: Int32? = nil, _ coloured: Style.Attributes = [],
    mono: Style.Attributes = [], behind: Colors = .plain
  ) -> Row {
    Row(
      colors: colors, behind: behind, sixteen: sixteen, lightSixteen: light ?? sixteen, coloured: coloured,
      mono: mono)
  }

  // The hues of the set.
  private static let orange: Int32 = 0xe6_9f00
  private static let skyBlue: Int32 = 0x56_b4e9
  private static let green: Int32 = 0x00_9e73
  private static let yellow: Int32 = 0xf0_e442
  private static let blue: Int32 = 0x00_72b2
  private static let vermilion: Int32 = 0xd5_5e00
  private static let purple: Int32 = 0xcc_79a7

  private static let accent = Colors(74, 25, 117, hue: skyBlue)
  private static let grey = Colors(245, 243, 254)

  private static func row(_ role: Role) -> Row {
    switch role {
    case .text, .keyText, .number, .message, .guestNone, .hostFree, .hostPastEnd: Row()
    case .title, .paneTitle, .prompt: Row(coloured: .bold, mono: .bold)
    case .titleWarning:
      row(Colors(214, 130, 220, hue: orange), 3, light: 1, .bold, mono: [.bold, .reverse])
    case .border, .muted: row(grey, -1)
    case .borderFocus, .key: row(accent, 6, light: 4, .bold, mono: .bold)
    case .selection: Row(coloured: .reverse, mono: .reverse)
    case .twin: Row(coloured: [.reverse, .underline], mono: [.reverse, .underline])
    case .link: row(accent, 6, light: 4, .underline, mono: .underline)
    case .changed:
      row(
        Colors(227, 16, 16, hue: yellow), 3, light: 5, .bold, mono: [.bold, .underline],
        behind: Colors(238, 222, 227))
    case .error:
      row(
        Colors(166, 160, 203, hue: vermilion), 1, [.bold, .reverse], mono: [.bold, .reverse])
    case .warning: row(Colors(208, 130, 214, hue: orange), 3, light: 1, .bold, mono: .bold)
    case .ok: row(Colors(36, 29, 48, hue: green), 6, light: 2)
    case .completion: row(accent, 6, light: 4)
    case .progress: row(accent, 4, .reverse, mono: .reverse)

    case .guestBelow: row(Colors(110, 67, 152), 6)
    case .guestData, .guestPart, .hostData: row(Colors(74, 32, 117, hue: skyBlue), 4)
    case .guestZero, .hostHole: row(Colors(250, 242, 255), 7, light: 0)
    case .guestZeroKept: row(Colors(245, 238, 251), 7, light: 0, mono: .bold)
    case .guestPreallocated: row(Colors(67, 60, 111), 4)
    case .guestCompressed, .hostCompressed: row(Colors(175, 133, 218, hue: purple), 5)
    case .guestShared: row(Colors(25, 18, 39, hue: blue), 4, .underline, mono: .underline)
    case .guestMissing: row(Colors(208, 130, 214), 3, .reverse, mono: .reverse)
    case .guestBad: row(Colors(166, 160, 203, hue: vermilion), 1, .bold, mono: [.bold, .reverse])

    case .hostHeader, .hostCrypto: row(Colors(227, 94, 228, hue: yellow), 3, .bold, mono: .bold)
    case .hostRefcount: row(Colors(36, 29, 48, hue: green), 2, .bold, mono: .bold)
    case .hostTable: row(Colors(214, 130, 220, hue: orange), 3, .bold, mono: .bold)
    case .hostSnapshot: row(Colors(178, 136, 179), 3, .underline, mono: .underline)
    case .hostBitmap: row(Colors(151, 65, 157), 2, .underline, mono: .underline)
    case .hostVMState: row(Colors(139, 96, 183), 5)
    case .hostLeaked: row(Colors(208, 130, 214), 3, .reverse, mono: .reverse)
    case .hostWrong:
      row(Colors(166, 160, 203, hue: vermilion), 1, [.bold, .reverse], mono: [.bold, .reverse])

    // One hue from little to much. The last of the dark ones is still seen on black, the first of the light ones
    // on white.
    case .ramp0: row(Colors(195, 153, 195), 7, light: 6)
    case .ramp1: row(Colors(153, 117, 159), 7, light: 6)
    case .ramp2: row(Colors(117, 111, 123), 6)
    case .ramp3: row(Colors(111, 75, 117), 6)
    case .ramp4: row(Colors(75, 68, 81), 6)
    case .ramp5: row(Colors(74, 32, 75), 6, light: 4)
    case .ramp6: row(Colors(68, 26, 39), 4)
    case .ramp7: row(Colors(32, 25, 33), 4)
    case .ramp8: row(Colors(26, 19, 27), 4)
    case .ramp9: row(Colors(25, 18, 26), 4)
    }
  }
}
