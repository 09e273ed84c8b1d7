// Subcommands of changes that need no more than their declaration: `qatlas NAME IMAGE [WORDS]`. Those whose
// words are the genuine tool's have files of their own.

import ArgumentParser
import Cartography
import Qcow

/// The subcommand of a change.
struct ChangeCommand<Verb: Change>: ParsableCommand {
  static var configuration: CommandConfiguration {
    CommandConfiguration(
      commandName: Verb.words.name, abstract: Verb.words.abstract ?? "", discussion: Verb.words.discussion)
  }

  @OptionGroup var chain: ChainFlags
  @Argument(help: "The image file.", completion: .file()) var image: String
  @Argument(help: .hidden) var words: [String] = []

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    let change: any Change
    do throws(CommandError) { change = try ChangeParser.parse(Verb.self, words) } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    let opened = try Opening.forChange(image, chain, writable: true, streams)
    do throws(ImageError) {
      if let reason = change.refusal(of: opened) { throw ImageError(.unsupported, reason) }
      try change.run(on: opened)
      try opened.close()
    } catch { throw streams.failure(Escaping.human(error.description)) }
  }
}
