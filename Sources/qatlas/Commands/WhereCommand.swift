// `qatlas where`: "Where is it?" of one place as text or JSON, for pipes, screen readers and scripts.

import ArgumentParser
import Cartography
import Qcow
import QcowFormat
import ToolText

struct WhereCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "where", abstract: "Show the way from a place of the disk to its bytes, or back.",
    discussion: """
      WHERE is an offset of the disk, as 0x500000 or 5M, or one of the places of :goto: guest OFF, host OFF, \
      L1 i, L2 i j, start, end. Every step is told: the entries with their addresses and values, the host \
      cluster with its refcount and owners, the file and the layer that answer, and what a read costs.
      """)

  @Flag(help: "Print JSON.") var json = false
  @Option(
    help: ArgumentHelp("Name parts of the disk by lines of START-END NAME.", valueName: "file"),
    completion: .file())
  var labels: String?
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var word: ImageWord
  @Argument(help: "The image file.", completion: .file()) var image: String
  @Argument(help: ArgumentHelp("The place.", valueName: "where")) var place: [String]

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let opened = try Listing.open(image, word, chain, share, streams, readsData: true)
    do throws(CommandError) {
      let target = try GotoTarget(place, for: "where")
      let guest = try target.guest(in: opened.geometry)
      let atlas = Atlas(opened)
      // Whether an entry is right follows from all the others.
      atlas.scanAll()
      let named = GuestLabels(
        PartitionTable.labels(opened)
          + (try labels.map { path throws(CommandError) in try GuestLabels(file: path).list } ?? []))
      let text: WhereText
      if case .host(let offset) = target {
        text = WhereText(host: HostOffset(offset), in: atlas, labels: named)
      } else {
        text = WhereText(guest: guest ?? GuestOffset(0), in: atlas, labels: named)
      }
      text.write(json: json, output: streams.output)
    } catch { throw streams.failure(Escaping.human(error.description)) }
  }
}
