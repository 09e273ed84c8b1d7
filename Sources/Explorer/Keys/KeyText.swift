// A sentence that names keys by what they do: `"\(key: .undo) takes it back"`. The key that is bound now is put
// in where the sentence is shown.

/// Words with keys in them.
package struct KeyText: Sendable, ExpressibleByStringInterpolation {
  fileprivate enum Piece: Sendable {
    case text(String)
    case key(CommandID, [String])
  }

  private var pieces: [Piece]

  /// Text without keys.
  package init(stringLiteral text: String) { pieces = [.text(text)] }
  /// Text with the names of keys that are looked up when it is shown.
  package init(stringInterpolation made: StringInterpolation) { pieces = made.pieces }

  /// Collects text and keys in their order.
  package struct StringInterpolation: StringInterpolationProtocol {
    fileprivate var pieces: [Piece] = []

    package init(literalCapacity: Int, interpolationCount: Int) {}
    /// Text as it is.
    package mutating func appendLiteral(_ text: String) { pieces.append(.text(text)) }
    /// The text of a value.
    package mutating func appendInterpolation(_ text: some CustomStringConvertible) {
      pieces.append(.text(text.description))
    }
    /// The key of a command.
    package mutating func appendInterpolation(key id: CommandID, _ arguments: String...) {
      pieces.append(.key(id, arguments))
    }
  }

  /// There is nothing to show.
  package var isEmpty: Bool { pieces.isEmpty }

  /// The words with the keys of a context.
  package func text(_ keys: KeyMap, in context: Context) -> String {
    pieces.map { piece in
      switch piece {
      case .text(let text): text
      case .key(let id, let arguments): keys.name(id, arguments, in: context)
      }
    }.joined()
  }
}
