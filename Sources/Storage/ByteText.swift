// Names of files, and whatever else is bytes for the host and a text for people. A Swift string cannot
// hold bytes that are no UTF-8, and repairing them would make two names one and lose both.

internal import CSys
internal import Glibc

/// Text that keeps every byte it was made of.
///
/// Bytes that are no UTF-8 become one scalar each, from U+10FF80 for 0x80 to U+10FFFF for 0xff. Where
/// these scalars stand in the bytes themselves, each of their four bytes is kept in the same way, so
/// that no two names become one text. People see such a byte as `\xff`.
package enum ByteText {
  private static let first = UInt32(CSYS_RAW_BYTES)
  /// The first scalar that stands for a byte.
  private static let firstScalar = first + 0x80

  /// The text for some bytes; ``bytes(_:)`` gives exactly these back.
  package static func text(_ bytes: some Collection<UInt8>) -> String {
    if let whole = String(validating: bytes, as: UTF8.self), !whole.unicodeScalars.contains(where: isByte) {
      return whole
    }
    let bytes = Array(bytes)
    var result = String.UnicodeScalarView()
    var at = 0
    while at < bytes.count {
      // A scalar has four bytes at most; the shortest piece that is UTF-8 is the scalar.
      let length = (1...4).first {
        at + $0 <= bytes.count && String(validating: bytes[at..<at + $0], as: UTF8.self) != nil
      }
      if let length,
        let scalar = String(decoding: bytes[at..<at + length], as: UTF8.self).unicodeScalars.first,
        !isByte(scalar)
      {
        result.append(scalar)
        at += length
      } else {
        if let scalar = Unicode.Scalar(first + UInt32(bytes[at])) { result.append(scalar) }
        at += 1
      }
    }
    return String(result)
  }

  /// The bytes of a text, as files and system calls want them.
  package static func bytes(_ text: String) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(text.utf8.count)
    guard text.unicodeScalars.contains(where: isByte) else { return Array(text.utf8) }
    for scalar in text.unicodeScalars {
      if let byte = byte(scalar) {
        result.append(byte)
      } else {
        result.append(contentsOf: UTF8.encode(scalar) ?? .init())
      }
    }
    return result
  }

  /// The byte that a scalar stands for; nil for scalars that are text.
  package static func byte(_ scalar: Unicode.Scalar) -> UInt8? {
    isByte(scalar) ? UInt8(truncatingIfNeeded: scalar.value) : nil
  }

  private static func isByte(_ scalar: Unicode.Scalar) -> Bool { scalar.value >= firstScalar }

  /// Whether a scalar moves the cursor, reorders or hides what stands beside it, or has no look of its
  /// own: control characters, bidirectional controls and others that are invisible, and stand-ins for
  /// bytes that are no text.
  package static func isHidden(_ scalar: Unicode.Scalar) -> Bool {
    let value = scalar.value
    if value < 0xa0 { return value < 0x20 || value >= 0x7f }
    if isByte(scalar) || value & 0xfffe == 0xfffe || (0xfdd0...0xfdef).contains(value) {
      return true
    }
    switch scalar.properties.generalCategory {
    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate: return true
    default: return scalar.properties.isDefaultIgnorableCodePoint
    }
  }

  /// Whether a text begins with another, byte for byte.
  package static func starts(_ text: String, with start: String) -> Bool {
    text.utf8.starts(with: start.utf8)
  }

  /// A path up to its last slash, the slash included; empty if it has none behind its first `start` bytes.
  package static func folder(of path: String, from start: Int = 0) -> String {
    let bytes = path.utf8
    guard let slash = bytes.dropFirst(start).lastIndex(of: UInt8(ascii: "/")) else { return "" }
    return String(bytes[...slash]) ?? ""
  }

  /// What follows the last slash of a path.
  package static func lastPart(of path: String) -> String {
    String(path.utf8.dropFirst(folder(of: path).utf8.count)) ?? path
  }

  /// The lines of a text that came as bytes; the last one need not end.
  package static func lines(_ bytes: [UInt8]) -> [String] {
    bytes.split(separator: UInt8(ascii: "\n")).map { text($0) }
  }

  /// Whether two texts are the same bytes. Strings are also equal when they only look the same, which
  /// two files may.
  package static func areSame(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }

  /// The bytes with a zero behind them, for a system call.
  package static func withCString<T>(_ text: String, _ body: (UnsafePointer<CChar>) -> T) -> T {
    unsafe withCString(bytes(text), body)
  }

  static func withCString<T>(_ bytes: [UInt8], _ body: (UnsafePointer<CChar>) -> T) -> T {
    let characters = bytes.map { CChar(bitPattern: $0) } + [0]
    return unsafe characters.withUnsafeBufferPointer { buffer in
      guard let base = buffer.baseAddress else { preconditionFailure("the text has at least its end") }
      return unsafe body(base)
    }
  }

  /// The text of a C string, or of the part of it before its end.
  package static func text(cString: UnsafePointer<CChar>) -> String {
    text(unsafe UnsafeBufferPointer(start: cString, count: strlen(cString)).map { UInt8(bitPattern: $0) })
  }
}
