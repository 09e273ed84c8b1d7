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

  @OptionGroup var listed: ListedImage

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let atlas = Atlas(try listed.open(streams, tellsMissing: false))
    atlas.scanAll()
    let text = LadderText(SizeLadder(atlas, blocks: HostBlocks(atlas.image)), atlas)
    streams.output(listed.json ? text.json : text.human)
  }
}
