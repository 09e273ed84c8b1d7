// `qatlas du`: the space that an image could do without, and what brings it back.

import ArgumentParser
import Cartography
import ToolText

struct DuCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "du", abstract: "Show the space that an image could do without, in its parts.",
    discussion: """
      Nothing is mounted and nothing is changed. Every line is one kind of space: its bytes, how many \
      of them the host stores, and the command that brings it back. Finding zeroes means reading the data of the disk.
      """)

  @Flag(help: "Print JSON.") var json = false
  @Flag(name: .customLong("no-data"), help: "Read tables only: tells nothing of zeroes and compression.")
  var readsNoData = false
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var word: ImageWord
  @Argument(help: "The image file.", completion: .file()) var image: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let opened = try Listing.open(
      image, word, chain, share, streams, tellsMissing: false, readsData: !readsNoData)
    let atlas = Atlas(opened)
    let scan = SpaceScan(atlas, readsData: !readsNoData, blocks: HostBlocks(opened))
    Scheduler.finish(scan)
    let text = SpaceText(scan, of: atlas, name: image)
    streams.output(json ? text.json : text.human)
  }
}
