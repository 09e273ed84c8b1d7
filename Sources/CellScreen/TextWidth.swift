// How many columns text takes, and how untrusted text becomes text that is safe to show.
// Everything that reaches a canvas goes through `cells`, so widths and escapes are decided once.

internal import CSys
internal import Storage

/// Widths, truncation, padding and sanitising of text.
package enum TextWidth {
  /// One visible unit of a text: a base scalar with its combining marks, or a piece of an escape.
  package struct Unit: Hashable, Sendable {
    /// The character, or a piece of an escape.
    package var scalar: Unicode.Scalar
    /// A mark on it; 0 if there is none.
    package var combining1: Unicode.Scalar = "\0"
    /// A second mark; 0 if there is none.
    package var combining2: Unicode.Scalar = "\0"
    /// 1 or 2 columns.
    package var width: Int
  }

  /// The units of a text in order; stops when `body` returns false.
  ///
  /// Control bytes appear as `^[`, and scalars that could reorder, join or hide text as `<202e>`.
  /// A unit keeps at most two combining marks; further ones are dropped.
  package static func units(_ text: String, _ body: (Unit) -> Bool) {
    var pending: Unit?
    for scalar in text.unicodeScalars {
      // Nearly all text is printable ASCII: skip the tables for it.
      if scalar.value >= 0x20 && scalar.value < 0x7f {
        if let unit = pending, !body(unit) { return }
        pending = Unit(scalar: scalar, width: 1)
        continue
      }
      if let escape = escape(for: scalar) {
        if let unit = pending, !body(unit) { return }
        pending = nil
        for piece in escape.unicodeScalars {
          if !body(Unit(scalar: piece, width: 1)) { return }
        }
        continue
      }
      let width = width(of: scalar)
      if width > 0 {
        if let unit = pending, !body(unit) { return }
        pending = Unit(scalar: scalar, width: width)
      } else if pending == nil {
        pending = Unit(scalar: " ", combining1: scalar, width: 1)
      } else if pending?.combining1 == "\0" {
        pending?.combining1 = scalar
      } else if pending?.combining2 == "\0" {
        pending?.combining2 = scalar
      }
    }
    if let unit = pending { _ = body(unit) }
  }

  /// Columns the text takes on a canvas, escapes included.
  package static func width(_ text: String) -> Int {
    var total = 0
    units(text) { unit in
      total += unit.width
      return true
    }
    return total
  }

  /// Columns of one scalar that is neither a control character nor escaped: 0, 1 or 2.
  package static func width(of scalar: Unicode.Scalar) -> Int {
    let width = Int(csys_width(scalar.value))
    return width >= 0 ? width : fallbackWidth(of: scalar)
  }

  /// The text as it may be shown anywhere: no control character, no invisible reordering.
  package static func sanitized(_ text: String) -> String {
    if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }) { return text }
    var result = String.UnicodeScalarView()
    units(text) { unit in
      result.append(unit.scalar)
      if unit.combining1 != "\0" { result.append(unit.combining1) }
      if unit.combining2 != "\0" { result.append(unit.combining2) }
      return true
    }
    return String(result)
  }

  /// The text cut to `width` columns, with an ellipsis where something is missing.
  ///
  /// Too narrow for an ellipsis and one character, it is cut without one. The result is sanitised.
  package static func truncated(_ text: String, to width: Int, glyphs: GlyphSet) -> String {
    if self.width(text) <= width { return sanitized(text) }
    let ellipsis = glyphs == .ascii ? "..." : "…"
    let mark = width > ellipsis.unicodeScalars.count ? ellipsis : ""
    return prefix(text, columns: width - mark.unicodeScalars.count) + mark
  }

  /// The last `width` columns of a text, with an ellipsis in front: for paths, whose end tells most.
  package static func truncatedAtStart(_ text: String, to width: Int, glyphs: GlyphSet) -> String {
    let total = self.width(text)
    if total <= width { return sanitized(text) }
    let ellipsis = glyphs == .ascii ? "..." : "…"
    let mark = width > ellipsis.unicodeScalars.count ? ellipsis : ""
    var skip = total - max(0, width - mark.unicodeScalars.count)
    var result = String.UnicodeScalarView()
    units(text) { unit in
      if skip > 0 {
        skip -= unit.width
        return true
      }
      append(unit, to: &result)
      return true
    }
    return mark + String(result)
  }

  /// The units of the text that fit in `columns` columns.
  package static func prefix(_ text: String, columns: Int) -> String {
    var result = String.UnicodeScalarView()
    var left = columns
    units(text) { unit in
      guard unit.width <= left else { return false }
      left -= unit.width
      append(unit, to: &result)
      return true
    }
    return String(result)
  }

  /// Where the text goes in a field that is wider than it.
  package enum Alignment: Sendable { case left, right, centre }

  /// The text in exactly `width` columns: truncated or filled with blanks.
  package static func padded(
    _ text: String, to width: Int, _ alignment: Alignment = .left, glyphs: GlyphSet = .ascii
  ) -> String {
    let fitted = truncated(text, to: width, glyphs: glyphs)
    let missing = max(0, width - self.width(fitted))
    let before =
      switch alignment {
      case .left: 0
      case .right: missing
      case .centre: missing / 2
      }
    return String(repeating: " ", count: before) + fitted
      + String(repeating: " ", count: missing - before)
  }

  private static func append(_ unit: Unit, to view: inout String.UnicodeScalarView) {
    view.append(unit.scalar)
    if unit.combining1 != "\0" { view.append(unit.combining1) }
    if unit.combining2 != "\0" { view.append(unit.combining2) }
  }

  /// What stands for a scalar that must not reach the terminal; nil for a scalar that may.
  private static func escape(for scalar: Unicode.Scalar) -> String? {
    switch scalar.value {
    case 0..<0x20:
      return "^" + String(UnicodeScalar(UInt8(scalar.value) + 0x40))
    case 0x7f: return "^?"
    case (CSYS_RAW_BYTES + 0x80)...0x10ffff: return "\\x" + String(scalar.value & 0xff, radix: 16)
    case 0x80..<0xa0,  // C1 controls: a lone 0x9b starts an escape sequence
      0xad,  // soft hyphen: terminals disagree about its width
      0x61c, 0x180b...0x180f, 0x200b...0x200f, 0x2028...0x202e, 0x2060...0x206f, 0xfe00...0xfe0f,
      0xfeff, 0xfff0...0xfffb,  // invisible, reordering or joining
      0xe000...0xf8ff, 0xf0000...0x10ffff,  // private use: no agreed width
      0x1f1e6...0x1f1ff, 0x1f3fb...0x1f3ff,  // flags and skin tones: joined by some terminals only
      0xe0000...0xe0fff:
      return "<" + String(scalar.value, radix: 16) + ">"
    default:
      return ByteText.isHidden(scalar) ? "<" + String(scalar.value, radix: 16) + ">" : nil
    }
  }

  /// Widths for a C library that does not know the scalar: East Asian wide blocks and combining marks.
  static func fallbackWidth(of scalar: Unicode.Scalar) -> Int {
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark: return 0
    default: break
    }
    switch scalar.value {
    case 0x1100...0x115f, 0x2e80...0x303e, 0x3041...0x33ff, 0x3400...0x4dbf, 0x4e00...0x9fff,
      0xa000...0xa4cf, 0xa960...0xa97f, 0xac00...0xd7a3, 0xf900...0xfaff, 0xfe30...0xfe6f,
      0xff00...0xff60, 0xffe0...0xffe6, 0x1f300...0x1f64f, 0x1f680...0x1f6ff, 0x1f900...0x1f9ff,
      0x20000...0x3fffd:
      return 2
    case 0x1160...0x11ff: return 0
    default: return 1
    }
  }
}
