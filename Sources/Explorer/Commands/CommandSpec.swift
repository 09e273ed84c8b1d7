// A row of the command table: the name, keys, words and values of one command, and what it does. Whoever
// declares a command declares all of it in one place; key map, hints, help and completion read it.

import Cartography
package import CellScreen

/// Keys that mean a command in some contexts.
package struct KeyRule: Sendable {
  /// The keys to press, one after the other.
  package var keys: [Key]
  /// Where they mean that.
  package var contexts: Contexts
  /// Arguments that the keys stand for.
  package let arguments: [String]

  package init(keys: [Key], in contexts: Contexts, _ arguments: [String] = []) {
    self.keys = keys
    self.contexts = contexts
    self.arguments = arguments
  }

  /// `keys` in notation, separated by blanks.
  package init(_ keys: String, in contexts: Contexts, _ arguments: [String] = []) {
    self.init(keys: keys.split(separator: " ").compactMap { Key(String($0)) }, in: contexts, arguments)
  }
}

/// A row of the table.
package struct CommandSpec: Sendable {
  /// The headings of help.
  package enum Group: String, CaseIterable, Sendable {
    case moving = "Moving"
    case looking = "Looking"
    case lab = "The lab"
    case live = "Guests"
    case changing = "Changing"
    case saving = "Saving and leaving"
    case program = "The program"
  }

  /// What a command does.
  typealias Run = @Sendable (Explorer, Command) throws(CommandError) -> Void
  /// What is wrong with the words of a command, before anything is done.
  typealias Check = @Sendable (Command) throws(CommandError) -> Void
  /// Why a command cannot be done now; nil if it can.
  typealias Refusal = @Sendable (Explorer) -> String?

  /// Which command.
  package let id: CommandID
  /// Other names.
  package let aliases: [String]
  /// Where help lists it.
  package let group: Group
  /// What stands behind it.
  package let arguments: [CommandArgument]
  /// What begins with a dash behind it.
  package let options: [CommandOption]
  /// It may be written with `!`.
  package let takesForce: Bool
  /// The keys that it has before the user binds others.
  package let keys: [KeyRule]
  /// Whether a number typed before the key counts.
  package let takesCount: Bool
  /// One or two words for the hint line.
  package let hint: String
  /// The same in fewer letters, for narrow screens.
  package let short: String
  /// One sentence.
  package let help: KeyText
  let check: Check?
  let refusal: Refusal?
  let run: Run

  init(
    _ id: CommandID, _ group: Group, aliases: [String] = [], arguments: [CommandArgument] = [],
    options: [CommandOption] = [], force: Bool = false, keys: [KeyRule] = [], counts: Bool = false,
    hint: String = "", short: String? = nil, help: KeyText, check: Check? = nil, refusal: Refusal? = nil,
    run: @escaping Run
  ) {
    self.id = id
    self.group = group
    self.aliases = aliases
    self.arguments = arguments
    self.options = options
    takesForce = force
    self.keys = keys
    takesCount = counts
    self.hint = hint
    self.short = short ?? hint
    self.help = help
    self.check = check
    self.refusal = refusal
    self.run = run
  }

  package var name: String { id.name }

  /// `:write [-P byte] OFF LEN`
  package var usage: String {
    var words = [id.description + (takesForce ? "[!]" : "")]
    for option in options {
      words.append("[" + option.flag + (option.value.map { " " + $0 } ?? "") + "]")
    }
    for argument in arguments {
      words.append(argument.isOptional ? "[" + argument.name + "]" : argument.name)
    }
    return words.joined(separator: " ")
  }

  /// Too few or too many words, unknown options, values that cannot be.
  ///
  /// - Throws: `CommandError` with the usage.
  func checkWords(_ command: Command) throws(CommandError) {
    if options.isEmpty {
      let least = arguments.filter { !$0.isOptional }.count
      // A question mark behind them is none of them.
      let given = command.arguments.count - (command.arguments.last == ImageChanges.ask ? 1 : 0)
      if command.arguments.count < least,
        let missing = arguments.dropFirst(command.arguments.count).first
      {
        throw CommandError("\(id) needs \(missing.name); use \(usage)")
      }
      // Places and searches are several words.
      if !arguments.contains(where: \.isOpen) && given > arguments.count {
        throw CommandError("too many words for \(id); use \(usage)")
      }
    }
    try check?(command)
  }
}
