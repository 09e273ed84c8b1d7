// The values of arguments and options. A type of value has a parser and the words that complete it, so that
// what Tab offers is what the command takes; a command declares the types of its own beside itself.

import Cartography

/// What completion may ask for.
struct Completing {
  /// The word as far as it is typed.
  var prefix: String
  /// Names of files that begin with a prefix.
  var files: (String) -> [String]
}

/// A type of values.
struct ValueType<Value>: Sendable {
  /// The value of a word.
  let parse: @Sendable (String) throws(CommandError) -> Value
  /// What Tab offers; not all of it begins with what is typed.
  let candidates: @Sendable (Completing) -> [String]
  /// The value may be several words.
  var isOpen = false
  /// The value is a number of times: the word takes the place of a count typed before a key.
  var isCount = false

  init(
    candidates: @escaping @Sendable (Completing) -> [String] = { _ in [] },
    parse: @escaping @Sendable (String) throws(CommandError) -> Value
  ) {
    self.parse = parse
    self.candidates = candidates
  }
}

extension ValueType where Value == UInt64 {
  /// Bytes of a place or a length.
  static var bytes: ValueType { ValueType { word throws(CommandError) in try Quantity.bytes(word) } }
}

extension ValueType where Value == UInt8 {
  static var byte: ValueType { ValueType { word throws(CommandError) in try Quantity.byte(word) } }
}

extension ValueType where Value == Int {
  /// An index.
  static var index: ValueType { ValueType { word throws(CommandError) in try Quantity.index(word) } }

  /// How many times.
  static var count: ValueType {
    var type = index
    type.isCount = true
    return type
  }
}

extension ValueType where Value == String {
  /// Any words.
  static var text: ValueType {
    var type = ValueType { word throws(CommandError) in word }
    type.isOpen = true
    return type
  }

  /// The name of a file.
  static var file: ValueType {
    ValueType(candidates: { $0.files($0.prefix) }) { word throws(CommandError) in word }
  }
}

/// One positional argument.
package struct CommandArgument: Sendable {
  /// What it is called in usage lines.
  package let name: String
  /// It may be left out.
  package let isOptional: Bool
  let isOpen: Bool
  let isCount: Bool
  let candidates: @Sendable (Completing) -> [String]

  init<Value>(_ name: String, _ type: ValueType<Value>, optional: Bool = false) {
    self.name = name
    isOptional = optional
    isOpen = type.isOpen
    isCount = type.isCount
    candidates = type.candidates
  }
}

/// One option of a command.
package struct CommandOption: Sendable {
  /// The word with its dashes.
  package let flag: String
  /// What the value is called; nil if there is none.
  package let value: String?
  /// One line.
  package let help: String
  let candidates: @Sendable (Completing) -> [String]

  package init(_ flag: String, value: String? = nil, _ help: String) {
    self.flag = flag
    self.value = value
    self.help = help
    candidates = { _ in [] }
  }

  /// One whose value can be completed.
  init<Value>(_ flag: String, _ name: String, _ type: ValueType<Value>, _ help: String) {
    self.flag = flag
    value = name
    self.help = help
    candidates = type.candidates
  }
}
