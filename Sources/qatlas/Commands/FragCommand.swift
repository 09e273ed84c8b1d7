// `qatlas frag`: the fragmentation screen as text or JSON, one record per line, for pipes, screen readers
// and scripts.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import ToolText

struct FragCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "frag", abstract: "Show how the clusters of an image are scattered, and what that costs.",
    discussion: """
      A run is a row of guest clusters whose host clusters follow each other; the best possible number of runs \
      is one for every row of allocated guest clusters. All figures come three times: for all clusters, without \
      compressed clusters (standard), and for these alone.
      """)

  @OptionGroup var listed: ListedImage

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let scan = FragmentationScan(try listed.open(streams, tellsMissing: false))
    while !scan.isDone { scan.step(budgetNanoseconds: 100_000_000) }
    let text = FragText(scan.result)
    streams.output(listed.json ? text.json : text.human)
  }
}
