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
    let values = try Self.values(type.words, words)
    do throws(ImageError) { return try type.init(values) } catch { throw CommandError(error.description) }
  }

  /// The words behind the name of a verb as values.
  /// - Throws: ``CommandError`` if there are too few, too many or unknown words.
  package static func values(
    _ declared: ChangeWords, _ words: [String]
  ) throws(CommandError) -> ChangeValues {
    var values = ChangeValues()
    var rest = words[...]
    while let word = rest.popFirst() {
      if let option = declared.options.first(where: { $0.flag == word }) {
        if let argument = option.value {
          guard let text = rest.popFirst() else {
            throw CommandError("\(word) needs \(argument.name); use \(declared.usage)")
          }
          values.options[word] = try value(text, argument.kind, declared)
        } else {
          values.flags.insert(word)
        }
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
    return values
  }

  /// Words of a line that need not be whole: options with their values, and arguments.
  package static func sorted(
    _ words: [String], _ declared: ChangeWords
  ) -> (options: [String], arguments: [String]) {
    var (options, arguments): ([String], [String]) = ([], [])
    var rest = words[...]
    while let word = rest.popFirst() {
      guard let option = declared.options.first(where: { $0.flag == word }) else {
        arguments.append(word)
        continue
      }
      options.append(word)
      if option.value != nil, let value = rest.popFirst() { options.append(value) }
    }
    return (options, arguments)
  }

  private static func unknown(_ word: String, _ declared: ChangeWords) -> CommandError {
    CommandError(":\(declared.name) does not know '\(word)'; use \(declared.usage)")
  }

  private static func value(
    _ word: String, _ kind: ChangeWords.Kind, _ declared: ChangeWords
  ) throws(CommandError) -> ChangeValues.Value {
    switch kind {
    case .name, .layer, .file, .snapshot, .bitmap: return .text(word)
    case .size, .offset:
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

extension ChangeWords.Option {
  /// `-F FORMAT`
  package var usage: String { flag + (value.map { " " + $0.name } ?? "") }
}

extension ChangeWords {
  /// `:resize [--shrink] SIZE`
  package var usage: String {
    ([":" + name] + options.map { "[\($0.usage)]" } + arguments.map(\.name)).joined(separator: " ")
  }
}
