// What `qatlas dd` was asked for: words with an equals sign, as the tool of that name has them.

import Cartography

/// A request to copy blocks.
package struct BlockCopyRequest {
  /// Why the words make no sense.
  package typealias Refusal = CreateRequest.Refusal

  /// The file to read, and the file to make.
  package let input: String
  /// See ``input``.
  package let output: String
  /// Bytes of a block.
  package private(set) var blockSize: UInt64 = 512
  /// Blocks to copy, counted from the start of the input; nil for all.
  package private(set) var count: UInt64?
  /// Blocks of the input to leave out.
  package private(set) var skip: UInt64 = 0

  /// - Throws: ``Refusal`` for a word that is none of these.
  package init(_ words: [String]) throws(Refusal) {
    var input: String?
    var output: String?
    for word in words {
      let (name, value) = CreateRequest.sides(of: word)
      guard let value else { throw Self.unknown(name) }
      switch name {
      case "bs":
        blockSize = try ConvertRequest.number("bs", value, in: 1...UInt64(Int32.max)) ?? 512
      case "count": count = try ConvertRequest.number("count", value)
      case "skip": skip = try ConvertRequest.number("skip", value) ?? 0
      case "if": input = value
      case "of": output = value
      default: throw Self.unknown(name)
      }
    }
    guard let input, let output else { throw Refusal("Must specify both input and output files") }
    self.input = input
    self.output = output
  }

  private static func unknown(_ word: String) -> Refusal {
    Refusal("unrecognized operand \(Escaping.human(word))")
  }

  /// The bytes to copy of an input of so many; nil if it ends before they begin.
  package func range(of size: UInt64) -> Range<UInt64>? {
    var end = size
    if let count {
      let (bytes, overflow) = count.multipliedReportingOverflow(by: blockSize)
      if !overflow { end = min(end, bytes) }
    }
    let (start, overflow) = skip.multipliedReportingOverflow(by: blockSize)
    return overflow || start > end ? nil : start..<end
  }
}
