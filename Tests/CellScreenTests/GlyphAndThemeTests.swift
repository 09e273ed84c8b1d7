// A map must be readable without colour, and a cursor must be visible in every mode.
// These tests go through the tables, so a new state cannot forget its glyph or its style.

import CellScreen
import Glibc
import TestSupport
import Testing

@Suite("Glyphs and themes", .tags(.fast))
struct GlyphAndThemeTests {
  @Test("no two states of a map share a glyph", arguments: GlyphSet.allCases)
  func distinct(_ set: GlyphSet) {
    var guest = GuestGlyph.allCases.filter { $0 != .part }.map { Glyphs.guest($0).scalar(set) }
    // Every glyph that a partly filled cell can have counts as its glyph.
    let parts = Set((1..<100).map { Glyphs.part($0, of: 100, set) })
    guest += parts
    #expect(Set(guest).count == guest.count)
    #expect(parts.count == (set == .ascii ? 9 : 7))
    let host = HostGlyph.allCases.map { Glyphs.host($0).scalar(set) }
    #expect(Set(host).count == host.count)
    if set == .ascii {
      #expect((guest + host).allSatisfy { $0.value >= 0x20 && $0.value <= 0x7e })
    }
    let dots = DotGlyph.allCases.map { Glyphs.dot($0).scalar(set) }
    #expect(Set(dots + [" "]).count == dots.count + 1)
    for glyph in guest + host + dots { #expect(TextWidth.width(of: glyph) == 1) }
  }

  @Test("the lenses have distinct glyphs per step", arguments: GlyphSet.allCases)
  func lenses(_ set: GlyphSet) {
    let refcounts = (0...10).map { Glyphs.refcount($0) }
    #expect(Set(refcounts).count == 11 && Glyphs.refcount(.max) == "+")
    let fill = Set((0...1000).map { Glyphs.fill($0, of: 1000, set) })
    #expect(fill.count == (set == .ascii ? 11 : 9))
    #expect(Glyphs.fill(0, of: 0, set) == Glyphs.guest(.none).scalar(set))
    #expect(Glyphs.fill(1, of: .max, set) == Glyphs.guest(.part).scalar(set))
    #expect(Glyphs.fill(.max, of: .max, set) == Glyphs.guest(.data).scalar(set))
  }

  @Test("one glyph per state is what the design says")
  func table() {
    let ascii = String(String.UnicodeScalarView(GuestGlyph.allCases.map { Glyphs.guest($0).ascii }))
    let unicode = String(String.UnicodeScalarView(GuestGlyph.allCases.map { Glyphs.guest($0).unicode }))
    #expect(ascii == ".:#1zZpcs?!")
    #expect(unicode == "·░█▁▫▪▒▚▓?!")
    let host = String(String.UnicodeScalarView(HostGlyph.allCases.map { Glyphs.host($0).ascii }))
    #expect(host == "HTB12SlMKV#c.oX! ")
  }

  @Test(
    "states that look for attention differ in every colour mode", arguments: ColorMode.allCases,
    ThemeName.allCases)
  func attention(_ mode: ColorMode, _ name: ThemeName) {
    let theme = Theme(mode: mode, name: name)
    let styles = [Role.text, .selection, .twin, .changed, .error].map { theme.style($0) }
    #expect(Set(styles).count == styles.count)
    #expect(theme.style(.border) != theme.style(.borderFocus))
  }

  @Test(
    "the cursor, the twin and a minority show on every role and glyph", arguments: ColorMode.allCases,
    ThemeName.allCases)
  func marks(_ mode: ColorMode, _ name: ThemeName) {
    let theme = Theme(mode: mode, name: name)
    for role in Role.allCases {
      for glyph in ["#", "\u{2588}", ".", " "] as [Unicode.Scalar] {
        let plain = theme.style(for: Cell(glyph, role: role))
        let selected = theme.style(for: Cell(glyph, role: role, marks: .selected))
        let twin = theme.style(for: Cell(glyph, role: role, marks: .twin))
        #expect(plain != selected && plain != twin, "\(role) \(glyph)")
        let underlined = plain.attributes.contains(.underline)
        if !underlined {
          #expect(selected != twin, "\(role) \(glyph)")
          #expect(theme.style(for: Cell(glyph, role: role, marks: .minority)) != plain)
        }
        if role != .changed {
          #expect(
            theme.style(for: Cell(glyph, role: role, marks: .changed)) != plain, "\(role) \(glyph) \(mode)")
        }
      }
    }
  }

  @Test("no colour means no colour", arguments: ThemeName.allCases)
  func none(_ name: ThemeName) {
    // The theme without colours has none on any terminal.
    for theme in [Theme(mode: .none, name: name)] + ColorMode.allCases.map({ Theme(mode: $0, name: .mono) }) {
      colourless(theme)
    }
  }

  private func colourless(_ theme: Theme) {
    for role in Role.allCases {
      for marks in [[], .selected, .twin, .changed, .minority, .bold] as [Marks] {
        let style = theme.style(for: Cell("#", role: role, marks: marks))
        #expect(style.foreground == -1 && style.background == -1)
      }
    }
  }

  @Test(
    "sixteen colours use the first eight only, so eight-colour terminals are fine",
    arguments: ThemeName.allCases)
  func sixteen(_ name: ThemeName) {
    let theme = Theme(mode: .sixteen, name: name)
    for role in Role.allCases {
      let style = theme.style(for: Cell("#", role: role))
      #expect((-1...7).contains(style.foreground) && (-1...7).contains(style.background))
    }
  }

