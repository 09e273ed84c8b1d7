// `qatlas man`: pages of the manual, for the formatter.

import ArgumentParser
import Cartography
import Qcow
import Storage

struct ManCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "man", abstract: "Print a page of the manual, or write all of them.",
    discussion: """
      Without a name it is the page of the program and the explorer. The text is for man: \
      'qatlas man convert | man -l -' shows it, 'qatlas man --all /usr/local/share/man/man1' installs all pages.
      """)

  @Option(
    help: ArgumentHelp(
      "Write all pages into a folder, in place of those that are there.", valueName: "folder"),
    completion: .directory)
  var all: String?
  @Argument(
    help: ArgumentHelp("The subcommand that the page is about.", valueName: "verb"),
    completion: .subcommands)
  var verb: String?

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let pages = ManualPage.all(WholeProgram.tree)
    if let all {
      for page in pages {
        do throws(StorageError) {
          let file = try FileOpener().open("\(all)/\(page.file)", for: .newText)
          try file.write(ByteText.bytes(page.text), at: 0)
        } catch { throw streams.failure(Escaping.human(error.description)) }
      }
      return
    }
    let name = verb.map { $0.hasPrefix("qatlas") ? $0 : "qatlas-\($0)" } ?? pages.first?.name
    guard let page = pages.first(where: { $0.name == name }) else {
      throw streams.failure(
        "there is no page about '\(Escaping.human(verb ?? ""))'",
        hint: "'qatlas --help' lists the subcommands; each has one.\n")
    }
    streams.output(page.text)
  }
}
