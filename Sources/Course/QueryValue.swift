// What a query gives: its kinds, how texts show them, and when a written value says the same.

/// The value of a query.
package enum QueryValue: Equatable, Sendable {
  case number(UInt64)
  /// A byte of the disk.
  case byte(UInt8)
  /// A place in a file.
  case address(UInt64)
  /// An entry or a bitmap of a table: 16 digits.
  case entry(UInt64)
  /// Bytes of a file as digits.
  case digits(String)
  case numbers([UInt64])
  case addresses([UInt64])
  case words(String)
  /// A difference below zero.
  case negative(UInt64)

  /// As texts show it.
  package var text: String {
    switch self {
    case .number(let value): "\(value)"
    case .byte(let value): (value < 16 ? "0" : "") + String(value, radix: 16)
    case .address(let value): "0x" + String(value, radix: 16)
    case .entry(let value): Self.digits(of: value)
    case .digits(let digits): digits
    case .numbers(let values): values.map { "\($0)" }.joined(separator: " ")
    case .addresses(let values): values.map { "0x" + String($0, radix: 16) }.joined(separator: " ")
    case .words(let words): words
    case .negative(let value): "-\(value)"
    }
  }

  static func digits(of value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  /// As one number; nil for what is none.
  var number: UInt64? {
    switch self {
    case .number(let value), .address(let value), .entry(let value): value
    case .byte(let value): UInt64(value)
    default: nil
    }
  }

  /// Whether it stands to a written value as a fact says. Numbers may be written in any way, entries have 16 digits,
  /// lists have blanks.
  package func agrees(_ relation: Lesson.Fact.Relation, _ written: String) -> Bool {
    switch relation {
    case .less: return number.flatMap { mine in Size.bytes(written).map { mine < $0 } } ?? false
    case .more: return number.flatMap { mine in Size.bytes(written).map { mine > $0 } } ?? false
    case .equal: break
    }
    switch self {
    case .number(let value), .address(let value): return Size.bytes(written) == value
    case .byte(let value): return Size.bytes(written) == UInt64(value)
    case .entry(let value): return written.count == 16 && UInt64(written, radix: 16) == value
    case .digits(let digits): return digits == written.lowercased().filter { $0 != " " }
    case .numbers(let values), .addresses(let values):
      let words = written.split(separator: " ")
      return words.count == values.count && zip(words, values).allSatisfy { Size.bytes(String($0)) == $1 }
    case .words(let words): return words == written
    case .negative: return text == written
    }
  }
}

extension QueryValue {
  /// Whether a learner's answer says the same: decimal, hexadecimal or with k, M, G, digits with or without 0x, lists with
  /// blanks or commas, in any case.
  package func isSaid(by answer: String) -> Bool {
    let words = answer.lowercased().split(whereSeparator: \.separatesValues).map(String.init)
    func hex(_ word: String) -> String { word.hasPrefix("0x") ? String(word.dropFirst(2)) : word }
    switch self {
    case .entry(let value):
      let digits = hex(words.joined())
      return digits.count <= 16 && UInt64(digits, radix: 16) == value
    case .byte(let value): return words.count == 1 && UInt64(hex(words[0]), radix: 16) == UInt64(value)
    case .address(let value):
      guard words.count == 1 else { return false }
      return Size.bytes(words[0]) == value || UInt64(words[0], radix: 16) == value
    case .digits(let digits): return hex(words.joined()) == digits
    case .words(let text):
      return words.joined(separator: " ")
        == text.lowercased().split(whereSeparator: \.separatesValues).joined(separator: " ")
    default: return agrees(.equal, words.joined(separator: " "))
    }
  }
}

extension Character {
  /// Stands between values that are typed one after the other.
  var separatesValues: Bool { self == " " || self == "," || self == ";" || self == "\t" }
}
