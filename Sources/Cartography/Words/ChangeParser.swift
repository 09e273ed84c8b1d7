// From the words of a person to a verb with its values, by what the verb declares. One reader serves the
// prompt, the dialogs and the command line.

package import Qcow

/// Reading verbs.
package enum ChangeParser {
  /// The verb of that name; nil if there is none.
  package static func named(_ name: String) -> (any Change.Type)? {
    Changes.all.first { $0.words.name == name }
  }

  /// A verb with the words behind its name.
  /// - Throws: ``CommandError`` if there are too few, too many or unknown words.
  package static func parse(_ type: any Change.Type, _ words: [String]) throws(CommandError) -> any Change {
    let declared = type.words
    var values = ChangeValues()
    for word in words {
      if declared.options.contains(where: { $0.flag == word }) {
        values.flags.insert(word)
      } else if values.arguments.count < declared.arguments.count {
        values.arguments.append(try value(word, declared.arguments[values.arguments.count].kind, declared))
      } else if declared.options.isEmpty {
        throw CommandError("too many words for :\(declared.name); use \(declared.usage)")
      } else {
        throw unknown(word, declared)
      }
    }
    if values.arguments.count < declared.arguments.count {
      let missing = declared.arguments[values.arguments.count].name
      throw CommandError(":\(declared.name) needs \(missing); use \(declared.usage)")
    }
    do throws(ImageError) { return try type.init(values) } catch { throw CommandError(error.description) }
  }

  private static func unknown(_ word: String, _ declared: ChangeWords) -> CommandError {
    CommandError(":\(declared.name) does not know '\(word)'; use \(declared.usage)")
  }

  private static func value(
    _ word: String, _ kind: ChangeWords.Kind, _ declared: ChangeWords
  ) throws(CommandError) -> ChangeValues.Value {
    switch kind {
    case .name, .snapshot, .bitmap: return .text(word)
    case .size:
      if word.hasPrefix("--") { throw unknown(word, declared) }
      return .size(try size(word))
    case .options:
      if word.hasPrefix("--") { throw unknown(word, declared) }
      do throws(AmendmentWords.Refusal) { return .options(try AmendmentWords.amendment(word)) } catch {
        throw CommandError(error.description)
      }
    }
  }

  /// A size, or a change of it with a sign in front.
  /// - Throws: ``CommandError`` if it is no number below 2^63.
  package static func size(_ text: String) throws(CommandError) -> DiskSize {
    switch text.first {
    case "+": .larger(by: try Quantity.bytes(String(text.dropFirst())))
    case "-": .smaller(by: try Quantity.bytes(String(text.dropFirst())))
    default: .to(try Quantity.bytes(text))
    }
  }
}

extension ChangeWords {
  /// `:resize [--shrink] SIZE`
  package var usage: String {
    ([":" + name] + options.map { "[\($0.flag)]" } + arguments.map(\.name)).joined(separator: " ")
  }
}
