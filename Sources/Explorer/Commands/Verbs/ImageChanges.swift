// Changes of the image as a whole: every row is made from what the change declares. With words it is done at
// once, without those that it needs a dialog asks for them and tells what would happen.

import Cartography
import Qcow

enum ImageChanges {
  /// Rows of all changes but the one that is watched batch by batch.
  static let commands: [CommandSpec] = Changes.all.filter { $0 != Defrag.self }.map { row(of: $0) }

  /// A word is taken as it is; what the change makes of it is checked with all of them.
  private static let word = ValueType<String> { word throws(CommandError) in word }

  private static func row(of type: any Change.Type) -> CommandSpec {
    let words = type.words
    let arguments: [CommandArgument] = words.arguments.map { argument in
      CommandArgument(argument.name, word, optional: true)
    }
    let options: [CommandOption] = words.options.map { CommandOption($0.flag, $0.help) }
    let refusal: CommandSpec.Refusal = { explorer in
      words.mendsUnclean ? nil : explorer.desk.session.refusal
    }
    return CommandSpec(
      CommandID(words.name), .changing,
      arguments: arguments, options: options, hint: words.hint,
      help: "\(words.help)",
      check: { command throws(CommandError) in
        if !command.arguments.isEmpty { _ = try ChangeParser.parse(type, command.arguments) }
      }, refusal: refusal,
      run: { explorer, command throws(CommandError) in
        if command.arguments.isEmpty && !words.arguments.isEmpty {
          try RequestDialog.open(
            RequestDialog.Form(title: words.title, id: command.id, change: type), explorer)
        } else {
          try Changing.change(try ChangeParser.parse(type, command.arguments), explorer.desk)
        }
      })
  }
}
