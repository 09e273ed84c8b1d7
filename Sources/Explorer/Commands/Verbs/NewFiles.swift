// Verbs that write a new file: every row is made from what the verb declares. As for changes, a dialog tells before
// what would be written if words are missing or a question mark stands behind them.

import Cartography
import Qcow

enum NewFiles {
  /// Rows of all of them.
  static let commands: [CommandSpec] = NewFileVerbs.all.map { row(of: $0) }

  private static func row(of type: any NewFileVerb.Type) -> CommandSpec {
    let words = type.words
    let (arguments, options) = ImageChanges.declared(words)
    return CommandSpec(
      CommandID(words.name), .saving, arguments: arguments, options: options, force: true, hint: words.hint,
      help: "\(words.help)",
      check: { command throws(CommandError) in
        if !ImageChanges.asks(command, words) { _ = try NewFileVerbs.parse(type, command.arguments) }
      },
      run: { explorer, command throws(CommandError) in
        guard ImageChanges.asks(command, words) else {
          return try write(
            try NewFileVerbs.parse(type, command.arguments), replacing: command.force, explorer.desk)
        }
        var form = RequestDialog.Form(title: words.title, id: command.id)
        form.newFile = type
        form.replaces = command.force
        form.words = command.arguments
        if form.words.last == ImageChanges.ask { form.words.removeLast() }
        try RequestDialog.open(form, explorer)
      })
  }

  /// Writes a file and says what is in it.
  ///
  /// - Throws: `CommandError` with the reason, and with what became of the file.
  static func write(_ verb: any NewFileVerb, replacing: Bool, _ desk: Desk) throws(CommandError) {
    do throws(ImageError) {
      let told = try desk.session.write(verb, of: desk.scene, replacing: replacing)
      desk.tell("wrote '\(Escaping.human(verb.target))': \(told)")
    } catch { throw CommandError(error.description) }
  }
}
