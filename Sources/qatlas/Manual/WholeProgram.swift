// The program with all of its subcommands. The one that runs knows only the subcommand that is named, because to make
// the parser's tree of all takes longer than most commands do; pages and completions are about all of them.

import ArgumentParser

/// Every subcommand below one root. It is read, not run.
struct WholeProgram: ParsableCommand {
  static var configuration: CommandConfiguration {
    var all = Qatlas.configuration
    all.subcommands = Qatlas.subcommands
    all.defaultSubcommand = Explore.self
    return all
  }

  /// What the parser knows of the program.
  static var tree: CommandTree { CommandTree(PlainJSON(_dumpHelp())["command"]) }
}
