// `qatlas convert`: copies disks to a new image or raw file, or into one that is there, as the genuine tool does.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import Storage
import ToolText

struct ConvertCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "convert",
    abstract: "Copy one or more disks into another file, in another format if asked for.",
    discussion: """
      The layers of a chain become one. Runs of zeroes take no space in the target. Options of -o are those
      of create. Writes are always made in order: -W and -m are understood and change nothing.
      """)

  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("source-format")],
    help: "The format of the sources: qcow2 or raw. Found out if not given.", completion: .formats)
  var format: String?
  @Flag(name: .customLong("image-opts"), help: "The sources are option strings, driver=qcow2,file.filename=…")
  var imageOptions = false
  @Option(
    name: [.customShort("T", allowingJoined: true), .customLong("source-cache")], help: "Has no effect.",
    completion: .cacheModes)
  var sourceCache: String?
  @Option(
    name: [.customShort("l", allowingJoined: true), .customLong("snapshot")], parsing: .unconditional,
    help: "Copy a snapshot of the source, by ID or name.")
  var snapshot: String?
  @Flag(help: "Copy the persistent bitmaps as well.") var bitmaps = false
  @Flag(name: .customLong("skip-broken-bitmaps"), help: "Leave out bitmaps that cannot be trusted.")
  var skipsBroken = false
  @Flag(name: .customLong("salvage"), help: "What cannot be read is copied as zeroes.") var salvages = false
  @Option(
    name: [.customShort("O", allowingJoined: true), .customLong("target-format")],
    help: "The format of the target: raw (default) or qcow2.", completion: .formats)
  var targetFormat: String?
  @Flag(name: .customLong("target-image-opts"), help: "The target is an option string; needs -n.")
  var targetOptions = false
  @Option(
    name: [.customShort("o", allowingJoined: true), .customLong("target-format-options")],
    parsing: .unconditionalSingleValue, help: "Options of the target, as for create; help lists them.",
    completion: .createOptions)
  var options: [String] = []
  @Option(
    name: [.customShort("t", allowingJoined: true), .customLong("target-cache")],
    help:
      "writethrough waits for the disk after every request, writeback at the end, unsafe not for a new file.",
    completion: .cacheModes)
  var targetCache = "unsafe"
  @Option(
    name: [
      .customShort("b", allowingJoined: true), .customShort("B", allowingJoined: true),
      .customLong("backing"),
    ],
    parsing: .unconditional,
    help: "The target's backing file. What the source takes from its own is left to it.", completion: .file())
  var backing: String?
  @Option(
    name: [.customShort("F", allowingJoined: true), .customLong("backing-format")],
    help: "The backing file's format.", completion: .formats)
  var backingFormat: String?
  @Option(
    name: [.customShort("S", allowingJoined: true), .customLong("sparse-size")], parsing: .unconditional,
    help: "How many bytes of zeroes become a gap (4k); 0 writes everything.")
  var sparseSize: String?
  @Flag(name: [.customShort("n"), .customLong("no-create")], help: "Copy into a target that is there.")
  var keepsTarget = false
  @Flag(name: .customLong("target-is-zero"), help: "The target reads as zeroes everywhere; needs -n.")
  var targetIsZero = false
  @Flag(name: [.customShort("c"), .customLong("compress")], help: "Write compressed clusters.")
  var compresses = false
  @Flag(
    name: .customLong("compress-fast"),
    help: "As -c in a fraction of the time; the type is zstd unless -o names another, zlib gains less.")
  var compressesFast = false
  @Option(
    name: [.customShort("r", allowingJoined: true), .customLong("rate-limit")], parsing: .unconditional,
    help: "Bytes to write in a second at most.")
  var rate: String?
  @Option(
    name: [.customShort("m", allowingJoined: true), .customLong("parallel")], parsing: .unconditional,
    help: "Has no effect.")
  var parallel: String?
  @Flag(name: [.customShort("W"), .customLong("oob-writes")], help: "Has no effect.") var anyOrder = false
  @Flag(
    name: [.customShort("C"), .customLong("copy-range-offloading")], help: "Do not look for zeroes in data.")
  var offloads = false
  @OptionGroup var progress: ProgressFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var chain: ChainFlags
  @OptionGroup var unlock: UnlockOptions
  @Argument(help: "The files to copy, one behind the other, and the target.", completion: .file()) var files:
    [String] = []

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    try unlock.checkObjects(streams)
    let request: ConvertRequest
    do throws(CreateRequest.Refusal) { request = try ConvertRequest(words) } catch {
      throw streams.failure(error.description, hint: error.hint)
    }
    let target = files.count > 1 ? files.last : nil
    if CreateHelp.isAsked(options), let format = request.targetFormat {
      streams.output(CreateHelp.text(format: format, namesFile: target != nil, ours: !Tool.isStandIn))
      return try streams.end()
    }
    guard let target else { throw streams.failure("Must specify image file name") }
    if let sourceCache, !CacheWords.known.contains(sourceCache) {
      throw streams.failure("Invalid source cache option: \(Escaping.human(sourceCache))")
    }
    let line = progress.line(streams, step: 1)
    line.show(0)
    defer { line.end() }
    let sources = try openSources(request, streams)
    let work = ConvertWork(
      request: request, command: self, sources: sources, target: target, streams: streams, line: line)
    try work.run()
    line.show(100)
    try streams.end()
  }

  private var words: ConvertRequest.Words {
    var words = ConvertRequest.Words()
    words.targetFormat = targetFormat
    // What is given later counts.
    words.options = compressesFast ? ["compression_type=zstd"] + options : options
    words.sparseSize = sparseSize
    words.rate = rate
    words.parallel = parallel
    words.snapshot = snapshot
    words.keepsTarget = keepsTarget
    words.compresses = compresses || compressesFast
    words.offloads = offloads
    words.bitmaps = bitmaps
    words.skipsBroken = skipsBroken
    words.salvages = salvages
    words.targetIsZero = targetIsZero
    words.targetIsOptions = targetOptions
    return words
  }

  /// The sources, all of them open, with the snapshot that is meant.
  private func openSources(_ request: ConvertRequest, _ streams: Streams) throws -> [SourceDisk] {
    let words = SourceDisk.Words(format: format, isOptions: imageOptions, refusesWriters: true)
    let sources = try files.dropLast().map { try SourceDisk($0, words, chain, share, unlock, streams) }
    guard let choice = request.snapshot else { return sources }
    guard sources.count == 1 || choice.isExact else {
      throw streams.failure("No support for concatenating multiple snapshot")
    }
    try sources.first?.show(choice, streams)
    return sources
  }
}
