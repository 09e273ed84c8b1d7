// A key that the user gives to a command, as a line of the configuration says it:
// `key = KEY COMMAND` or `key.CONTEXT = KEY COMMAND`.

import Cartography
package import CellScreen

/// Why a binding cannot be followed.
package struct KeyBindingError: Error, Equatable, Sendable {
  /// Where the binding stands; empty if that is not known.
  package var place: String
  /// What is wrong with a line of the configuration.
  package var text: String

  init(_ place: String, _ text: String) {
    self.place = place
    self.text = text
  }
}

/// A key, what it means, and where.
package struct KeyBinding: Sendable {
  /// The key that is bound.
  package let key: Key
  /// Where it means that.
  package let contexts: Contexts
  /// What it does there.
  package let command: Command
  /// Where it stands, for messages.
  package let place: String

  /// How such a line is written.
  package static let form = "key = KEY COMMAND, key.CONTEXT = KEY COMMAND"

  /// A line of the form `key… = …` is one of bindings, right or wrong.
  package static func isLine(_ line: String) -> Bool {
    let name = line.prefix { $0 != "=" && $0 != " " }
    return name == "key" || name.hasPrefix("key.")
  }

  /// The binding of a line.
  ///
  /// Without a context the key is bound where the command has keys, and everywhere if it has none.
  ///
  /// - Throws: `KeyBindingError` for a line of another form, an unknown context, key or command, and for
  ///   digits, which are counts.
  package init(_ line: String, at place: String) throws(KeyBindingError) {
    let form = "is not written as one of: \(Self.form)"
    // The first sign of equality: `=` is a key as well.
    guard let equals = line.firstIndex(of: "=") else { throw KeyBindingError(place, form) }
    let name = line[..<equals].split(separator: " ")
    let rest = line[line.index(after: equals)...].drop { $0 == " " }
    guard let option = name.first, name.count == 1, let word = rest.split(separator: " ").first else {
      throw KeyBindingError(place, form)
    }
    guard let key = Key(String(word)) else {
      let examples = [Key.character("a"), .control("r"), Key(.function(5)), .pageUp].map(\.notation)
      throw KeyBindingError(
        place, "names no key: '\(word)'; keys are written as " + examples.joined(separator: ", "))
    }
    if let typed = key.typed, ("0"..."9").contains(typed) {
      throw KeyBindingError(place, "binds a digit; digits are counts and panes")
    }
    let command: Command
    do throws(CommandError) {
      let text = String(rest.dropFirst(word.count).drop { $0 == " " })
      guard text.first?.isNumber != true, let parsed = try CommandParser.bound(text) else {
        throw CommandError("no command stands behind the key")
      }
      command = parsed
    } catch { throw KeyBindingError(place, "cannot be followed: \(error.description)") }
    if option == "key" {
      let own = KeyMap.standard.contexts(of: command.id)
      contexts = own.isEmpty ? .all : own
    } else {
      let area = String(option.dropFirst("key.".count))
      guard let named = Contexts(named: area) else {
        throw KeyBindingError(
          place, "names no place of keys: '\(area)'; there are " + Contexts.names.joined(separator: ", "))
      }
      contexts = named
    }
    self.key = key
    self.command = command
    self.place = place
  }
}
