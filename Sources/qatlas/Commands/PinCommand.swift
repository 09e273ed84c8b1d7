// `qatlas pin`: makes the one shift of an image's clusters a property of the image, and looks whether it
// still holds.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat
import ToolText

struct PinCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: Pin.words.name, abstract: Pin.words.abstract ?? "", discussion: Pin.words.discussion)

  @Flag(help: "Only look; nothing is written.") var check = false
  @Flag(help: "Put clusters that are elsewhere back to their places first.") var restore = false
  @Flag(
    name: .customLong("drop-leaks"),
    help: "With --restore: give leaked clusters back although they hold data, which is then lost.")
  var dropsLeaks = false
  @OptionGroup var output: OutputOptions
  @OptionGroup var chain: ChainFlags
  @Argument(help: "The image file.", completion: .file()) var image: String

  func validate() throws {
    if check && restore { throw ValidationError("--check and --restore exclude each other") }
    if dropsLeaks && !restore { throw ValidationError("--drop-leaks goes with --restore") }
  }

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    try output.check(streams, of: "pin")
    if restore { try giveLeaksBack(streams) }
    let opened = try Opening.forChange(
      image, chain, writable: !check, policies: Policies(restore ? .qemu : nil), streams)
    let report: PlacesReport
    do throws(ImageError) {
      if check {
        report = try opened.checkPin()
      } else if restore {
        report = try opened.restorePin()
        try opened.close()
      } else {
        report = try opened.setPin()
        try opened.close()
      }
    } catch { throw streams.failure(Escaping.human(error.description)) }
    let text = PinText(image, report, opened.geometry)
    streams.output(output.isJSON ? text.json : text.human)
    if report.moved > 0 { throw ExitCode(3) }
    try streams.end()
  }
}

extension PinCommand {
  /// Clusters are only moved in a sound image; what an interrupted run leaked is given back first.
  private func giveLeaksBack(_ streams: Streams) throws {
    do throws(Opening.Refusal) {
      var opening = ImageOpening(image)
      opening.options.writable = true
      opening.reach = .file
      let opened = try Opening.open(opening, streams)
      do throws(ImageError) {
        // A refusal leaves the file as it is, its leaks as well.
        if let looked = try? opened.image(), looked.pinState == .none {
          throw ImageError(.option, "the image is not pinned")
        }
        try RelocationCheck(opened.file, dropsLeaks: dropsLeaks).dropLeaks(on: opened.file)
      } catch {
        throw Opening.Refusal(error)
      }
    } catch { throw Opening.failure(image, error, streams) }
  }
}
