// The explorer as the manual describes it, from the same tables as help: screens, keys, commands, lenses, letters.

import CellScreen

/// The part of the manual that is about the explorer.
package enum Handbook {
  /// A term and what it means.
  package struct Entry: Hashable, Sendable {
    /// Keys, a command with its words, a letter.
    package let term: String
    /// A sentence.
    package let meaning: String
  }

  /// Entries below a heading; the heading is empty where the section has one part alone.
  package struct Part: Hashable, Sendable {
    /// The heading.
    package let title: String
    /// What stands below it.
    package let entries: [Entry]
  }

  /// A section of the manual.
  package struct Section: Hashable, Sendable {
    /// The heading.
    package let title: String
    /// What stands in front of the parts; may be empty.
    package let text: String
    /// The parts in their order.
    package let parts: [Part]
  }

  /// All sections, with the keys that the program has before the user binds others.
  package static var sections: [Section] {
    [
      Section(title: "Screens", text: screensText, parts: [Part(title: "", entries: screens)]),
      Section(title: "Keys", text: keysText, parts: keys),
      Section(title: "Commands", text: commandsText, parts: commands),
      Section(title: "Lenses", text: "", parts: [Part(title: "", entries: lenses)]),
      Section(
        title: "Letters", text: "",
        parts: [
          Part(title: "Guest map", entries: entries(HelpPage.guestLetters)),
          Part(title: "Host map", entries: entries(HelpPage.hostLetters)),
          Part(title: "The lab", entries: entries(HelpPage.labLetters)),
        ]),
    ]
  }

  private static let map = KeyMap.standard
  private static let screensText =
    "What opens a screen from the others; each says its own keys in its last rows."
  private static let keysText =
    "Names of contexts are in parentheses; a line of the configuration can bind keys in one of them. "
    + "A number typed without a pause before a movement repeats it."
  private static let commandsText =
    "Typed behind \(map.name(.prompt, in: .guestMap)); a beginning that only one command has is enough. "
    + "Numbers are 512, 0x200, 64k, 1.5M, 2G: k M G T P E are powers of 1024."

  private static var screens: [Entry] {
    ScreenList.all.compactMap { screen in
      screen.opener.map { spec in
        let titles = screen.contexts.map { "\($0.title) (\($0.name))" }.joined(separator: ", ")
        return Entry(term: "\(named(spec))", meaning: titles + ": " + sentence(spec.help))
      }
    }
  }

  /// A command with its keys.
  private static func named(_ spec: CommandSpec) -> String {
    let keys = spec.keys.flatMap(\.keys).map(\.notation)
    return ([spec.id.description] + keys).joined(separator: ", ")
  }

  private static func sentence(_ text: KeyText) -> String { text.text(map, in: .guestMap) }

  private static func entries(_ lines: [HelpLine]) -> [Entry] {
    lines.map { Entry(term: $0.keys.isEmpty ? "-" : $0.keys, meaning: $0.text) }
  }

  /// Keys that most contexts have stand once in front.
  private static var keys: [Part] {
    let all = Context.allCases.count
    func entry(_ spec: CommandSpec, _ rule: KeyRule) -> Entry {
      let words = ([spec.id.description] + rule.arguments).joined(separator: " ")
      return Entry(
        term: rule.keys.map(\.notation).joined(separator: " "), meaning: "\(words): \(sentence(spec.help))")
    }
    let rows = CommandTable.all.flatMap { spec in map.rules(of: spec.id).map { (spec, $0) } }
    let common = rows.filter { $0.1.contexts.members.count > all / 2 }
    let own = rows.filter { $0.1.contexts.members.count <= all / 2 }
    let parts = Context.allCases.map { context in
      Part(
        title: "\(context.title) (\(context.name))",
        entries: own.filter { $0.1.contexts.contains(context) }.map { entry($0, $1) })
    }
    return [Part(title: "Everywhere, where nothing else is said", entries: common.map { entry($0, $1) })]
      + parts.filter { !$0.entries.isEmpty }
  }

  private static var commands: [Part] {
    CommandSpec.Group.allCases.map { group in
      Part(
        title: group.rawValue,
        entries: CommandTable.all.filter { $0.group == group }.flatMap { spec in
          let also = spec.aliases.isEmpty ? "" : " Also :" + spec.aliases.joined(separator: ", :") + "."
          return [Entry(term: spec.usage, meaning: sentence(spec.help) + also)]
            + spec.options.map {
              Entry(
                term: spec.id.description + " " + $0.flag + ($0.value.map { " " + $0 } ?? ""),
                meaning: $0.help)
            }
        })
    }
  }

  private static var lenses: [Entry] { Lens.allCases.map { Entry(term: $0.name, meaning: $0.help) } }
}
