// The option list of a "json:{…}" name, read into flat names with dots. The text comes from an
// image, so depth and number of members are bounded and everything unusual is refused.

import Storage

/// A parsed list of options.
package struct JsonName: Equatable {
  /// Values by their flat names: `{"file": {"filename": "a"}}` is `file.filename`. Numbers and words
  /// are kept as they are written.
  package private(set) var members: [String: String] = [:]

  /// Why a text is refused.
  package struct Failure: Error, Equatable {
    /// What is wrong with the text.
    package var reason: String
  }

  static let maximumDepth = 8
  /// Members of a name at most.
  package static let maximumMembers = 64

  private var text: [UInt8] = []
  private var at = 0
  private let most: Int

  /// Reads the text behind "json:", or another object of at most so many members.
  ///
  /// - Throws: ``Failure`` for text that is no object of names and values.
  package init(_ text: String, most: Int = maximumMembers) throws(Failure) {
    self.text = ByteText.bytes(text)
    self.most = most
    skipBlanks()
    guard peek == UInt8(ascii: "{") else { throw Failure(reason: "an object is expected") }
    try readObject(prefix: "", depth: 1)
    skipBlanks()
    guard at == self.text.count else { throw Failure(reason: "something follows behind the object") }
    self.text = []
  }

  private var peek: UInt8? { at < text.count ? text[at] : nil }

  private mutating func skipBlanks() {
    while let byte = peek, byte == 0x20 || (9...10).contains(byte) || byte == 13 { at += 1 }
  }

  private mutating func take(_ byte: UInt8) -> Bool {
    skipBlanks()
    guard peek == byte else { return false }
    at += 1
    return true
  }

  private mutating func expect(_ byte: UInt8) throws(Failure) {
    guard take(byte) else {
      let found = at < text.count ? "at byte \(at)" : "at its end"
      throw Failure(reason: "'\(Character(Unicode.Scalar(byte)))' is expected \(found)")
    }
  }

  private mutating func readObject(prefix: String, depth: Int) throws(Failure) {
    guard depth <= Self.maximumDepth else { throw Failure(reason: "it is nested too deeply") }
    try expect(UInt8(ascii: "{"))
    if take(UInt8(ascii: "}")) { return }
    repeat {
      skipBlanks()
      let name = prefix + (try readString())
      try expect(UInt8(ascii: ":"))
      skipBlanks()
      try readValue(name, depth: depth)
    } while take(UInt8(ascii: ","))
    try expect(UInt8(ascii: "}"))
  }

  private mutating func readValue(_ name: String, depth: Int) throws(Failure) {
    skipBlanks()
    if peek == UInt8(ascii: "{") { return try readObject(prefix: name + ".", depth: depth + 1) }
    if peek == UInt8(ascii: "[") { return try readList(name, depth: depth + 1) }
    let value = try readScalar()
    guard members[name] == nil else { throw Failure(reason: "'\(name)' is given twice") }
    guard members.count < most else { throw Failure(reason: "it has too many members") }
    members[name] = value
  }

  /// The values of a list have their numbers for names.
  private mutating func readList(_ name: String, depth: Int) throws(Failure) {
    guard depth <= Self.maximumDepth else { throw Failure(reason: "it is nested too deeply") }
    try expect(UInt8(ascii: "["))
    if take(UInt8(ascii: "]")) { return }
    var number = 0
    repeat {
      try readValue("\(name).\(number)", depth: depth)
      number += 1
    } while take(UInt8(ascii: ","))
    try expect(UInt8(ascii: "]"))
  }

  private mutating func readScalar() throws(Failure) -> String {
    if peek == UInt8(ascii: "\"") || peek == UInt8(ascii: "'") { return try readString() }
    let start = at
    while let byte = peek, Self.isWord(byte) { at += 1 }
    guard at > start else { throw Failure(reason: "a text, a number or an object is expected at byte \(at)") }
    return String(decoding: text[start..<at], as: UTF8.self)
  }

  private static func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."):
      true
    default: false
    }
  }

  /// A text in double or single quotes.
  private mutating func readString() throws(Failure) -> String {
    guard let quote = peek, quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") else {
      throw Failure(reason: at < text.count ? "a text is expected at byte \(at)" : "it ends too early")
    }
    at += 1
    var bytes: [UInt8] = []
    while let byte = peek {
      at += 1
      if byte == quote { return ByteText.text(bytes) }
      guard byte >= 0x20 else { throw Failure(reason: "a text has a control character") }
      guard byte == UInt8(ascii: "\\") else {
        bytes.append(byte)
        continue
      }
      bytes += Array(String(try readEscape()).utf8)
    }
    throw Failure(reason: "a text has no end")
  }

  private mutating func readEscape() throws(Failure) -> Unicode.Scalar {
    guard let byte = peek else { throw Failure(reason: "a text has no end") }
    at += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "\\"), UInt8(ascii: "/"):
      return Unicode.Scalar(byte)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{c}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): return try readCodePoint()
    default: throw Failure(reason: "a text has an unknown escape")
    }
  }

  private mutating func readCodePoint() throws(Failure) -> Unicode.Scalar {
    var value = try readUnit()
    if value & 0xfc00 == 0xd800, peek == UInt8(ascii: "\\") {
      at += 1
      guard peek == UInt8(ascii: "u") else { throw Failure(reason: "half of a character is missing") }
      at += 1
      let low = try readUnit()
      guard low & 0xfc00 == 0xdc00 else { throw Failure(reason: "half of a character is missing") }
      value = 0x10000 + (value & 0x3ff) << 10 + low & 0x3ff
    }
    // A zero would end the name early for the host.
    guard value != 0, let scalar = Unicode.Scalar(value) else {
      throw Failure(reason: "a text has an invalid character")
    }
    return scalar
  }

  private mutating func readUnit() throws(Failure) -> UInt32 {
    guard at + 4 <= text.count,
      let value = UInt32(String(decoding: text[at..<at + 4], as: UTF8.self), radix: 16)
    else {
      throw Failure(reason: "an escape needs four hexadecimal digits")
    }
    at += 4
    return value
  }
}
