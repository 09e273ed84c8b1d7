// Changes of the image as a whole: every row is made from what the change declares. With words it is done at
// once, without those that it needs, or with a question mark behind them, a dialog tells what would happen first.

import Cartography
import Qcow

enum ImageChanges {
  /// The last word of a line that is to be tried in a dialog before.
  static let ask = "?"

  /// Rows of all changes but the one that is watched batch by batch.
  static let commands: [CommandSpec] = Changes.all.filter { $0 != Defrag.self }.map { row(of: $0) }

  /// A word is taken as it is; what the change makes of it is checked with all of them.
  private static let word = ValueType<String> { word throws(CommandError) in word }

  private static func type(of kind: ChangeWords.Kind) -> ValueType<String> {
    switch kind {
    case .layer, .file: .file
    default: word
    }
  }

  /// What usage and completion need to know of the words of a verb.
  static func declared(_ words: ChangeWords) -> (arguments: [CommandArgument], options: [CommandOption]) {
    (
      words.arguments.map { CommandArgument($0.name, type(of: $0.kind), optional: true) },
      words.options.map { option in
        guard let value = option.value else { return CommandOption(option.flag, option.help) }
        return CommandOption(option.flag, value.name, type(of: value.kind), option.help)
      }
    )
  }

  private static func row(of type: any Change.Type) -> CommandSpec {
    let words = type.words
    let (arguments, options) = declared(words)
    let refusal: CommandSpec.Refusal = { explorer in
      words.mendsReadOnly ? nil : explorer.desk.session.refusal
    }
    return CommandSpec(
      CommandID(words.name), .changing,
      arguments: arguments, options: options, hint: words.hint,
      help: "\(words.help)",
      check: { command throws(CommandError) in
        if !asks(command, words) { _ = try ChangeParser.parse(type, command.arguments) }
      }, refusal: refusal,
      run: { explorer, command throws(CommandError) in
        if asks(command, words) {
          var given = command.arguments
          if given.last == ask { given.removeLast() }
          try RequestDialog.open(
            RequestDialog.Form(title: words.title, id: command.id, change: type, words: given), explorer)
        } else {
          try Changing.change(try ChangeParser.parse(type, command.arguments), explorer.desk)
        }
      })
  }

  /// Nothing is done before a dialog.
  static func asks(_ command: Command, _ words: ChangeWords) -> Bool {
    command.arguments.last == ask || command.arguments.isEmpty && !words.arguments.isEmpty
  }
}
