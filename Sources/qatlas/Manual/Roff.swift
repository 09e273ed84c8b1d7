// Text of a manual page: lines for man(7), in which no word of a text can be taken for a command of the formatter.

import ArgumentParser

/// The source of one page.
struct Roff {
  var text = ""

  /// A page called `name` of section 1.
  init(_ name: String) {
    text = ".\\\" Made by qatlas man.\n"
    // The formatters read the date, so that its dashes stay as they are.
    text += ".TH \(name.uppercased()) 1 \(Self.date) \"qatlas \(Qatlas.configuration.version)\"\n"
  }

  /// The day of the version.
  private static let date = "2026-11-28"
  /// A heading is the last line: the paragraph behind it needs no macro.
  private var isBelowHeading = false

  /// A line that begins with a macro and its words.
  private mutating func macro(_ name: String, _ words: String...) {
    isBelowHeading = name == "SH" || name == "SS"
    text += "." + name + words.map { " \"" + Self.escaped($0, inQuotes: true) + "\"" }.joined() + "\n"
  }

  mutating func section(_ title: String) { macro("SH", title.uppercased()) }
  mutating func heading(_ title: String) { macro("SS", title) }

  /// Paragraphs, one for every part that a blank line divides.
  mutating func paragraphs(_ words: String) {
    for part in words.split(separator: "\n\n") {
      if !isBelowHeading { text += ".PP\n" }
      line(part.split(separator: "\n").joined(separator: " "))
    }
  }

  /// A term in bold and what it means.
  mutating func entry(_ term: String, _ meaning: String) {
    text += ".TP\n\\fB" + Self.escaped(term) + "\\fR\n"
    line(meaning.isEmpty ? "\u{a0}" : meaning)
  }

  /// A name and what it is, with the dash between them that the index is read by.
  mutating func name(_ name: String, _ words: String) {
    text += Self.escaped(name) + " \\- " + Self.escaped(words) + "\n"
  }

  /// A name in bold and what stands behind it.
  mutating func synopsis(_ name: String, _ words: [String]) {
    text += ".B " + Self.escaped(name) + "\n"
    if !words.isEmpty { line(words.joined(separator: " ")) }
  }

  private mutating func line(_ words: String) {
    isBelowHeading = false
    let escaped = Self.escaped(words)
    // At the start of a line these are commands.
    text += (escaped.hasPrefix(".") || escaped.hasPrefix("'") ? "\\&" : "") + escaped + "\n"
  }

  /// Characters that mean something to the formatter, written so that they stand for themselves; those beyond ASCII
  /// by their numbers, so that the page is the same in every locale.
  private static func escaped(_ words: String, inQuotes: Bool = false) -> String {
    var result = ""
    for scalar in words.unicodeScalars {
      switch scalar {
      case "\\": result += "\\e"
      case "-": result += "\\-"
      case "\"" where inQuotes: result += "\\(dq"
      case "'": result += "\\(aq"
      case "`": result += "\\(ga"
      case "^": result += "\\(ha"
      case "~": result += "\\(ti"
      case "\u{a0}": result += "\\ "
      case _ where scalar.value < 0x20: result += " "
      case _ where !scalar.isASCII:
        let digits = String(scalar.value, radix: 16, uppercase: true)
        result += "\\[u" + String(repeating: "0", count: max(0, 4 - digits.utf8.count)) + digits + "]"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
