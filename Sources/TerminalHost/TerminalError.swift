// Why a terminal could not be opened, in words a person can act on.
// Every refusal names the text commands, because they need no terminal at all.

/// A refusal to open the terminal.
package struct TerminalError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What is wrong, for programs.
  package enum Code: Hashable, Sendable {
    /// Standard output is a pipe or a file.
    case notATerminal
    /// `TERM` is empty, unknown, or describes a terminal that cannot place its cursor.
    case unusableType
    /// A system call failed.
    case system(errno: Int32)
  }

  /// What is wrong.
  package let code: Code
  /// One line, lower case, without a full stop at its end.
  package let message: String

  package init(code: Code, message: String) {
    self.code = code
    self.message = message
  }

  package var description: String { message }

  /// What to do instead; ends most messages.
  static let textCommands =
    "the text commands work everywhere: qatlas info IMAGE, qatlas map IMAGE, "
    + "qatlas l2 IMAGE, qatlas layout IMAGE"
}
