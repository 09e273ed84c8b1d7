// The image that a verb of the genuine tool changes, opened for writing with the genuine tool's sentences.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import Storage
import ToolText

/// The words that name an image which is changed as a whole.
struct ChangeTarget: ParsableArguments {
  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")],
    help: "The format: qcow2 or raw. Found out if not given.")
  var format: String?
  @Flag(name: .customLong("image-opts"), help: "IMAGE is an option string, driver=qcow2,file.filename=…")
  var imageOptions = false
  @OptionGroup var chain: ChainFlags
  @OptionGroup var unlock: UnlockOptions

  /// Opens the image that `word` names; nil for a raw file, of which the user was told if it was guessed.
  func open(_ word: String, _ streams: Streams) throws -> Image? {
    try unlock.checkObjects(streams)
    let request = try Opening.request(word, format, isOptions: imageOptions, chain, nil, streams)
    do throws(Opening.Refusal) {
      let opener = ChainOpener(request.file, request.policy)
      let storage = try Opening.file(opener, writable: true)
      if try Opening.format(of: storage, request.format?.rawValue ?? format) == .raw {
        if format == nil, request.format == nil { streams.error(Opening.guessed(word)) }
        return nil
      }
      var options = request.options
      options.writable = true
      options.discard = .ignore
      options.cache = .writeback
      options.tellsRepair = streams.repair
      options.secret = try unlock.needed(request, for: storage)
      let image = try Opening.image(opener, on: storage, options)
      if let reason = image.readOnlyReason { throw Opening.Refusal(text: reason) }
      image.report = { streams.error("\(Escaping.human($0))\n") }
      if let line = PinText.warning(image, word) { streams.error(line) }
      return image
    } catch { throw refusal(word, error, streams) }
  }

  /// Why a file cannot be opened, and what is then thrown.
  func refusal(_ word: String, _ error: Opening.Refusal, _ streams: Streams) -> any Error {
    streams.failure("Could not open '\(Escaping.human(word))': \(error.text)", hint: error.hint)
  }
}
