// `qatlas measure`: how large the file of a new image will be.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat
import Storage
import ToolText

struct MeasureCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "measure",
    abstract: "Say how large a new image will be, empty or with the content of another.")

  @Option(
    name: [
      .customShort("f", allowingJoined: true), .customLong("format"), .customLong("source-format"),
    ],
    help: "The format of IMAGE: qcow2 or raw. Found out if not given.", completion: .formats)
  var format: String?
  @Flag(
    name: [.customLong("image-opts"), .customLong("source-image-opts")],
    help: "IMAGE is an option string, driver=qcow2,file.filename=…")
  var imageOptions = false
  @Option(
    name: [.customShort("l", allowingJoined: true), .customLong("snapshot")], parsing: .unconditional,
    help: "Measure a snapshot of IMAGE, by ID or name.")
  var snapshot: String?
  @Option(
    name: [.customShort("O", allowingJoined: true), .customLong("target-format")],
    help: "The format of the new file: raw (default) or qcow2.", completion: .formats)
  var targetFormat = "raw"
  @Option(
    name: [
      .customShort("o", allowingJoined: true), .customLong("options"), .customLong("target-format-options"),
    ],
    parsing: .unconditionalSingleValue, help: "Its options, as for create.", completion: .createOptions)
  var options: [String] = []
  @Option(
    name: [.customShort("s", allowingJoined: true), .customLong("size")], parsing: .unconditional,
    help: "The size of an empty disk, in place of IMAGE.")
  var size: String?
  @OptionGroup var output: OutputOptions
  @OptionGroup var chain: ChainFlags
  @OptionGroup var share: ShareFlag
  @OptionGroup var unlock: UnlockOptions
  @Argument(help: "The image whose content is meant.", completion: .file()) var files: [String] = []

  func run() throws {
    let streams = Streams()
    defer { streams.flush() }
    try output.check(streams, of: "measure")
    try unlock.checkObjects(streams)
    let size: UInt64?
    let choice: SnapshotChoice?
    do throws(CreateRequest.Refusal) {
      choice = try snapshot.map { (text) throws(CreateRequest.Refusal) in try SnapshotChoice(text) }
      size = try CreateRequest.operand(self.size)
    } catch { throw streams.failure(error.description, hint: error.hint) }
    if let problem = problem { throw streams.failure(problem) }
    let source = try files.first.map { file in
      try SourceDisk(
        file, SourceDisk.Words(format: format, isOptions: imageOptions), chain, share, unlock, streams)
    }
    if let choice { try source?.show(choice, streams) }
    var request: MeasureRequest
    do throws(CreateRequest.Refusal) {
      request = try MeasureRequest(format: targetFormat, lists: options)
    } catch {
      let failure = streams.failure(error.description, hint: error.hint)
      throw error.isOfWords
        ? streams.failure("Invalid options for file format '\(targetFormat)'") : failure
    }
    do throws(Opening.Refusal) {
      if let encryption = request.encryption {
        request.options?.encryption = try NewImage.unlocked(encryption, "", unlock)
      }
    } catch { throw streams.failure(error.text, hint: error.hint) }
    do throws(ImageError) {
      streams.output(text(try measure(request.options, source?.layer, size ?? 0)))
    } catch {
      throw streams.failure(
        error.code == .option
          ? Escaping.human(error.description) : "Unable to get block status: \(Tool.reason(error))")
    }
  }

  /// Which words do not go together.
  private var problem: String? {
    if files.count > 1 { return "At most one filename argument is allowed." }
    if files.isEmpty, imageOptions || format != nil || snapshot != nil {
      return "--image-opts, -f, and -l require a filename argument."
    }
    if !files.isEmpty, size != nil { return "--size N cannot be used together with a filename." }
    if files.isEmpty, size == nil { return "Either --size N or one filename must be specified." }
    return nil
  }

  private func measure(
    _ options: Image.CreateOptions?, _ source: (any GuestLayer)?, _ size: UInt64
  ) throws(ImageError) -> Measure {
    guard let options else { return Measure(raw: ByteCount(source?.virtualSize ?? size)) }
    guard let source else { return try Measure(options, size: ByteCount(size)) }
    return try Measure(options, source: source)
  }

  private func text(_ measure: Measure) -> String {
    guard output.isJSON else {
      return "required size: \(measure.required)\nfully allocated size: \(measure.fullyAllocated)\n"
        + (measure.bitmaps.map { "bitmaps size: \($0)\n" } ?? "")
    }
    let bitmaps = measure.bitmaps.map { [Field("bitmaps", .number($0))] } ?? []
    return ReportValue.object(
      bitmaps + [
        Field("required", .number(measure.required)),
        Field("fully-allocated", .number(measure.fullyAllocated)),
      ]
    ).json() + "\n"
  }
}
