// The program: one root command with the subcommands, and the exit codes of wrong command lines.

import ArgumentParser
import Glibc

struct RootCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "qatlas", abstract: "Explore qcow2 images.", version: "qatlas 0.1",
    subcommands: [InfoCommand.self, MapCommand.self, CreateCommand.self, IoSubcommand.self])
}

@main
struct Main {
  /// Cuts "-oname=value" in two, because the parser takes it for a long name.
  private static func separated(_ arguments: [String]) -> [String] {
    guard arguments.first == "create" else { return arguments }
    let end = arguments.firstIndex(of: "--") ?? arguments.endIndex
    return arguments[..<end].flatMap { word in
      word.hasPrefix("-o") && word.count > 2 ? ["-o", String(word.dropFirst(2))] : [word]
    } + arguments[end...]
  }

  static func main() {
    do {
      var command = try RootCommand.parseAsRoot(separated(Array(CommandLine.arguments.dropFirst())))
      try command.run()
    } catch {
      let streams = Streams()
      let code = RootCommand.exitCode(for: error)
      let message = RootCommand.fullMessage(for: error)
      if code == .success {
        streams.output(message + "\n")
        streams.flush()
        exit(0)
      }
      if !message.isEmpty { streams.error(message + "\n") }
      // Wrong use of the command line ends with 2, as the manual says.
      exit(code == .validationFailure ? 2 : code.rawValue)
    }
  }
}
