// Which key means which command where: the keys of the command table, changed by those the user binds.
// Footers, hints, help and messages ask it for names, so that they follow what the user binds.

import Cartography
package import CellScreen

/// The keys of an explorer.
package struct KeyMap: Sendable {
  private struct Place: Hashable {
    let key: Key
    let context: Context
  }

  /// The keys of every command in the order they are named in.
  private var rules: [CommandID: [KeyRule]]
  private var meanings: [Place: (spec: CommandSpec, arguments: [String])] = [:]

  /// The keys of the command table, and those that screens give to commands of all screens.
  package static let standard: KeyMap = {
    var rules: [CommandID: [KeyRule]] = CommandTable.all.reduce(into: [:]) { $0[$1.id] = $1.keys }
    for screen in ScreenList.all {
      for own in screen.keys.values {
        for rule in own { Self.take(rule.keys, rule.contexts, from: &rules) }
      }
      for (id, own) in screen.keys { rules[id, default: []] += own }
    }
    return KeyMap(rules: rules)
  }()

  private init(rules: [CommandID: [KeyRule]]) {
    self.rules = rules
    for spec in CommandTable.all {
      for rule in rules[spec.id] ?? [] {
        for context in rule.contexts.members {
          for key in rule.keys { meanings[Place(key: key, context: context)] = (spec, rule.arguments) }
        }
      }
    }
  }

  /// The standard keys with those of the user. A bound key means nothing else where it is bound, and stands
  /// before the other keys of its command.
  ///
  /// - Throws: `KeyBindingError` for a key that is bound twice in a context, and where the command line would
  ///   be left without a key.
  package init(_ bindings: [KeyBinding]) throws(KeyBindingError) {
    var rules = Self.standard.rules
    for (index, binding) in bindings.enumerated() {
      if let first = bindings.prefix(index).first(where: {
        $0.key == binding.key && !$0.contexts.intersection(binding.contexts).isEmpty
      }) {
        throw KeyBindingError(
          binding.place,
          "binds \(binding.key.notation) again; \(first.place.isEmpty ? "another line" : first.place) has it")
      }
      Self.take([binding.key], binding.contexts, from: &rules)
    }
    for binding in bindings.reversed() {
      rules[binding.command.id, default: []].insert(
        KeyRule(keys: [binding.key], in: binding.contexts, binding.command.arguments), at: 0)
    }
    self.init(rules: rules)
    for id in [CommandID.prompt, .cancel] {
      guard let lost = Context.allCases.first(where: { keys(for: id, in: $0).isEmpty }) else { continue }
      throw KeyBindingError(
        bindings.last?.place ?? "", "leaves \(id) without a key in '\(lost.name)'; bind another one to it")
    }
  }

  /// Takes some keys in some contexts from all commands. Few have them, and the others stay as they are.
  private static func take(_ keys: [Key], _ contexts: Contexts, from rules: inout [CommandID: [KeyRule]]) {
    for place in rules.values.indices {
      guard rules.values[place].contains(where: { $0.keys.contains(where: keys.contains) }) else { continue }
      rules.values[place] = without(keys, contexts, rules.values[place])
    }
  }

  /// Rules without some keys in some contexts.
  private static func without(_ keys: [Key], _ contexts: Contexts, _ rules: [KeyRule]) -> [KeyRule] {
    rules.flatMap { rule -> [KeyRule] in
      guard rule.keys.contains(where: keys.contains), !rule.contexts.intersection(contexts).isEmpty else {
        return [rule]
      }
      var here = rule
      here.contexts = rule.contexts.intersection(contexts)
      here.keys.removeAll(where: keys.contains)
      var elsewhere = rule
      elsewhere.contexts = rule.contexts.subtracting(contexts)
      return [here, elsewhere].filter { !$0.keys.isEmpty && !$0.contexts.isEmpty }
    }
  }

  /// The row and the arguments of a key in a context; nil if it means nothing there.
  package func meaning(of key: Key, in context: Context) -> (spec: CommandSpec, arguments: [String])? {
    meanings[Place(key: key, context: context)]
  }

  /// The keys of a command in a context, row by row.
  func rules(for id: CommandID, in context: Context) -> [KeyRule] {
    (rules[id] ?? []).filter { $0.contexts.contains(context) }
  }

  /// All keys of a command, row by row.
  func rules(of id: CommandID) -> [KeyRule] { rules[id] ?? [] }

  /// The contexts in which a command has keys.
  func contexts(of id: CommandID) -> Contexts {
    Contexts(rules[id, default: []].reduce(into: []) { $0.formUnion($1.contexts.members) })
  }

  /// The keys of a command in a context; with `arguments` those that mean these.
  package func keys(for id: CommandID, _ arguments: [String]? = nil, in context: Context) -> [Key] {
    rules(for: id, in: context).filter { arguments == nil || $0.arguments == arguments }.flatMap(\.keys)
  }

  /// How a sentence or a footer names a command: its first key in a context, or what is typed where it has none.
  package func name(_ id: CommandID, _ arguments: [String] = [], in context: Context) -> String {
    keys(for: id, arguments, in: context).first?.notation
      ?? ([id.description] + arguments).joined(separator: " ")
  }
}
