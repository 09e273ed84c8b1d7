// Names from images and from the command line on their way to people and programs. Nothing that moves
// the cursor, reorders or hides text reaches a terminal: people see \x1b, programs get JSON's escapes.

import Storage

/// Text that is safe to print.
package enum Escaping {
  /// For people: what is no visible text becomes `\x` and two digits for each of its bytes, line ends
  /// as well, so that a name cannot pretend to be the next line.
  package static func human(_ text: String) -> String {
    escaped(text) { _ in false }
  }

  /// The bytes of whole lines for people. This is the last thing all printed text goes through: names
  /// that were put into a sentence as they are become visible here at the latest.
  package static func lines(_ text: String) -> [UInt8] {
    Array(escaped(text) { $0 == "\n" || $0 == "\t" }.utf8)
  }

  /// One word of a line for a shell, quoted where it would not be one; it may still hold what ``human(_:)`` makes
  /// visible, and then names nothing.
  package static func shell(_ word: String) -> String {
    let isPlain = word.utf8.allSatisfy { byte in
      switch byte {
      case 0x2b...0x3a, 0x3d, 0x40...0x5a, 0x5f, 0x61...0x7a: true
      default: false
      }
    }
    if isPlain && !word.isEmpty { return word }
    return "'" + word.replacing("'", with: "'\\''") + "'"
  }

  private static func escaped(_ text: String, _ mayPass: (Unicode.Scalar) -> Bool) -> String {
    // Listings are long, and nearly all of them is this.
    if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f || $0 == 0x0a && mayPass("\n") }) { return text }
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      if !ByteText.isHidden(scalar) || mayPass(scalar) {
        result.append(scalar)
      } else {
        for byte in ByteText.bytes(String(scalar)) {
          result.append(contentsOf: ("\\x" + digits(UInt32(byte), 2)).unicodeScalars)
        }
      }
    }
    return String(result)
  }

  /// A JSON string with its quotes; everything but printable ASCII is escaped. JSON has no bytes: what
  /// is no UTF-8 becomes U+FFFD, as the genuine tool prints it.
  package static func json(_ text: String) -> String {
    var result = "\""
    for scalar in repaired(text) {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\u{8}": result += "\\b"
      case "\u{c}": result += "\\f"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      default:
        if scalar.value >= 0x20 && scalar.value < 0x7f {
          result.unicodeScalars.append(scalar)
        } else {
          for unit in String(scalar).utf16 { result += "\\u" + digits(UInt32(unit), 4).uppercased() }
        }
      }
    }
    return result + "\""
  }

  /// The scalars of a text, with one U+FFFD for every sequence of bytes that the genuine tool does not
  /// take for a character: it skips a whole sequence where only the value is wrong.
  private static func repaired(_ text: String) -> [Unicode.Scalar] {
    if text.utf8.allSatisfy({ $0 < 0x80 }) { return Array(text.unicodeScalars) }
    let bytes = ByteText.bytes(text)
    var result: [Unicode.Scalar] = []
    var at = 0
    while at < bytes.count {
      let first = bytes[at]
      at += 1
      // Two to six bytes, by the ones that the first begins with.
      let length = (~first).leadingZeroBitCount
      guard first >= 0x80 else {
        result.append(Unicode.Scalar(first))
        continue
      }
      var value = UInt32(first) & 0x7f >> UInt32(length)
      var missing = (2...6).contains(length) ? length - 1 : 0
      while missing > 0, at < bytes.count, bytes[at] & 0xc0 == 0x80 {
        value = value << 6 | UInt32(bytes[at] & 0x3f)
        at += 1
        missing -= 1
      }
      let least: UInt32 = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000
      let isNoCharacter = value & 0xfffe == 0xfffe || (0xfdd0...0xfdef).contains(value)
      let isWhole = (2...4).contains(length) && missing == 0 && !isNoCharacter
      // An overlong zero is how some write a zero byte in the middle of a text.
      let isValid = isWhole && (value >= least || length == 2 && value == 0)
      result.append(isValid ? Unicode.Scalar(value) ?? "\u{fffd}" : "\u{fffd}")
    }
    return result
  }

  private static func digits(_ value: UInt32, _ width: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
  }
}
