// `qatlas completion`: what a shell reads so that Tab completes subcommands, options, their values and files.

import ArgumentParser
import Explorer
import Qcow
import ToolText

struct CompletionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "completion", abstract: "Print the completions of a shell.",
    discussion:
      "For this session of bash: source <(qatlas completion bash). README says where files of them go.")

  @Argument(help: "The shell.") var shell: ShellName

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    streams.output(shell.completions)
  }
}

/// What Tab offers for an argument.
extension CompletionKind {
  static let formats = list(["qcow2", "raw"])
  static let outputs = list(["human", "json"])
  static let cacheModes = list(["writeback", "writethrough", "directsync", "none", "unsafe"])
  static let preallocations = list(["off", "metadata", "falloc", "full"])
  static let createOptions = list(CreateHelp.nameWords)
  static let secrets = list(["prompt", "file=", "env="])
  static let lessons = list(LessonNames.all)
  static var subcommands: CompletionKind { list(Qatlas.subcommandNames) }
}
