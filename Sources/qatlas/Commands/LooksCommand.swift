// `qatlas looks-like`: which host clusters do not look like what the tables say of them.

import ArgumentParser
import Cartography
import Qcow
import Storage
import ToolText

struct LooksCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "looks-like", abstract: "Compare what every cluster is said to be with what its bytes are.",
    discussion: """
      Tables are looked at as tables, and the guest's bytes as tables of this image where they should not be. \
      The exit code is 2 if anything does not look like what it is said to be.
      """)

  @Flag(help: "Print all clusters, not only those that look wrong.") var all = false
  @OptionGroup var listed: ListedImage

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let atlas = Atlas(try listed.open(streams))
    // What a cluster is said to be follows from all entries.
    atlas.scanAll()
    var text = LooksText(atlas, json: listed.json, output: streams.output)
    do throws(StorageError) { try text.write(all: all) } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    if text.broken > 0 { throw ExitCode(2) }
  }
}
