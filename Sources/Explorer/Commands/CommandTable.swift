// The one table of commands. Key map, hint line, help, completion and the manual are all read from
// it, so that they cannot disagree. Its rows are declared where what they do is.

package import Cartography

/// The table.
package enum CommandTable {
  /// In the order of help, which has groups of its own.
  package static let all: [CommandSpec] =
    Movement.commands + Looking.commands + LookingAt.commands + ScreenList.commands + Searching.commands
    + Marking.commands + Labelling.commands
    + Changing.commands
    + ImageChanges.commands + Answering.commands + NewFiles.commands + Saving.commands + SessionLines.commands
    + OtherImages.commands
    + Program.commands
    + LessonCommand.commands + [Program.redraw]

  /// The row of a command.
  package static func spec(_ id: CommandID) -> CommandSpec? { byID[id] }

  /// The row that a typed name means: exact names and aliases first, then a prefix that only one has.
  ///
  /// - Throws: `CommandError` for a name that no row or several rows have.
  ///
  /// - Throws: ``CommandError`` for a name that no command has.
  package static func named(_ name: String) throws(CommandError) -> CommandSpec {
    if let exact = all.first(where: { $0.name == name || $0.aliases.contains(name) }) { return exact }
    let matches = name.isEmpty ? [] : all.filter { $0.name.hasPrefix(name) }
    guard let match = matches.first else {
      throw CommandError("no command is called '\(name)'; \(CommandID.help) lists them all")
    }
    guard matches.count == 1 else {
      throw CommandError("'\(name)' could be " + matches.map(\.name).joined(separator: ", "))
    }
    return match
  }

  private static let byID = Dictionary(all.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
}
