// From "compat=1.1,lazy_refcounts=on" to options with values, with the genuine tool's sentences for values that
// cannot be read. The prompt and the command line read them alike.

package import Qcow

/// Reading new values of options.
package enum AmendmentWords {
  /// What is wrong with a list.
  package struct Refusal: Error, Sendable {
    /// A sentence.
    package var description: String
    /// Further lines, with their ends.
    package var hint: String?
  }

  /// The options that can be changed.
  package static let names = [
    "backing_file", "backing_fmt", "compat", "data_file", "data_file_raw", "lazy_refcounts", "refcount_bits",
    "size",
  ]

  /// A list as it is typed in the explorer: items separated by commas, all with a value.
  ///
  /// - Throws: ``Refusal`` for an item without a value, an option that there is not, and a value that it cannot
  ///   have.
  package static func amendment(_ list: String) throws(Refusal) -> Amendment {
    var amendment = Amendment()
    for item in list.split(separator: ",", omittingEmptySubsequences: false) {
      guard let equals = item.firstIndex(of: "=") else {
        throw Refusal(description: "'\(item)' has no value; write OPTION=VALUE")
      }
      let name = String(item[..<equals])
      guard names.contains(name) else {
        throw Refusal(
          description: "'\(name)' cannot be changed; there are \(names.joined(separator: ", "))")
      }
      try set(name, String(item[item.index(after: equals)...]), in: &amendment)
    }
    return amendment
  }

  /// Gives one option a value; `name` is one of ``names``.
  ///
  /// - Throws: ``Refusal`` for a value that it cannot have.
  package static func set(
    _ name: String, _ value: String, in amendment: inout Amendment
  ) throws(Refusal) {
    switch name {
    case "backing_file": amendment.backingFile = value
    case "backing_fmt": amendment.backingFormat = value
    case "compat": amendment.compat = value
    case "data_file": amendment.dataFile = value
    case "data_file_raw": amendment.dataFileRaw = try flag(name, value)
    case "lazy_refcounts": amendment.lazyRefcounts = try flag(name, value)
    case "refcount_bits": amendment.refcountBits = try number(name, value)
    default: amendment.size = try size(name, value)
    }
  }

  private static func flag(_ name: String, _ value: String) throws(Refusal) -> Bool {
    switch value {
    case "on", "yes", "true", "y": return true
    case "off", "no", "false", "n": return false
    default: throw Refusal(description: "Parameter '\(name)' expects 'on' or 'off'")
    }
  }

  /// A number without a unit; a negative one is very large, as for the genuine tool.
  ///
  /// - Throws: ``Refusal`` for what is no number below 2^64.
  package static func number(_ name: String, _ value: String) throws(Refusal) -> UInt64 {
    let isHexadecimal = value.hasPrefix("0x") || value.hasPrefix("0X")
    if let number = isHexadecimal ? UInt64(value.dropFirst(2), radix: 16) : UInt64(value) { return number }
    if let negative = Int64(value) { return UInt64(bitPattern: negative) }
    guard !value.isEmpty, value.utf8.allSatisfy({ (48...57).contains($0) }) else {
      throw Refusal(description: "Parameter '\(name)' expects a number")
    }
    throw Refusal(description: "Value '\(Escaping.human(value))' is too large for parameter '\(name)'")
  }

  private static func size(_ name: String, _ value: String) throws(Refusal) -> UInt64 {
    do throws(Notation.ParseError) { return try Notation.parse(value) } catch {
      if case .tooLarge = error {
        throw Refusal(
          description: "Value '\(Escaping.human(value))' is out of range for parameter '\(name)'")
      }
      throw Refusal(
        description: "Parameter '\(name)' expects a non-negative number below 2^64",
        hint: """
          Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-
          and exabytes, respectively.

          """)
    }
  }
}
