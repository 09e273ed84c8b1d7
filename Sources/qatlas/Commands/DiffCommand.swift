// `qatlas diff`: where two images, or two states of one, are mapped otherwise.

import ArgumentParser
import Cartography
import Qcow
import QcowFormat
import Storage
import ToolText

struct DiffCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff", abstract: "Show where two images, or two states of one, are mapped otherwise.",
    discussion: """
      Header fields, guest clusters whose entries differ, host clusters that are used otherwise, and entries of the \
      L1 and of the refcount table. What the guest reads may be the same all the same; 'compare' tells that. With \
      one image, --from or --to name a snapshot of it. The exit code is 1 if there is a difference.
      """)

  @Flag(help: "Print JSON.") var json = false
  @Option(help: ArgumentHelp("Look at the first image as this snapshot keeps it.", valueName: "snapshot"))
  var from: String?
  @Option(help: ArgumentHelp("Look at the second one as this snapshot keeps it.", valueName: "snapshot"))
  var to: String?
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var word: ImageWord
  @Argument(help: "The image file.", completion: .file()) var image: String
  @Argument(help: "The other image; the same one without it.", completion: .file()) var other: String?

  func validate() throws {
    if other == nil && from == to {
      throw ValidationError("two states are needed: another image, --from or --to")
    }
  }

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let first = try scene(image, from, streams)
    let second = try scene(other ?? image, to, streams)
    let comparison = SceneComparison(first, second)
    Scheduler.finish(comparison)
    var difference = comparison.difference
    // A snapshot is looked at through a header that was made for it.
    if from != nil || to != nil { difference.leaveOutHeader() }
    DiffText(difference, clusterSize: second.geometry.clusterSize)
      .write(json: json, output: streams.output)
    try streams.end()
    if !difference.isEmpty { throw ExitCode(1) }
  }

  private func scene(_ name: String, _ snapshot: String?, _ streams: Streams) throws -> Scene {
    let image = try Listing.open(name, word, chain, share, streams, tellsMissing: false)
    guard let snapshot else { return Scene(image, of: .file(name)) }
    guard let index = image.snapshots.index(idOrName: snapshot) else {
      throw streams.failure(
        "\(Escaping.human(name)): no snapshot has the ID or name '\(Escaping.human(snapshot))'")
    }
    do throws(ImageError) {
      return try Scene(snapshot: index, of: image, on: image.storage, data: image.dataStorage)
    } catch { throw streams.failure("\(Escaping.human(name)): \(Escaping.human(error.description))") }
  }
}
