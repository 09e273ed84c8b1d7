// `qatlas map`: which guest ranges lie where in the file.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import ToolText

struct MapCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "map", abstract: "Show which ranges of the disk lie where in the file.")

  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")],
    help: "The format: qcow2 or raw. Found out if not given.", completion: .formats)
  var format: String?
  @OptionGroup var output: OutputOptions
  @Option(
    name: [.customShort("s", allowingJoined: true), .customLong("start-offset")], parsing: .unconditional,
    help: "Where on the disk to start.")
  var start: String?
  @Option(
    name: [.customShort("l", allowingJoined: true), .customLong("max-length")], parsing: .unconditional,
    help: "How many bytes of the disk to show.")
  var length: String?
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var unlock: UnlockOptions
  @OptionGroup var word: ImageWord
  @Argument(help: "The image file.", completion: .file()) var image: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    try output.check(streams, of: "map")
    let start = try number(self.start, "start offset", streams) ?? 0
    let length = try number(self.length, "max length", streams)
    try unlock.checkObjects(streams)
    let request = try Opening.request(image, format, isOptions: word.isOptions, chain, share, streams)
    let layers: [any GuestLayer]
    do throws(Opening.Refusal) {
      var opening = request.opening(format)
      opening.demand = .look
      opening.options.readsInOrder = true
      opening.secret = { file throws(ImageError) in try unlock.needed(request, for: file) }
      layers = try Opening.open(opening, streams).layers
    } catch { throw Opening.failure(image, error, streams) }
    let map = MapText(layers, format: output.isJSON ? .json : .human)
    do throws(ImageError) {
      unsafe try map.write(from: start, length: length) { unsafe streams.output($0) }
    } catch {
      if error.isInjected { throw streams.failure("Could not read file metadata: \(error.hostReason)") }
      throw streams.failure(Escaping.human(error.description))
    }
  }

  private func number(_ text: String?, _ what: String, _ streams: Streams) throws -> UInt64? {
    guard let text else { return nil }
    do throws(Notation.ParseError) {
      return try Notation.parse(text)
    } catch {
      if case .tooLarge = error {
        throw streams.failure("Invalid \(what) specified. Must be between 0 and \(Notation.maximum).")
      }
      throw streams.failure(CreateRequest.invalidNumber(what, text))
    }
  }
}
