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
    help: "The format: qcow2 or raw. Found out if not given.")
  var format: String?
  @OptionGroup var output: OutputOptions
  @Flag(name: .customLong("backing-chain"), help: "Show the backing files as well.") var backingChain = false
  @Option(
    name: [.customShort("t", allowingJoined: true), .customLong("cache")],
    help: "Accepted for scripts; has no effect.")
  var cache: String?
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var unlock: UnlockOptions
  @Flag(name: .customLong("image-opts"), help: "IMAGE is an option string, driver=qcow2,file.filename=…")
  var imageOptions = false
  @Argument(help: "The image file.") var image: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    try output.check(streams, of: "info")
    try unlock.checkObjects(streams)
    let request = try Opening.request(image, format, isOptions: imageOptions, chain, share, streams)
    let opener = ChainOpener(request.file, request.policy)
    var reports: [InfoText] = []
    do throws(Opening.Refusal) {
      reports.append(try top(opener, request, streams))
    } catch {
      throw streams.failure(
        "Could not open '\(Escaping.human(image))': \(error.text)", hint: error.hint)
    }
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
    _ opener: ChainOpener, _ request: OpenRequest, _ streams: Streams
  ) throws(Opening.Refusal) -> InfoText {
    let storage = try Opening.file(opener)
    let isRaw = try Opening.format(of: storage, request.format?.rawValue ?? format) == .raw
    // Nothing here needs the key; a secret that is given is tried all the same.
    var options = Image.Options()
    if !isRaw { options.secret = try unlock.get(request, for: storage) }
    var content = InfoText.Content.raw
    if !isRaw {
      content = .qcow2(
        try Opening.look(at: storage, options, streams) { storage, options throws(ImageError) in
          try Image(storage, options: options)
        })
    }
    do throws(ImageError) {
      return try InfoText(name: storage.name, storage: storage, content: content)
    } catch { throw Opening.Refusal(error) }
  }

  private func layer(
    _ name: String, _ above: InfoText, _ opener: ChainOpener, _ streams: Streams
  ) throws -> InfoText {
    var path = name
    do throws(ImageError) {
      let layer = try LayerName(name, format: above.backingFormat, imagePath: above.name)
      path = layer.path
      let (file, format) = try opener.openFile(layer, namedBy: above.name)
      return try Self.info(file, format == .raw)
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

  private static func info(_ storage: FileStorage, _ isRaw: Bool) throws(ImageError) -> InfoText {
    let content = isRaw ? InfoText.Content.raw : .qcow2(try Image(storage, options: Image.Options()))
    return try InfoText(name: storage.name, storage: storage, content: content)
  }
}
