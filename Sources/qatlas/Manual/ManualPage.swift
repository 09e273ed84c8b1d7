// The manual: one page about the program and the explorer, and one about every subcommand, made from what is declared.

import ArgumentParser
import Explorer

/// A page.
struct ManualPage {
  /// Without the section: `qatlas-convert`.
  let name: String
  /// For the formatter.
  let text: String

  /// The file it belongs in.
  var file: String { name + ".1" }

  /// All pages, that of the program first.
  static func all(_ program: CommandTree) -> [ManualPage] {
    [main(program)] + program.subcommands.map { page($0, program) }
  }

  // MARK: One subcommand

  private static func page(_ command: CommandTree, _ program: CommandTree) -> ManualPage {
    let name = "\(program.name)-\(command.name)"
    var roff = start(name, command.abstract)
    let operands = command.arguments.filter { $0.kind == .operand }
    let hasOptions = command.arguments.contains { $0.kind != .operand }
    roff.synopsis(
      "\(program.name) \(command.name)", (hasOptions ? ["[OPTION]..."] : []) + operands.map(\.usage))
    roff.section("Description")
    roff.paragraphs(command.abstract)
    roff.paragraphs(command.discussion)
    if !operands.isEmpty {
      roff.section("Operands")
      for operand in operands { roff.entry(operand.usage, operand.sentence) }
    }
    options(command, on: &roff)
    endings(on: &roff)
    roff.section("See also")
    roff.paragraphs("\(program.name)(1)")
    return ManualPage(name: name, text: roff.text)
  }

  private static func start(_ name: String, _ abstract: String) -> Roff {
    var roff = Roff(name)
    roff.section("Name")
    // The form that the index of the manual is read from: a small letter first, and no full stop.
    let words = abstract.prefix(1).lowercased() + abstract.dropFirst()
    roff.name(name, words.last == "." ? String(words.dropLast()) : words)
    roff.section("Synopsis")
    return roff
  }

  private static func options(_ command: CommandTree, on roff: inout Roff) {
    let options = command.arguments.filter { $0.kind != .operand }
    guard !options.isEmpty else { return }
    roff.section("Options")
    for option in options { roff.entry(option.usage, option.sentence) }
  }

  private static func endings(on roff: inout Roff) {
    roff.section("Exit status")
    for (code, meaning) in [
      ("0", "all went well"), ("1", "an error, or wrong use"),
      ("2", "what was checked is damaged or wrong (check, looks-like); no terminal to explore on"),
      ("3", "only leaked clusters were found (check)"), ("63", "the format cannot be checked (check)"),
      ("128 + n", "signal n ended the program"),
    ] { roff.entry(code, meaning) }
  }

  // MARK: The program

  private static func main(_ program: CommandTree) -> ManualPage {
    var roff = start(program.name, program.abstract)
    roff.synopsis(program.name, ["[OPTION]...", "[IMAGE]"])
    roff.text += ".br\n"
    roff.synopsis(program.name, ["SUBCOMMAND", "[OPTION]...", "[OPERAND]..."])
    roff.section("Description")
    roff.paragraphs(program.abstract)
    roff.paragraphs(program.discussion)
    roff.section("Subcommands")
    for command in program.subcommands { roff.entry("\(program.name)-\(command.name)(1)", command.abstract) }
    if let explore = program.subcommands.first(where: { $0.name == Explore.configuration.commandName }) {
      options(explore, on: &roff)
    }
    for section in Handbook.sections {
      roff.section(section.title)
      if !section.text.isEmpty { roff.paragraphs(section.text) }
      for part in section.parts {
        if !part.title.isEmpty { roff.heading(part.title) }
        for entry in part.entries { roff.entry(entry.term, entry.meaning) }
      }
    }
    configuration(on: &roff)
    endings(on: &roff)
    roff.section("Files")
    roff.entry(
      "$XDG_CONFIG_HOME/qatlas/config", "The configuration; ~/.config stands for the variable without it.")
    roff.entry(
      "$XDG_STATE_HOME/qatlas/",
      "What is remembered from one run to the next: typed commands, trusted folders; ~/.local/state without it."
    )
    roff.section("See also")
    roff.paragraphs(program.subcommands.map { "\(program.name)-\($0.name)(1)" }.joined(separator: ", "))
    return ManualPage(name: program.name, text: roff.text)
  }

  private static func configuration(on roff: inout Roff) {
    roff.section("Configuration")
    roff.paragraphs("One setting a line; lines that begin with # are comments.")
    for (form, meaning) in Configuration.forms { roff.entry(form, meaning) }
    roff.section("Environment")
    roff.entry("NO_COLOR", "Not empty: no colours, unless --color=always asks for them.")
    roff.entry("TERM, LANG, LC_ALL, LC_CTYPE", "What the terminal can show: colours, keys, Unicode.")
    roff.entry("XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_DATA_HOME", "Where files of the program are.")
  }
}

extension CommandTree.Argument {
  /// As it is written on the command line.
  var usage: String {
    let value = valueName.uppercased()
    let dots = isRepeating ? "..." : ""
    switch kind {
    case .operand: return isOptional ? "[\(value)]\(dots)" : value + dots
    case .flag: return names.joined(separator: ", ")
    case .option:
      return names.map { $0.hasPrefix("--") ? "\($0)=\(value)" : "\($0) \(value)" }.joined(separator: ", ")
    }
  }

  /// What it does, the words that it can be, and what holds without it.
  var sentence: String {
    var words = [help]
    if !values.isEmpty { words.append("One of: " + values.joined(separator: ", ") + ".") }
    if let usual, !usual.isEmpty, kind != .flag { words.append("Without it: \(usual).") }
    return words.filter { !$0.isEmpty }.joined(separator: " ")
  }
}
