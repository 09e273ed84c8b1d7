// `qatlas info`: what an image is, without reading its data and without any other file.

import ArgumentParser
import Explorer
import Qcow
import Storage

struct InfoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info", abstract: "Show what an image is: sizes, format, features, snapshots.")

  @Option(name: .customShort("f", allowingJoined: true), help: "The format: qcow2 or raw. Found out if not given.")
  var format: String?
  @Option(help: "human or json.") var output = "human"
  @Flag(name: .customLong("backing-chain"), help: "Show the backing files as well.") var backingChain = false
  @Flag(name: [.customShort("U"), .customLong("force-share")], help: "Accepted for scripts; files are never locked.")
  var forceShare = false
  @Argument(help: "The image file.") var image: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    guard output == "human" || output == "json" else {
      throw streams.failure("--output must be used with human or json as argument.")
    }
    var reports: [InfoText] = []
    var next: (path: String, format: String?)? = (image, format)
    var seen: Set<String> = []
    while let (path, format) = next {
      guard seen.insert(path).inserted else {
        throw streams.failure("Backing file '\(Escaping.human(path))' creates an infinite loop.")
      }
      do throws(Opening.Refusal) {
        let info = try Self.info(path, format)
        reports.append(info)
        next = backingChain ? info.backingPath.map { ($0, info.backingFormat) } : nil
      } catch {
        throw streams.failure("Could not open '\(Escaping.human(path))': \(error.text)")
      }
    }
    if output == "human" {
      streams.output(reports.map(\.human).joined(separator: "\n"))
    } else {
      let trees = reports.map(\.report)
      streams.output((backingChain ? ReportValue.array(trees) : trees[0]).json() + "\n")
    }
  }

  private static func info(_ path: String, _ format: String?) throws(Opening.Refusal) -> InfoText {
    try Opening.check(format: format, path, raw: true)
    let storage = try Opening.file(path)
    let isRaw = format == "raw" || format == nil && Opening.isForeign(storage)
    let content = isRaw ? InfoText.Content.raw : .qcow2(try Opening.image(storage, Image.Options()))
    do throws(ImageError) {
      return try InfoText(name: path, storage: storage, content: content)
    } catch {
      throw Opening.Refusal(text: Escaping.human(error.description))
    }
  }
}
