// A small tree of named values with two printers: indented JSON for programs and indented lines for
// people. Reports are built once as such a tree, so that both show the same facts.

import Cartography

/// A value of a report.
package indirect enum ReportValue: Equatable, Sendable {
  case string(String)
  case number(UInt64)
  case bool(Bool)
  case array([ReportValue])
  /// Members in the order in which they are printed.
  case object([Member])

  package struct Member: Equatable, Sendable {
    package var name: String
    package var value: ReportValue
    package init(_ name: String, _ value: ReportValue) {
      self.name = name
      self.value = value
    }
  }

  /// JSON, four spaces per level, without a newline at the end.
  package func json(indent: Int = 0) -> String {
    let inner = Self.spaces(indent + 4)
    switch self {
    case .string(let text): return Escaping.json(text)
    case .number(let value): return String(value)
    case .bool(let value): return value ? "true" : "false"
    case .array(let items):
      let lines = items.map { inner + $0.json(indent: indent + 4) }
      return "[\n" + Self.joined(lines) + Self.spaces(indent) + "]"
    case .object(let members):
      let lines = members.map { inner + Escaping.json($0.name) + ": " + $0.value.json(indent: indent + 4) }
      return "{\n" + Self.joined(lines) + Self.spaces(indent) + "}"
    }
  }

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
    case .string(let text): return Escaping.human(text)
    case .number, .bool: return json()
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
