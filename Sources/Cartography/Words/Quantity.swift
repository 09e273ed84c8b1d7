// Numbers in commands: `512`, `0x500000`, `64k`, `1.5M`. One reader serves offsets, lengths, bytes and
// counts, so that every command takes the same forms.

/// Reading numbers, with the errors of commands.
package enum Quantity {
  /// Bytes, below 2^63.
  ///
  /// - Throws: ``CommandError`` for what is no number or not below 2^63.
  package static func bytes(_ text: String) throws(CommandError) -> UInt64 {
    do throws(Notation.ParseError) { return try Notation.parse(text) } catch {
      throw CommandError(error.description)
    }
  }

  /// One byte, 0 to 255.
  ///
  /// - Throws: ``CommandError`` for what is no number from 0 to 255.
  package static func byte(_ text: String) throws(CommandError) -> UInt8 {
    guard let byte = UInt8(exactly: try bytes(text)) else {
      throw CommandError("\(text) is not a byte; write 0 to 255 or 0x00 to 0xff")
    }
    return byte
  }

  /// An index or a repetition.
  ///
  /// - Throws: ``CommandError`` for what is no number.
  package static func index(_ text: String) throws(CommandError) -> Int {
    guard let index = Int(exactly: try bytes(text)) else { throw CommandError("\(text) is too large") }
    return index
  }
}
