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
    help: "The format: qcow2 or raw. Found out if not given.", completion: .formats)
  var format: String?
  @OptionGroup var word: ImageWord
  @OptionGroup var chain: ChainFlags
  @OptionGroup var unlock: UnlockOptions

  /// Opens the image that `name` names; nil for a raw file, of which the user was told if it was guessed. `adjust`
  /// changes how.
  func open(
    _ name: String, _ streams: Streams, _ adjust: (inout ImageOpening) -> Void = { _ in }
  ) throws -> Image? {
    try unlock.checkObjects(streams)
    let request = try Opening.request(name, format, isOptions: word.isOptions, chain, nil, streams)
    do throws(Opening.Refusal) {
      var opening = request.opening(format)
      opening.options.writable = true
      opening.options.discard = .ignore
      opening.options.cache = .writeback
      opening.options.tellsRepair = streams.repair
      opening.demand = .writable
      opening.secret = { file throws(ImageError) in try unlock.needed(request, for: file) }
      adjust(&opening)
      guard let image = try Opening.open(opening, streams).image else {
        if format == nil, request.format == nil { streams.error(Opening.guessed(name)) }
        return nil
      }
      image.report = { streams.error("\(Escaping.human($0))\n") }
      if let line = PinText.warning(image, name) { streams.error(line) }
      return image
    } catch { throw Opening.failure(name, error, streams) }
  }

  /// The passphrase that opened the image which `name` names.
  func passphrase(for storage: any Storage, _ name: String) throws(ImageError) -> Secret? {
    guard word.isOptions else { return try unlock.get(named: nil, for: storage, name) }
    let request: OpenRequest
    do throws(OpenRequest.Refusal) {
      request = try OpenRequest(options: name, readOnly: true, cache: nil, discard: nil)
    } catch { throw ImageError(.option, error.description) }
    return try unlock.get(named: request.secretName, for: storage, name)
  }
}
