// JSON as a value, because the vectors mix numbers, words and lists in one array.
// Reading something that is not there says what was expected, so that a broken vector is found fast.

import Foundation
import TestSupport

/// A piece of JSON.
enum Json: Decodable, Equatable {
  case null
  case bool(Bool)
  case number(UInt64)
  case string(String)
  case array([Json])
  case object([String: Json])

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(UInt64.self) {
      self = .number(value)
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode([Json].self) {
      self = .array(value)
    } else if let value = try? container.decode([String: Json].self) {
      self = .object(value)
    } else {
      self = .bool(try container.decode(Bool.self))
    }
  }

  /// Reads a file of the vectors folder beside this source.
  static func vector(_ name: String, file: String = #filePath) throws -> Json {
    let folder = URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent("Vectors")
    let data = try Data(contentsOf: folder.appendingPathComponent(name + ".json"))
    return try JSONDecoder().decode(Json.self, from: data)
  }

  subscript(_ key: String) -> Json {
    if case .object(let fields) = self { return fields[key] ?? .null }
    return .null
  }

  subscript(_ index: Int) -> Json {
    if case .array(let items) = self, items.indices.contains(index) { return items[index] }
    return .null
  }

  var items: [Json] {
    if case .array(let items) = self { return items }
    return []
  }

  var fields: [String: Json] {
    if case .object(let fields) = self { return fields }
    return [:]
  }

  func number(_ what: String) throws -> UInt64 {
    guard case .number(let value) = self else {
      throw TestFailure("\(what) should be a number and is \(self)")
    }
    return value
  }

  func string(_ what: String) throws -> String {
    guard case .string(let value) = self else { throw TestFailure("\(what) should be a text and is \(self)") }
    return value
  }

  /// Numbers as the vectors write options: 4096, "512", "2M", "16k".
  func size(_ what: String) throws -> UInt64 {
    if case .number(let value) = self { return value }
    let text = try string(what)
    let units: [Character: UInt64] = ["k": 1 << 10, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30]
    if let last = text.last, let unit = units[last], let value = UInt64(text.dropLast()) {
      return value * unit
    }
    guard let value = UInt64(text) else { throw TestFailure("\(what) should be a size and is \(text)") }
    return value
  }

  /// True for true, "on" and every number but 0; false for what is missing.
  var isOn: Bool {
    switch self {
    case .bool(let value): value
    case .string(let text): text == "on"
    case .number(let value): value != 0
    default: false
    }
  }
}