  @Test("letters of a map carry their colour behind them, blocks in front")
  func background() {
    let theme = Theme(mode: .twoFiftySix)
    #expect(theme.style(for: Cell("#", role: .guestData)) == Style(foreground: 0, background: 74))
    #expect(theme.style(for: Cell("\u{2588}", role: .guestData)) == Style(foreground: 74))
    #expect(theme.style(for: Cell(".", role: .guestNone)) == .plain)
  }

  /// Roles that are text as the terminal shows it, or nothing.
  private static let plain: Set<Role> = [
    .text, .keyText, .number, .message, .guestNone, .hostFree, .hostPastEnd,
  ]

  @Test("every role is filled in every theme and colour mode", arguments: ThemeName.allCases)
  func filled(_ name: ThemeName) {
    for mode in ColorMode.allCases {
      let theme = Theme(mode: mode, name: name)
      for role in Role.allCases where !Self.plain.contains(role) {
        let style = theme.style(role)
        let needsColour = theme.mode == .exact || theme.mode == .twoFiftySix
        let isOfAttributes = [.title, .paneTitle, .prompt, .selection, .twin].contains(role)
        #expect(style != .plain || !needsColour, "\(role) \(name) \(mode)")
        if needsColour && !isOfAttributes { #expect(style.foreground >= 0, "\(role) \(name) \(mode)") }
      }
    }
  }

  @Test(
    "no two states of a map look alike in any theme, colour mode and glyph set", arguments: ThemeName.allCases
  )
  func apart(_ name: ThemeName) {
    for mode in ColorMode.allCases {
      let theme = Theme(mode: mode, name: name)
      for set in GlyphSet.allCases {
        func looks(_ rows: [Glyphs.Row]) -> [String] {
          rows.map { row in
            let scalar = row.scalar(set)
            return "\(scalar) \(theme.style(for: Cell(scalar, role: row.role)))"
          }
        }
        for rows in [GuestGlyph.allCases.map(Glyphs.guest), HostGlyph.allCases.map(Glyphs.host)] {
          let all = looks(rows)
          #expect(Set(all).count == all.count, "\(name) \(mode) \(set)")
        }
      }
      // Where there are colours the steps of the ramp go one way, from light to dark.
      guard theme.mode == .twoFiftySix || theme.mode == .exact else { continue }
      let steps = (0...9).map { Self.luminance(theme.style(.ramp($0)).foreground) }
      #expect(zip(steps, steps.dropFirst()).allSatisfy { $0 > $1 }, "\(name) \(mode) \(steps)")
    }
  }

  /// Light as accessibility guidelines define it, 0 ... 1, of a colour of the cube, a grey or an exact one.
  private static func luminance(_ colour: Int32) -> Double {
    let value = Int(colour)
    let bytes: [Int]
    if let rgb = Style.rgb(colour).map(Int.init) {
      bytes = [rgb >> 16, rgb >> 8 & 255, rgb & 255]
    } else if value >= 232 {
      bytes = [Int](repeating: 8 + (value - 232) * 10, count: 3)
    } else {
      let cube = max(0, value - 16)
      bytes = [cube / 36, cube / 6 % 6, cube % 6].map { $0 == 0 ? 0 : $0 * 40 + 55 }
    }
    let linear = bytes.map { byte in
      let part = Double(byte) / 255
      return part <= 0.04045 ? part / 12.92 : pow((part + 0.055) / 1.055, 2.4)
    }
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
  }

  @Test("text and states are read on the background that a theme is for")
  func contrast() {
    for name in ThemeName.allCases where name != .mono {
      for mode in [ColorMode.twoFiftySix, .exact] {
        let theme = Theme(mode: mode, name: name)
        for role in Role.allCases {
          let style = theme.style(role)
          guard style.foreground >= 0 else { continue }
          let behind = style.background >= 0 ? Self.luminance(style.background) : name == .light ? 1 : 0
          let own = Self.luminance(style.foreground)
          let ratio = (max(own, behind) + 0.05) / (min(own, behind) + 0.05)
          // The light end of a ramp is nearly nothing, and so is what it means; letters carry it behind them.
          let least =
            role.isMap && name == .light && [.ramp0, .ramp1, .ramp2, .ramp3].contains(role) ? 1.4 : 2.9
          #expect(ratio >= least, "\(role) \(name) \(mode): \(ratio)")
        }
      }
    }
  }

  @Test("every role has its own letter in style planes")
  func letters() {
    let letters = Role.allCases.map(\.planeLetter)
    #expect(Set(letters).count == letters.count)
    #expect(Role.text.planeLetter == " ")
  }

  @Test("dots of a plot and steps of a ramp are seen on black")
  func seenOnBlack() {
    let theme = Theme(mode: .twoFiftySix)
    let dots = DotGlyph.allCases.map { Glyphs.dot($0).role }
    for role in dots + [.ramp3, .ramp6, .ramp8, .ramp9] {
      let colour = Int(theme.style(for: Cell("\u{2588}", role: role)).foreground)
      #expect((16..<232).contains(colour), "\(role)")
      // The cube of the palette, and the contrast with black as accessibility guidelines define it.
      let parts = [(colour - 16) / 36, (colour - 16) / 6 % 6, (colour - 16) % 6].map {
        $0 == 0 ? 0 : Double($0 * 40 + 55) / 255
      }
      let linear = parts.map { $0 <= 0.04045 ? $0 / 12.92 : pow(($0 + 0.055) / 1.055, 2.4) }
      let light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
      #expect((light + 0.05) / 0.05 >= 3, "\(role): colour \(colour)")
    }
    // None of them needs a font with braille.
    for dot in DotGlyph.allCases {
      #expect(!(0x2800...0x28ff).contains(Glyphs.dot(dot).unicode.value))
    }
  }
}
