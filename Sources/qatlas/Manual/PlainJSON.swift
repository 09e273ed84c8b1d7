// JSON as the argument parser writes it of its own declarations. It is no reader for text from elsewhere: what it
// does not understand it leaves out.

/// A value.
indirect enum PlainJSON {
  case object([String: PlainJSON])
  case list([PlainJSON])
  case text(String)
  case other

  init(_ text: String) {
    var reader = Reader(scalars: Array(text.unicodeScalars))
    self = reader.value()
  }

  subscript(name: String) -> PlainJSON {
    if case .object(let members) = self { members[name] ?? .other } else { .other }
  }

  var items: [PlainJSON] { if case .list(let items) = self { items } else { [] } }
  var text: String? { if case .text(let text) = self { text } else { nil } }
  /// Numbers and words are kept as they are written.
  var isTrue: Bool { text == "true" }

  private struct Reader {
    let scalars: [Unicode.Scalar]
    var at = 0

    init(scalars: [Unicode.Scalar]) { self.scalars = scalars }

    private mutating func next() -> Unicode.Scalar? {
      while at < scalars.count, scalars[at].properties.isWhitespace { at += 1 }
      return at < scalars.count ? scalars[at] : nil
    }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
      guard next() == scalar else { return false }
      at += 1
      return true
    }

    mutating func value() -> PlainJSON {
      switch next() {
      case "{": return .object(members())
      case "[": return .list(items())
      case "\"": return .text(string())
      default:
        let start = at
        while at < scalars.count,
          scalars[at].properties.isAlphabetic || "+-.0123456789".contains(Character(scalars[at]))
        { at += 1 }
        // Anything else would be read for ever.
        if at == start { at = scalars.count }
        return .text(String(String.UnicodeScalarView(scalars[start..<at])))
      }
    }

    private mutating func members() -> [String: PlainJSON] {
      var members: [String: PlainJSON] = [:]
      at += 1
      while next() == "\"" {
        let name = string()
        guard take(":") else { break }
        members[name] = value()
        guard take(",") else { break }
      }
      _ = take("}")
      return members
    }

    private mutating func items() -> [PlainJSON] {
      var items: [PlainJSON] = []
      at += 1
      while let first = next(), first != "]" {
        items.append(value())
        guard take(",") else { break }
      }
      _ = take("]")
      return items
    }

    private mutating func string() -> String {
      var text = String.UnicodeScalarView()
      at += 1
      while at < scalars.count, scalars[at] != "\"" {
        if scalars[at] == "\\" { text.append(escape()) } else { text.append(scalars[at]) }
        at += 1
      }
      at += 1
      return String(text)
    }

    /// At its last scalar afterwards.
    private mutating func escape() -> Unicode.Scalar {
      at += 1
      guard at < scalars.count else { return " " }
      switch scalars[at] {
      case "n": return "\n"
      case "t": return "\t"
      case "r": return "\r"
      case "u":
        let digits = String(String.UnicodeScalarView(scalars[(at + 1)..<min(scalars.count, at + 5)]))
        at += 4
        return UInt32(digits, radix: 16).flatMap(Unicode.Scalar.init) ?? "?"
      default: return scalars[at]
      }
    }
  }
}
