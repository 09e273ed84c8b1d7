// The one table that turns roles into colours and attributes, for three kinds of terminal.
// Hues come from the Okabe-Ito set, text keeps the terminal's own colours, and no state needs colour.

/// How many colours a terminal may be sent.
package enum ColorMode: Hashable, Sendable, CaseIterable {
  /// No colour codes at all; reverse, underline and bold only.
  case none
  /// The sixteen (or eight) named colours.
  case sixteen
  /// The 256-colour palette.
  case twoFiftySix
}

/// Colours and attributes of one cell. Colours are palette numbers; -1 is the terminal's default.
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

  /// A colour of the palette; -1 for that of the terminal.
  package var foreground: Int16 = -1
  /// A colour of the palette; -1 for that of the terminal.
  package var background: Int16 = -1
  /// What is done besides.
  package var attributes: Attributes = []

  package init(foreground: Int16 = -1, background: Int16 = -1, attributes: Attributes = []) {
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
  private let styles: [Style]

  /// The styles of all roles for that many colours.
  package init(mode: ColorMode) {
    self.mode = mode
    styles = Role.allCases.map { role in
      let row = Theme.row(role)
      return switch mode {
      case .none: Style(attributes: row.mono)
      case .sixteen: Style(foreground: row.sixteen, background: row.sixteenBehind, attributes: row.coloured)
      case .twoFiftySix:
        Style(foreground: row.palette, background: row.paletteBehind, attributes: row.coloured)
      }
    }
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
      if mode == .twoFiftySix {
        style.foreground = 227
        style.background = 238
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
  private func contrast(with color: Int16) -> Int16 {
    if mode == .sixteen { return [0, 1, 4, 5].contains(color) ? 7 : 0 }
    let value = Int(color)
    let brightness: Int
    switch value {
    case 16...231:
      let level = [0, 95, 135, 175, 215, 255]
      let cube = value - 16
      brightness = (level[cube / 36] * 3 + level[cube / 6 % 6] * 6 + level[cube % 6]) / 10
    case 232...255: brightness = 8 + (value - 232) * 10
    default: brightness = [0, 1, 4, 5, 8].contains(value) ? 0 : 255
    }
    return brightness > 110 ? 0 : 15
  }

  // MARK: The table

  /// One row of the theme table.
  private struct Row {
    var palette: Int16 = -1
    var paletteBehind: Int16 = -1
    var sixteen: Int16 = -1
    var sixteenBehind: Int16 = -1
    /// Attributes beside colour.
    var coloured: Style.Attributes = []
    /// Attributes without colour.
    var mono: Style.Attributes = []
  }

  private static func map(
    _ palette: Int16, _ sixteen: Int16, _ coloured: Style.Attributes = [], mono: Style.Attributes = []
  ) -> Row {
    Row(palette: palette, sixteen: sixteen, coloured: coloured, mono: mono)
  }

  private static func row(_ role: Role) -> Row {
    switch role {
    case .text, .guestNone, .hostFree, .hostPastEnd: Row()
    case .title: Row(coloured: .bold, mono: .bold)
    case .titleWarning: Row(palette: 214, sixteen: 3, coloured: .bold, mono: [.bold, .reverse])
    case .border: Row(palette: 245)
    case .borderFocus: Row(palette: 74, sixteen: 6, coloured: .bold, mono: .bold)
    case .paneTitle: Row(coloured: .bold, mono: .bold)
    case .key: Row(palette: 74, sixteen: 6, coloured: .bold, mono: .bold)
    case .keyText: Row()
    case .selection: Row(coloured: .reverse, mono: .reverse)
    case .twin: Row(coloured: [.reverse, .underline], mono: [.reverse, .underline])
    case .link: Row(palette: 74, sixteen: 6, coloured: .underline, mono: .underline)
    case .muted: Row(palette: 245)
    case .number: Row()
    case .changed:
      Row(palette: 227, paletteBehind: 238, sixteen: 3, coloured: .bold, mono: [.bold, .underline])
    case .error: Row(palette: 166, sixteen: 1, coloured: [.bold, .reverse], mono: [.bold, .reverse])
    case .warning: Row(palette: 208, sixteen: 3, coloured: .bold, mono: .bold)
    case .ok: Row(palette: 36, sixteen: 6)
    case .prompt: Row(coloured: .bold, mono: .bold)
    case .completion: Row(palette: 74, sixteen: 6)
    case .message: Row()
    case .progress: Row(palette: 74, sixteen: 4, coloured: .reverse, mono: .reverse)

    case .guestBelow: map(110, 6)
    case .guestData, .guestPart, .hostData: map(74, 4)
    case .guestZero, .hostHole: map(250, 7)
    case .guestZeroKept: map(245, 7, mono: .bold)
    case .guestPreallocated: map(67, 4)
    case .guestCompressed, .hostCompressed: map(175, 5)
    case .guestShared: map(25, 4, .underline, mono: .underline)
    case .guestMissing: map(208, 3, .reverse, mono: .reverse)
    case .guestBad: map(166, 1, .bold, mono: [.bold, .reverse])

    case .hostHeader, .hostCrypto: map(227, 3, .bold, mono: .bold)
    case .hostRefcount: map(36, 2, .bold, mono: .bold)
    case .hostTable: map(214, 3, .bold, mono: .bold)
    case .hostSnapshot: map(178, 3, .underline, mono: .underline)
    case .hostBitmap: map(151, 2, .underline, mono: .underline)
    case .hostVMState: map(139, 5)
    case .hostLeaked: map(208, 3, .reverse, mono: .reverse)
    case .hostWrong: map(166, 1, [.bold, .reverse], mono: [.bold, .reverse])

    case .ramp0: map(195, 7)
    case .ramp1: map(153, 7)
    case .ramp2: map(117, 6)
    case .ramp3: map(111, 6)
    case .ramp4: map(75, 6)
    case .ramp5: map(74, 6)
    case .ramp6: map(68, 4)
    case .ramp7: map(32, 4)
    // The darkest of them is still seen on black.
    case .ramp8: map(26, 4)
    case .ramp9: map(25, 4)
    }
  }
}
