// Where a passphrase comes from, as the command line says it: in our words ("file=PATH") or in those
// of the genuine tools ("secret,id=NAME,data=TEXT").

import Cartography

/// The source of one passphrase.
package struct SecretRequest: Equatable, Sendable {
  /// Why the words make no sense.
  package typealias Refusal = CreateRequest.Refusal

  /// Where the passphrase comes from.
  package enum Source: Equatable, Sendable {
    case prompt
    /// All bytes of a file; a newline at its end counts.
    case file(String)
    /// A variable of the environment.
    case environment(String)
    case data(String)
  }

  /// Where the passphrase comes from.
  package var source: Source
  /// The bytes are base64 text.
  package var isBase64 = false
  /// The name by which `--image-opts` refers to it.
  package var id: String?

  /// The value of `--secret`.
  ///
  /// - Throws: ``Refusal`` for a word that names no source.
  package init(option: String) throws(Refusal) {
    let equals = option.firstIndex(of: "=")
    let value = equals.map { String(option[option.index(after: $0)...]) } ?? ""
    switch (String(option[..<(equals ?? option.endIndex)]), equals == nil, value.isEmpty) {
    case ("prompt", true, _): source = .prompt
    case ("file", false, false): source = .file(value)
    case ("env", false, false): source = .environment(value)
    // The value may be the passphrase itself, so it is not repeated.
    default:
      throw Refusal("--secret takes prompt, file=PATH or env=NAME; a passphrase itself does not belong there")
    }
  }

  /// The value of `--object`.
  ///
  /// - Throws: ``Refusal`` for an object that is no secret, or names no source.
  package init(object: String) throws(Refusal) {
    var source: Source?
    var type: String?
    for item in try CreateRequest.items(of: object, firstIsValue: true) {
      let (name, value) = CreateRequest.sides(of: item)
      switch (name, value) {
      case (_, nil) where type == nil: type = name
      case ("qom-type", let value?): type = value
      case ("id", let value?): id = value
      case ("data", let value?): source = try Self.only(source, .data(value))
      case ("file", let value?): source = try Self.only(source, .file(value))
      case ("format", "raw"): isBase64 = false
      case ("format", "base64"): isBase64 = true
      case ("format", _): throw Refusal("Parameter 'format' expects 'raw' or 'base64'")
      case ("keyid", _), ("iv", _): throw Refusal("secrets that are themselves encrypted are not supported")
      default: throw Refusal("Property 'secret.\(Escaping.human(name))' not found")
      }
    }
    guard type == "secret" else {
      throw Refusal("--object: only secrets are supported, secret,id=NAME,file=PATH")
    }
    guard id != nil else { throw Refusal("Parameter 'id' is missing") }
    guard let source else { throw Refusal("Either 'file' or 'data' must be provided") }
    self.source = source
  }

  private static func only(_ old: Source?, _ new: Source) throws(Refusal) -> Source {
    guard old == nil else { throw Refusal("'file' and 'data' are mutually exclusive") }
    return new
  }

  /// Decodes base64 text where it is; returns how many bytes it makes, nil if it is none.
  package static func decodeBase64(_ bytes: UnsafeMutableRawBufferPointer) -> Int? {
    var made = 0
    var bits: UInt32 = 0
    var held = 0
    var letters = 0
    var padding = 0
    for at in 0..<bytes.count {
      let letter = unsafe bytes[at]
      let value: UInt8
      switch letter {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = letter - 65
      case UInt8(ascii: "a")...UInt8(ascii: "z"): value = letter - 71
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = letter + 4
      case UInt8(ascii: "+"): value = 62
      case UInt8(ascii: "/"): value = 63
      case UInt8(ascii: "\n"), UInt8(ascii: "\r"): continue
      case UInt8(ascii: "="):
        padding += 1
        continue
      default: return nil
      }
      guard padding == 0 else { return nil }
      letters += 1
      bits = (bits << 6 | UInt32(value)) & 0xffff
      held += 6
      if held >= 8 {
        held -= 8
        unsafe bytes[made] = UInt8(truncatingIfNeeded: bits >> UInt32(held))
        made += 1
      }
    }
    guard (letters + padding) % 4 == 0, padding <= 2 else { return nil }
    return made
  }
}
