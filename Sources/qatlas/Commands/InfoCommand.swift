// `qatlas info`: what an image is, without reading its data and, unless the chain is asked for,
// without any other file.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import Storage
import ToolText

struct InfoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info", abstract: "Show what an image is: sizes, format, features, snapshots.")

  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")],
    help: "The format: qcow2 or raw. Found out if not given.", completion: .formats)
  var format: String?
  @OptionGroup var output: OutputOptions
  @Flag(name: .customLong("backing-chain"), help: "Show the backing files as well.") var backingChain = false
  @Flag(name: .customLong("limits"), help: "Show what requests are aligned to.") var limits = false
  @Option(
    name: [.customShort("t", allowingJoined: true), .customLong("cache")],
    help: "Accepted for scripts; has no effect.", completion: .cacheModes)
  var cache: String?
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var unlock: UnlockOptions
  @OptionGroup var word: ImageWord
  @Argument(help: "The image file.", completion: .file()) var image: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    try output.check(streams, of: "info")
    try unlock.checkObjects(streams)
    let request = try Opening.request(image, format, isOptions: word.isOptions, chain, share, streams)
    let opener: ChainOpener
    var reports: [InfoText] = []
    do throws(Opening.Refusal) {
      let opened = try top(request, streams)
      opener = opened.chain
      do throws(ImageError) { reports.append(try info(opened.file, opened.image)) } catch {
        throw Opening.Refusal(error)
      }
    } catch { throw Opening.failure(image, error, streams) }
    opener.startChain()
    while backingChain, let last = reports.last, let name = last.backingName {
      reports.append(try layer(name, last, opener, streams))
    }
    if !output.isJSON {
      streams.output(reports.map(\.human).joined(separator: "\n"))
    } else {
      let trees = reports.map(\.report)
      streams.output((backingChain ? ReportValue.array(trees) : trees[0]).json() + "\n")
    }
  }

  private func top(
    _ request: OpenRequest, _ streams: Streams
  ) throws(Opening.Refusal) -> ImageOpening.Opened {
    var opening = request.opening(format)
    opening.options = Image.Options()
    opening.reach = .image
    opening.demand = .look
    // Nothing here needs the key; a secret that is given is tried all the same.
    opening.secret = { file throws(ImageError) in try unlock.get(request, for: file) }
    return try Opening.open(opening, streams)
  }

  private func layer(
    _ name: String, _ above: InfoText, _ opener: ChainOpener, _ streams: Streams
  ) throws -> InfoText {
    var path = name
    do throws(ImageError) {
      let layer = try LayerName(name, format: above.backingFormat, imagePath: above.name)
      path = layer.path
      let (file, image) = try opener.openNext(layer, namedBy: above.name)
      return try info(file, image)
    } catch {
      if chain.allowsMissing && error.hint == nil {
        return InfoText(missing: path, reason: error.description)
      }
      let refusal = Opening.Refusal(error)
      // A loop is said without the file that closes it in front.
      let prefix = error.code == .corrupt ? "" : "Could not open '\(Escaping.human(path))': "
      let remedy = error.hint == nil && !Tool.isStandIn ? ChainOpener.remedy + "\n" : ""
      throw streams.failure(prefix + refusal.text, hint: (refusal.hint ?? "") + remedy)
    }
  }

  private func info(_ storage: any Storage, _ image: Image?) throws(ImageError) -> InfoText {
    try InfoText(
      name: storage.name, storage: storage, content: image.map { .qcow2($0) } ?? .raw, showsLimits: limits)
  }
}
