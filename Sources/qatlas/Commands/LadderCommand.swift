// `qatlas ladder`: the sizes of an image, from what the guest sees down to what the host keeps.

import ArgumentParser
import Cartography
import Qcow
import Storage
import ToolText

struct LadderCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ladder", abstract: "Show why an image is as large as it is: every size, and what moves it.",
    discussion: "The parts between 'file length' and 'free at the end' add up to the length of the file.")

  @Flag(help: "Print JSON.") var json = false
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var word: ImageWord
  @Argument(help: "The image file.", completion: .file()) var image: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let atlas = Atlas(try Listing.open(image, word, chain, share, streams, tellsMissing: false))
    atlas.scanAll()
    let text = LadderText(SizeLadder(atlas, blocks: HostBlocks(atlas.image)), atlas)
    streams.output(json ? text.json : text.human)
  }
}
