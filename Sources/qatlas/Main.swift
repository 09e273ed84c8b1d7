// The program: the root command, its subcommands, and how its errors end. Without a subcommand the
// explorer starts.

import ArgumentParser
import Glibc

@main
struct Qatlas: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "qatlas",
    abstract: "Explore and change qcow2 disk images.",
    discussion: """
      qatlas alone shows a demo image made in memory; qatlas IMAGE opens a file. The file stays \
      untouched until :w saves; --rw saves after every operation, --ro refuses changes.
      """,
    version: "0.1.0",
    subcommands: subcommands,
    defaultSubcommand: Explore.self)

  /// Every subcommand; a new one is added here and has a file of its own under `Commands`.
  static let subcommands: [any ParsableCommand.Type] = [
    Explore.self, InfoCommand.self, MapCommand.self, CheckCommand.self, CreateCommand.self,
    IoSubcommand.self, ResizeCommand.self, FragCommand.self, DefragCommand.self, PinCommand.self,
    UnpinCommand.self, L2Command.self, LayoutCommand.self, LabCommand.self, LessonCommand.self,
  ]

  /// Cuts "-oname=value" in two, because the parser takes it for a long name.
  private static func separated(_ arguments: [String]) -> [String] {
    guard arguments.first == "create" else { return arguments }
    let end = arguments.firstIndex(of: "--") ?? arguments.endIndex
    return arguments[..<end].flatMap { word in
      word.hasPrefix("-o") && word.utf8.count > 2 ? ["-o", String(word.dropFirst(2))] : [word]
    } + arguments[end...]
  }

  /// Wrong use ends with 2, as the exit codes of the genuine tools leave 64 no meaning.
  static func main() {
    do {
      var command = try parseAsRoot(separated(Array(CommandLine.arguments.dropFirst())))
      try command.run()
    } catch {
      let code = exitCode(for: error)
      guard code == .validationFailure else { exit(withError: error) }
      Output.error(fullMessage(for: error) + "\n")
      Glibc.exit(2)
    }
  }
}

/// Text for people, past any buffer.
enum Output {
  static func error(_ text: String) { write(text, to: 2) }

  static func write(_ text: String, to descriptor: Int32) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      guard count > 0 else { return }
      bytes = bytes.dropFirst(count)
    }
  }
}
