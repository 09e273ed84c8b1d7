// `qatlas shares`: the screen of snapshots and layers as text or JSON.

import ArgumentParser
import Cartography
import Qcow
import ToolText

struct SharesCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "shares", abstract: "Show what the disk, its snapshots and the layers hold and share.",
    discussion: """
      The clusters of the disk and of every internal snapshot, those that only one of them has, and those that each \
      pair has in common, tables included; then every layer of the chain with the bytes of its tables, of its data, of \
      the data that the disk reads, and of the data that layers above hide.
      """)

  @OptionGroup var listed: ListedImage

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let opened = try listed.open(streams, readsData: true)
    let sharing = SnapshotSharing(opened, parts: 1)
    let holders = HolderMap(opened)
    let layers = LayerShares(opened)
    Scheduler.finish(sharing)
    Scheduler.finish(holders)
    Scheduler.finish(layers)
    SharesText(opened, sharing, holders, layers).write(json: listed.json, output: streams.output)
    try streams.end()
  }
}
