// The program: the root command, its subcommands, and how its errors end. Without a subcommand the
// explorer starts.

import ArgumentParser
import Cartography
import Explorer
import Glibc
import Qcow
import Storage

@main
struct Qatlas: ParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(
      commandName: "qatlas",
      abstract: "Explore and change qcow2 disk images.",
      discussion: """
        qatlas alone shows a demo image made in memory; qatlas IMAGE opens a file. The file stays \
        untouched until :w saves; --rw saves after every operation, --ro refuses changes.
        """,
      version: "0.1.0",
      subcommands: wanted,
      defaultSubcommand: wanted.count > 1 ? Explore.self : nil)
  }

  /// The subcommand that the first word names; all of them for whatever has to know them. To make the parser's tree
  /// of all takes longer than most commands do.
  private static var wanted: [any ParsableCommand.Type] {
    guard let first = Arguments.words.first,
      let named = subcommands.first(where: { $0.configuration.commandName == first })
    else { return subcommands }
    return [named]
  }

  /// Every subcommand; a new one is added here and has a file of its own under `Commands`.
  static let subcommands: [any ParsableCommand.Type] = [
    Explore.self, InfoCommand.self, MapCommand.self, CheckCommand.self, CreateCommand.self, NewCommand.self,
    IoSubcommand.self, ResizeCommand.self, FragCommand.self, DefragCommand.self, PinCommand.self,
    ChangeCommand<Unpin>.self, SnapshotCommand.self, BitmapCommand.self, AmendCommand.self,
    ConvertCommand.self, CompareCommand.self, DdCommand.self, MeasureCommand.self, BenchCommand.self,
    CommitCommand.self, RebaseCommand.self, L2Command.self, DuCommand.self, SharesCommand.self,
    LadderCommand.self,
    DehydrateCommand.self, RehydrateCommand.self,
    LayoutCommand.self, OwnersCommand.self, WhereCommand.self, LooksCommand.self, SalvageCommand.self,
    StepCommand.self, DiffCommand.self, DiscardsCommand.self, FollowCommand.self,
    ServeCommand.self, FleetCommand.self,
    LabCommand.self, LessonCommand.self, LearnCommand.self, QuizCommand.self, ManCommand.self,
    CompletionCommand.self,
  ]

  /// The words that mean them.
  static var subcommandNames: [String] { subcommands.compactMap { $0.configuration.commandName } }

  /// Cuts "-oname=value" in two, because the parser takes it for a long name, says that "-1G" behind the options
  /// of resize is no option, and gives every merge of bitmaps its source.
  private static func separated(_ arguments: [String]) -> [String] {
    if arguments.first == "resize", !arguments.contains("--"), let last = arguments.last,
      ImageToolVerb.isNegativeNumber(last)
    {
      return arguments.dropLast() + ["--", last]
    }
    if arguments.first == BitmapCommand.configuration.commandName {
      return BitmapCommand.separated(arguments)
    }
    guard let verb = arguments.first, ["create", "convert", "measure", "amend"].contains(verb) else {
      return arguments
    }
    let end = arguments.firstIndex(of: "--") ?? arguments.endIndex
    return arguments[..<end].flatMap { word in
      word.hasPrefix("-o") && word.utf8.count > 2 ? ["-o", String(word.dropFirst(2))] : [word]
    } + arguments[end...]
  }

  /// The words for the parser, according to the name the program was started through.
  private static func words() throws -> [String] {
    let words = Arguments.words
    guard Tool.current == .imageTool else { return separated(words) }
    do throws(ImageToolVerb.Refusal) { return separated(try ImageToolVerb.translate(words)) } catch {
      Output.error(error.lines)
      throw ExitCode(1)
    }
  }

  /// Wrong use ends with 1 as in the genuine tools, whose 2 says of an image that it is damaged.
  static func main() {
    do {
      if Tool.current == .ioTool { try IoToolWords.run(Arguments.words) }
      let words = try words()
      var command = try PlainWords.command(words) ?? parseAsRoot(words)
      try command.run()
    } catch {
      let code = exitCode(for: error)
      let text = Arguments.escaped(in: fullMessage(for: error))
      if !text.isEmpty {
        _ = Output.write(Escaping.lines(text + "\n"), to: code.isSuccess ? STDOUT_FILENO : STDERR_FILENO)
      }
      Glibc.exit(code == .validationFailure ? 1 : code.rawValue)
    }
  }
}

/// Writing past any buffer.
enum Output {
  /// Text for people, on the error stream. Nobody can be told that it is lost.
  static func error(_ text: String) { _ = write(Escaping.lines(text), to: STDERR_FILENO) }

  /// All of the bytes, or the number of the error that stopped them; 0 if none did.
  static func write(_ bytes: [UInt8], to descriptor: Int32) -> Int32 {
    var done = 0
    while done < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { buffer in
        unsafe buffer.baseAddress.map { unsafe Glibc.write(descriptor, $0 + done, bytes.count - done) } ?? 0
      }
      if count > 0 {
        done += count
      } else if count == 0 || errno != EINTR {
        return count == 0 ? ENOSPC : errno
      }
    }
    return 0
  }

  /// The host's words for an error number.
  static func reason(_ number: Int32) -> String { FileStorage.reason(number) }
}

/// The words of the command line, with every byte of them.
enum Arguments {
  /// Without the program's name.
  static var words: [String] {
    (1..<max(1, Int(CommandLine.argc))).compactMap { index in
      unsafe CommandLine.unsafeArgv[index].map { unsafe ByteText.text(cString: $0) }
    }
  }

  /// A message of the parser, which repeats words as they came; those with line ends stay one line.
  static func escaped(in message: String) -> String {
    words.filter { $0.utf8.contains(UInt8(ascii: "\n")) }.reduce(message) { text, word in
      text.replacing(word.drop { $0 == "-" }, with: Escaping.human(String(word.drop { $0 == "-" })))
    }
  }
}
