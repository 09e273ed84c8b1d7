// What is declared of a command, as pages about it need it. The declarations themselves are those that the command
// line is parsed with.

/// A command with everything below it.
struct CommandTree {
  /// An option, a flag or an operand.
  struct Argument {
    enum Kind { case operand, option, flag }
    let kind: Kind
    /// With their dashes; none for operands.
    let names: [String]
    let valueName: String
    let isOptional: Bool
    let isRepeating: Bool
    /// What it may be, where only these words may.
    let values: [String]
    let usual: String?
    let help: String
  }

  let name: String
  let abstract: String
  let discussion: String
  let arguments: [Argument]
  let subcommands: [CommandTree]

  /// The parser adds `help` to what is declared.
  init(_ json: PlainJSON) {
    name = json["commandName"].text ?? ""
    abstract = json["abstract"].text ?? ""
    discussion = json["discussion"].text ?? ""
    arguments = json["arguments"].items.filter { $0["shouldDisplay"].isTrue }.map(Argument.init)
    let below = json["subcommands"].items.filter { $0["shouldDisplay"].isTrue }.map(CommandTree.init)
    subcommands = below.filter { $0.name != "help" }
  }
}

extension CommandTree.Argument {
  fileprivate init(_ json: PlainJSON) {
    kind =
      switch json["kind"].text {
      case "option": .option
      case "flag": .flag
      default: .operand
      }
    names = json["names"].items.compactMap { name in
      name["name"].text.map { (name["kind"].text == "long" ? "--" : "-") + $0 }
    }
    valueName = json["valueName"].text ?? ""
    isOptional = json["isOptional"].isTrue
    isRepeating = json["isRepeating"].isTrue
    values = json["allValues"].items.compactMap(\.text)
    usual = json["defaultValue"].text
    help = json["abstract"].text ?? ""
  }
}
