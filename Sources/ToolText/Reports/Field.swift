// A record of a listing: names with values, printed as one line for people or one JSON object. Both
// carry the same facts in the same order.

import Cartography

/// One value of a record.
struct Field {
  enum Value {
    case text(String)
    case number(UInt64)
    /// A number that may be negative, with its sign for people.
    case signed(Int64)
    /// A number with that many decimals.
    case decimal(Double, places: Int)
    /// "yes" or "no" for people.
    case flag(Bool)
    /// A place, hexadecimal for people and a plain number in JSON.
    case offset(UInt64)
    /// A raw 64-bit entry.
    case entry(UInt64)
    /// A raw 32-bit map.
    case bits(UInt32)
  }

  var name: String
  var value: Value

  init(_ name: String, _ value: Value) {
    self.name = name
    self.value = value
  }

  /// "l1 0  l2 80  guest 0x500000 …"; free text at the end stands without its name.
  static func human(_ fields: [Field]) -> String {
    fields.map { field in
      let text: String
      switch field.value {
      case .text(let value): text = Escaping.human(value)
      case .number(let value): text = String(value)
      case .flag(let value): text = value ? "yes" : "no"
      case .signed(let value): text = (value > 0 ? "+" : "") + String(value)
      case .decimal(let value, let places): text = Notation.decimals(value, places)
      case .offset(let value): text = "0x" + Notation.hex(value)
      case .entry(let value): text = Notation.hex(value, width: 16)
      case .bits(let value): text = Notation.hex(UInt64(value), width: 8)
      }
      return field.name == "text" ? text : field.name + " " + text
    }.filter { !$0.isEmpty }.joined(separator: "  ")
  }

  static func json(_ fields: [Field]) -> String {
    let members = fields.map { field in
      let text: String
      switch field.value {
      case .text(let value): text = Escaping.json(value)
      case .number(let value), .offset(let value): text = String(value)
      case .flag(let value): text = value ? "true" : "false"
      case .signed(let value): text = String(value)
      case .decimal(let value, let places): text = Notation.decimals(value, places)
      case .entry(let value): text = "\"0x" + Notation.hex(value, width: 16) + "\""
      case .bits(let value): text = "\"0x" + Notation.hex(UInt64(value), width: 8) + "\""
      }
      return Escaping.json(field.name) + ": " + text
    }
    return "{" + members.joined(separator: ", ") + "}"
  }
}
