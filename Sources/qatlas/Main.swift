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
  static func main() {
    do {
      var command = try RootCommand.parseAsRoot()
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
