// `qatlas discards`: a file of requests laid over an image, and what becomes of its discards.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import Storage
import ToolText

struct DiscardsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "discards", abstract: "Show what becomes of the discards in a file of requests.",
    discussion: """
      How many of the discarded bytes alignment drops, by whole clusters and by whole subclusters, which requests lose \
      most, and what each policy would free or keep mapped. The requests are played on the image in memory; no file \
      is changed. A line is 'discard OFFSET LENGTH', 'write ...' or 'zero ...' as the explorer and 'qatlas io' \
      take them, an offset and a length alone, a line of a trace of the block layer, or a call of fallocate, ioctl \
      or pwrite64 in a trace of system calls.
      """)

  @Flag(help: "Print every discard that loses something, in the order of the file, not only the worst.")
  var all = false
  @OptionGroup var listed: ListedImage
  @Argument(help: "The file of requests.", completion: .file()) var file: String

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    let opened = try listed.open(streams)
    let requests: FileStorage
    do throws(StorageError) { requests = try FileOpener().open(file, for: .text) } catch {
      throw streams.failure(Escaping.human(error.description))
    }
    let trace = DiscardTrace(opened, requests)
    var stream = ReportStream(json: listed.json, output: streams.output)
    stream.open("{")
    if all {
      stream.open("[", "losses")
      var losses = stream
      trace.hearsLoss = { losses.record(DiscardsText.record($0)) }
      Scheduler.finish(trace)
      stream = losses
    } else {
      Scheduler.finish(trace)
    }
    DiscardsText(trace).write(to: &stream, losses: all)
    if trace.failure != nil || trace.refusal != nil { throw ExitCode(1) }
  }
}
