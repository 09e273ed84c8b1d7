// `qatlas defrag`: puts an image in order in place. It may be interrupted at any moment, by a power cut
// too, and simply be started again: the image is its own state.

import ArgumentParser
import Cartography
import Explorer
import Glibc
import Qcow
import QcowFormat
import Storage
import ToolText

struct DefragCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: Defrag.words.name, abstract: Defrag.words.abstract ?? "",
    discussion: Defrag.words.discussion)

  @Flag(help: "\(Defrag.words["--contiguous"].sentence)")
  var contiguous = false
  @Flag(
    name: .customLong("drop-leaks"),
    help: "\(Defrag.words["--drop-leaks"].sentence)")
  var dropsLeaks = false
  @Flag(name: .customLong("dry-run"), help: "Say what would be done and change nothing.") var dryRun = false
  @OptionGroup var output: OutputOptions
  @Option(name: .customShort("f", allowingJoined: true), help: "The format, qcow2.", completion: .formats)
  var format: String?
  @Flag(name: .customShort("p"), help: "Show progress on standard output.") var showsProgress = false
  @Flag(name: .customShort("q"), help: "Print nothing.") var quiet = false
  @Argument(help: "The image file.", completion: .file()) var image: String

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    try output.check(streams, of: "defrag")
    var opening = ImageOpening(image)
    opening.options.writable = !dryRun
    opening.format = .qcow2(asked: format)
    opening.reach = .file
    let opened: ImageOpening.Opened
    do throws(Opening.Refusal) { opened = try Opening.open(opening, streams) } catch {
      throw Opening.failure(image, error, streams)
    }
    do throws(ImageError) {
      try defrag(opened, streams)
    } catch {
      throw streams.failure(
        "Could not put '\(Escaping.human(image))' in order: \(Escaping.human(error.description))")
    }
  }

  private func defrag(_ opened: ImageOpening.Opened, _ streams: Streams) throws(ImageError) {
    let storage = opened.file
    // A refusal leaves the file as it is, its leaks as well.
    if let looked = try? opened.image() { _ = try looked.orderedLayout(contiguous: contiguous) }
    let leaks = try prepare(storage)
    var options = Image.Options()
    options.writable = !dryRun
    options.repairsDirty = false
    options.cache = .writeback
    // What moves the clusters of a pinned image takes the pin's bit away for the time of moving.
    options.policies.mapping = .qemu
    let image = try opened.image(options)
    let relocation = try Defrag(isContiguous: contiguous, dropsLeaks: dropsLeaks).begin(on: image)
    let forecast = relocation.forecast
    guard !dryRun else {
      if output.isJSON {
        streams.output(DefragText.forecast(forecast, leaks: leaks).json() + "\n")
      } else {
        streams.output(DefragText.human(forecast, leaks: leaks))
      }
      return
    }
    let line = ProgressLine(streams, isForced: showsProgress, isQuiet: quiet)
    line.show(relocation.progress)
    while try relocation.step() { line.show(relocation.progress) }
    line.show(relocation.progress)
    line.end()
    if image.pinState != .none { _ = try image.setPin() }
    if !quiet { streams.output(DefragText.summary(forecast, leaks: leaks, length: storage.length)) }
  }

  /// Checks the image and gives back what is leaked; returns how much that is.
  private func prepare(_ storage: any Storage) throws(ImageError) -> UInt64 {
    let check = try RelocationCheck(storage, dropsLeaks: dropsLeaks)
    if !dryRun { try check.dropLeaks(on: storage) }
    return check.leaks
  }
}

/// Progress that overwrites itself: on the error stream if that is a terminal, or where it is asked for
/// on standard output, as the genuine tool does.
private final class ProgressLine {
  private let streams: Streams
  private let isForced: Bool
  private let isShown: Bool
  private var last = ""

  init(_ streams: Streams, isForced: Bool, isQuiet: Bool) {
    self.streams = streams
    self.isForced = isForced && !isQuiet
    isShown = !isQuiet && (isForced || isatty(STDERR_FILENO) == 1)
  }

  func show(_ progress: RelocationProgress) {
    let text = DefragText.progress(progress)
    guard isShown, text != last else { return }
    last = text
    put(text, "\r")
  }

  func end() {
    if isShown { put("", "\n") }
  }

  private func put(_ text: String, _ end: Unicode.Scalar) {
    streams.progress(text, end: end, onOutput: isForced)
  }
}
