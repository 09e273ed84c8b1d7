// The words that every command has which lists something of one image.

import ArgumentParser
import Qcow
import ToolText

struct ListedImage: ParsableArguments {
  @Flag(help: "Print JSON.") var json = false
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var word: ImageWord
  @Argument(help: "The image file.", completion: .file()) var image: String

  /// As ``Listing/open(_:_:_:_:_:tellsMissing:readsData:)``.
  func open(_ streams: Streams, tellsMissing: Bool = true, readsData: Bool = false) throws -> Image {
    try Listing.open(image, word, chain, share, streams, tellsMissing: tellsMissing, readsData: readsData)
  }
}
