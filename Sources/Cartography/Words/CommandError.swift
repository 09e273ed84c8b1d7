// Why a command of a person was not done. The sentence is all there is: nobody decides by it.

/// A command that cannot be understood or done; the sentence is for people.
package struct CommandError: Error, Equatable, CustomStringConvertible, Sendable {
  package var description: String
  package init(_ description: String) { self.description = description }
}
