// One thing that was asked for. A key press, a script line, a click and a test all become a command,
// so that nothing can be done with one of them that the others cannot.

/// Which command. Each is declared beside what it does, as a static member; the one list of them is
/// ``CommandTable/all``.
package struct CommandID: Hashable, Sendable, CustomStringConvertible {
  /// The name that is typed after `:`.
  package let name: String

  package init(_ name: String) { self.name = name }

  /// As it is typed: `:undo`. Sentences name a command so.
  package var description: String { ":" + name }
}

/// A command with what belongs to it.
package struct Command: Hashable, Sendable {
  /// Which command.
  package var id: CommandID
  /// Words behind the name, options included.
  package var arguments: [String]
  /// How many times, or how far; nil if not said.
  package var count: Int?
  /// Written with `!`: do it although something speaks against it.
  package var force: Bool

  package init(_ id: CommandID, _ arguments: [String] = [], count: Int? = nil, force: Bool = false) {
    self.id = id
    self.arguments = arguments
    self.count = count
    self.force = force
  }

  /// The count, or once.
  var times: Int { count ?? 1 }
}
