// A small tree of named values with two printers, JSON for programs and lines for people, each of them indented
// or in one line. Reports are built once as such a tree, so that both show the same facts in the same order.

import Cartography

/// A member of an object, and one value of a record.
package typealias Field = ReportValue.Member

/// A value of a report.
package indirect enum ReportValue: Equatable, Sendable {
  case string(String)
  case number(UInt64)
  case bool(Bool)
  /// Nothing is known; for people it is empty.
  case unknown
  /// A number that may be negative; positive ones have a sign for people.
  case signed(Int64)
  /// A number with that many decimals.
  case decimal(Double, places: Int)
  /// A place in bytes, hexadecimal for people and a plain number in JSON.
  case offset(UInt64)
  /// A raw 64-bit entry.
  case entry(UInt64)
  /// A raw 32-bit map.
  case bits(UInt32)
  case array([ReportValue])
  /// Members in the order in which they are printed.
  case object([Member])

  /// A name with its value.
  package struct Member: Equatable, Sendable {
    package var name: String
    /// What it is.
    package var value: ReportValue
    package init(_ name: String, _ value: ReportValue) {
      self.name = name
      self.value = value
    }
  }

  // MARK: JSON

  /// JSON, four spaces per level from `indent` spaces on, without a newline at the end.
  package func json(indent: Int = 0) -> String {
    let inner = Self.spaces(indent + 4)
    switch self {
    case .array(let items):
      let lines = items.map { inner + $0.json(indent: indent + 4) }
      return "[\n" + Self.joined(lines) + Self.spaces(indent) + "]"
    case .object(let members):
      let lines = members.map { inner + Escaping.json($0.name) + ": " + $0.value.json(indent: indent + 4) }
      return "{\n" + Self.joined(lines) + Self.spaces(indent) + "}"
    default: return jsonLine
    }
  }

  /// JSON in one line.
  package var jsonLine: String {
    switch self {
    case .string(let value): return Escaping.json(value)
    case .number(let value), .offset(let value): return String(value)
    case .bool(let value): return value ? "true" : "false"
    case .unknown: return "null"
    case .signed(let value): return String(value)
    case .decimal(let value, let places): return Notation.decimals(value, places)
    case .entry(let value): return "\"0x" + Notation.hex(value, width: 16) + "\""
    case .bits(let value): return "\"0x" + Notation.hex(UInt64(value), width: 8) + "\""
    case .array(let items): return "[" + items.map(\.jsonLine).joined(separator: ", ") + "]"
    case .object(let members):
      return "{" + members.map { Escaping.json($0.name) + ": " + $0.value.jsonLine }.joined(separator: ", ")
        + "}"
    }
  }

  // MARK: For people

  /// Lines for people: `name: value`, containers one level further in, array items by number.
  package func human(indent: Int) -> String {
    switch self {
    case .array(let items):
      var text = ""
      for (number, item) in items.enumerated() { text += Self.line("[\(number)]", item, indent) }
      return text
    case .object(let members):
      var text = ""
      for member in members {
        text += Self.line(String(member.name.map { $0 == "-" ? " " : $0 }), member.value, indent)
      }
      return text
    // The genuine tool prints truth as JSON does.
    case .bool: return jsonLine
    default: return humanLine
    }
  }

  /// One line for people: "l1 0  l2 80  guest 0x500000 …". What is named "text" stands without its name, and
  /// what is empty is left out.
  package var humanLine: String {
    switch self {
    case .string(let value): return Escaping.human(value)
    case .number(let value): return String(value)
    case .bool(let value): return value ? "yes" : "no"
    case .unknown: return ""
    case .signed(let value): return (value > 0 ? "+" : "") + String(value)
    case .decimal(let value, let places): return Notation.decimals(value, places)
    case .offset(let value): return "0x" + Notation.hex(value)
    case .entry(let value): return Notation.hex(value, width: 16)
    case .bits(let value): return Notation.hex(UInt64(value), width: 8)
    case .array(let items): return items.map(\.humanLine).joined(separator: ", ")
    case .object(let members):
      return members.map { $0.name == "text" ? $0.value.humanLine : $0.name + " " + $0.value.humanLine }
        .filter { !$0.isEmpty }.joined(separator: "  ")
    }
  }

  private static func line(_ name: String, _ value: ReportValue, _ indent: Int) -> String {
    let start = spaces(indent) + Escaping.human(name) + ":"
    switch value {
    case .array, .object: return start + "\n" + value.human(indent: indent + 4)
    default: return start + " " + value.human(indent: 0) + "\n"
    }
  }

  private static func joined(_ lines: [String]) -> String {
    lines.isEmpty ? "" : lines.joined(separator: ",\n") + "\n"
  }

  private static func spaces(_ count: Int) -> String { String(repeating: " ", count: count) }
}
