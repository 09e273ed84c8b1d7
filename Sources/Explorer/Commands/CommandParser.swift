// From a typed line to a command, and from the words of a command to a request. Every sentence that
// says what was wrong with a line is made here.

package import Cartography
import Storage

/// Makes commands and requests of words.
package enum CommandParser {
  /// Words separated by blanks; double quotes keep blanks, a backslash keeps the next character.
  ///
  /// - Throws: ``CommandError`` for a line that ends inside quotes.
  package static func words(_ line: String) throws(CommandError) -> [String] {
    var words: [String] = []
    var word = ""
    var inWord = false
    var quoted = false
    var escaped = false
    for character in line {
      if escaped {
        word.append(character)
        escaped = false
      } else if character == "\\" {
        escaped = true
        inWord = true
      } else if character == "\"" {
        quoted.toggle()
        inWord = true
      } else if character == " " || character == "\t", !quoted {
        if inWord { words.append(word) }
        word = ""
        inWord = false
      } else {
        word.append(character)
        inWord = true
      }
    }
    guard !quoted, !escaped else { throw CommandError("the line ends inside quotes") }
    if inWord { words.append(word) }
    return words
  }

  /// The command of a line; a leading `:` may be there. An empty line is no command.
  ///
  /// - Throws: `CommandError` for unknown names, and for words that the command cannot take.
  ///
  /// - Throws: ``CommandError`` for a command that does not exist, and for too few or too many words.
  package static func parse(_ line: String) throws(CommandError) -> Command? {
    guard let (command, spec) = try named(line) else { return nil }
    try spec.checkWords(command)
    return command
  }

  /// The command that a key is bound to: what a line says, or without words what the dialog or prompt of the
  /// command asks for.
  static func bound(_ line: String) throws(CommandError) -> Command? {
    guard let (command, spec) = try named(line) else { return nil }
    if !command.arguments.isEmpty { try spec.checkWords(command) }
    return command
  }

  private static func named(_ line: String) throws(CommandError) -> (Command, CommandSpec)? {
    var text = Substring(line).drop { $0 == " " }
    if text.hasPrefix(":") { text = text.dropFirst() }
    var words = try words(String(text))
    guard var name = words.first else { return nil }
    words.removeFirst()
    // `:0x500000` alone is a place to go to.
    if name.first?.isNumber == true {
      words.insert(name, at: 0)
      name = CommandID.goto.name
    }
    var force = false
    if name.count > 1, name.hasSuffix("!") {
      name.removeLast()
      force = true
    }
    let spec = try CommandTable.named(name)
    guard !force || spec.takesForce else { throw CommandError("\(spec.id) has no '!' form") }
    return (Command(spec.id, words, force: force), spec)
  }

  /// The request of a `write`, `zero`, `discard` or `read` command.
  ///
  /// - Throws: ``CommandError`` for words that are no numbers or no options.
  package static func request(_ command: Command) throws(CommandError) -> Request {
    guard let spec = CommandTable.spec(command.id) else { throw CommandError("not a request") }
    let usage = "; use " + spec.usage
    var pattern: UInt8?
    var flags: Set<String> = []
    var numbers: [UInt64] = []
    var index = 0
    let words = command.arguments
    while index < words.count {
      let word = words[index]
      index += 1
      guard word.hasPrefix("-"), word.count > 1 else {
        numbers.append(try Quantity.bytes(word))
        continue
      }
      guard let option = spec.options.first(where: { $0.flag == word }) else {
        throw CommandError("\(spec.id) has no option \(word)" + usage)
      }
      if let value = option.value {
        guard index < words.count else { throw CommandError("\(word) needs a \(value)" + usage) }
        pattern = try Quantity.byte(words[index])
        index += 1
      } else {
        flags.insert(word)
      }
    }
    guard numbers.count == 2 else {
      throw CommandError(
        (numbers.count < 2 ? "\(spec.id) needs OFF and LEN" : "too many numbers for \(spec.id)") + usage
      )
    }
    guard numbers[1] > 0 else { throw CommandError("the length must be at least 1") }
    let kind: Request.Kind
    switch command.id {
    case .discard: kind = .discard
    case .read: kind = .read(expected: pattern, verbose: flags.contains("-v"))
    case .zero: kind = .zero(mayUnmap: flags.contains("-u"))
    default:
      if flags.contains("-u") && !flags.contains("-z") { throw CommandError("-u works only with -z") }
      if pattern != nil && flags.contains("-z") { throw CommandError("-P and -z cannot be used together") }
      kind = flags.contains("-z") ? .zero(mayUnmap: flags.contains("-u")) : .write(pattern: pattern ?? 0xcd)
    }
    return Request(kind, at: numbers[0], length: numbers[1])
  }
}
