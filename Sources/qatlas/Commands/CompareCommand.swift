// `qatlas compare`: whether two disks have the same content. The exit code says it: 0 the same, 1 not, 2 a file that
// cannot be opened, 3 tables and 4 bytes that cannot be read.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import Storage
import ToolText

struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare", abstract: "Tell whether two disks have the same content.",
    discussion: "Ends with 0 if they have, with 1 if they have not, and with more if it cannot be told.")

  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("a-format")],
    help: "The format of the first: qcow2 or raw. Found out if not given.", completion: .formats)
  var format: String?
  @Option(
    name: [.customShort("F", allowingJoined: true), .customLong("b-format")],
    help: "The format of the second.", completion: .formats)
  var secondFormat: String?
  @Flag(name: .customLong("image-opts"), help: "Both are option strings, driver=qcow2,file.filename=…")
  var imageOptions = false
  @Flag(
    name: [.customShort("s"), .customLong("strict")],
    help: "Sizes and what is allocated have to be the same as well.")
  var strict = false
  @Option(
    name: [.customShort("T", allowingJoined: true), .customLong("cache")], help: "Has no effect.",
    completion: .cacheModes)
  var cache: String?
  @OptionGroup var progress: ProgressFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var chain: ChainFlags
  @OptionGroup var unlock: UnlockOptions
  @Argument(help: "The two images.", completion: .file()) var files: [String] = []

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    try unlock.checkObjects(streams)
    guard files.count == 2 else {
      throw streams.failure(
        "Expecting two image file names",
        hint: "Try '\(Tool.name) compare --help' for more information\n")
    }
    let line = progress.line(streams, step: 2)
    defer { line.end() }
    if let cache, !CacheWords.known.contains(cache) {
      _ = streams.failure("Invalid source cache option: \(Escaping.human(cache))")
      throw ExitCode(2)
    }
    let disks: [SourceDisk]
    do {
      disks = try zip(files, [format, secondFormat]).map { file, format in
        try SourceDisk(
          file, SourceDisk.Words(format: format, isOptions: imageOptions), chain, share, unlock, streams)
      }
    } catch { throw ExitCode(2) }
    line.show(0)
    var comparison = DiskComparison(disks[0].layer, disks[1].layer, isStrict: strict)
    comparison.tells = { bytes, total in line.add(Float(bytes) / Float(total) * 100) }
    comparison.sizesDiffer = { tell("Warning: Image size mismatch!", streams) }
    let difference: DiskComparison.Difference
    do throws(DiskComparison.Failure) { difference = try comparison.run() } catch {
      let name = Escaping.human(files[error.isSecond ? 1 : 0])
      let isLookup = error.step == .lookup
      _ = streams.failure(
        isLookup
          ? "Sector allocation test failed for \(name)"
          : "Error while reading offset \(error.offset) of \(name): \(Tool.reason(error.error))")
      throw ExitCode(isLookup ? 3 : 4)
    }
    switch difference {
    case .none: return tell("Images are identical.", streams)
    case .size: tell("Strict mode: Image size mismatch!", streams)
    case .status(let offset): tell("Strict mode: Offset \(offset) block status mismatch!", streams)
    case .content(let offset): tell("Content mismatch at offset \(offset)!", streams)
    }
    throw ExitCode(1)
  }

  private func tell(_ sentence: String, _ streams: Streams) {
    if !progress.quiet { streams.output(sentence + "\n") }
  }
}
