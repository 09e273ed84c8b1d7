// `qatlas dd`: copies blocks of a disk into a new file, as they are.

import ArgumentParser
import Cartography
import Explorer
import Qcow
import QcowFormat
import Storage
import ToolText

struct DdCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dd", abstract: "Copy blocks of a disk into a new file, as they are.",
    discussion: """
      Words: if=IMAGE, of=FILE, bs=SIZE (512), count=BLOCKS, skip=BLOCKS. Zeroes are copied like all other \
      bytes; convert leaves gaps for them.
      """)

  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")],
    help: "The format of the input: qcow2 or raw. Found out if not given.", completion: .formats)
  var format: String?
  @Flag(name: .customLong("image-opts"), help: "The input is an option string, driver=qcow2,file.filename=…")
  var imageOptions = false
  @Option(
    name: [.customShort("O", allowingJoined: true), .customLong("output-format")],
    help: "The format of the output: raw (default) or qcow2.", completion: .formats)
  var outputFormat = "raw"
  @OptionGroup var share: ShareFlag
  @OptionGroup var chain: ChainFlags
  @OptionGroup var unlock: UnlockOptions
  @Argument(
    help: "if=IMAGE of=FILE and so on.",
    completion: .list(["if=", "of=", "bs=", "count=", "skip=", "iflag="])) var words: [String] = []

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    try unlock.checkObjects(streams)
    let request: BlockCopyRequest
    do throws(CreateRequest.Refusal) { request = try BlockCopyRequest(words) } catch {
      throw streams.failure(error.description)
    }
    let source = try SourceDisk(
      request.input, SourceDisk.Words(format: format, isOptions: imageOptions), chain, share, unlock, streams)
    guard LayerName.known.contains(outputFormat), outputFormat != "file" else {
      throw streams.failure("Unknown file format")
    }
    let isImage = outputFormat == "qcow2"
    guard isImage || outputFormat == "raw" else {
      throw streams.failure("the format '\(outputFormat)' is not supported for targets, only qcow2 and raw")
    }
    if Tool.isStandIn, let scheme = LayerName.scheme(of: request.output), scheme != "file" {
      throw streams.failure("Unknown protocol '\(Escaping.human(scheme))'")
    }
    let range = request.range(of: source.layer.virtualSize)
    let target = try make(request.output, size: UInt64(range?.count ?? 0), isImage, source, streams)
    if range == nil {
      _ = streams.failure("\(Escaping.human(request.input)): cannot skip to specified offset")
    }
    let bytes = range ?? 0..<0
    let copy = BlockCopy(from: source.layer, to: target, blockSize: ByteCount(request.blockSize))
    do {
      try Interruption.during("'\(request.output)' holds a part of the copy; the same command makes it anew")
      {
        try copy.run(GuestOffset(bytes.lowerBound)..<GuestOffset(bytes.upperBound))
      }
    } catch let error as CopyFailure {
      try? target.close()
      let what = error.step == .write ? "writing to output" : "reading from input"
      throw streams.failure("error while \(what) image file: \(Tool.reason(error.error))")
    }
    do throws(ImageError) { try target.close() } catch {
      throw streams.failure("\(Escaping.human(request.output)): \(Escaping.human(error.description))")
    }
    try streams.end()
  }

  /// Makes the output and opens it.
  private func make(
    _ file: String, size: UInt64, _ isImage: Bool, _ source: SourceDisk, _ streams: Streams
  ) throws -> any GuestDisk {
    let path = NewImage.path(file)
    var refusal: Opening.Refusal?
    do throws(Opening.Refusal) {
      // The genuine tool looks at locks alone, and empties a raw file that it reads.
      if source.uses(path), !source.isKept(path) || share.forcesShare {
        throw Opening.Refusal(text: SourceDisk.targetIsSource)
      }
      do throws(CreateRequest.Refusal) {
        if isImage {
          let request = try CreateRequest(copy: file, size: size, lists: [], backing: nil, backingFormat: nil)
          do throws(Opening.Refusal) { try NewImage.make(request, file, unlock) } catch { refusal = error }
        } else {
          let request = try RawCreateRequest(
            copy: file, size: size, lists: [], backing: nil, backingFormat: nil)
          do throws(Opening.Refusal) { try NewImage.make(request, file) } catch { refusal = error }
        }
      } catch { refusal = Opening.Refusal(text: error.description, hint: error.hint) }
      if let refusal { throw refusal }
    } catch {
      throw streams.failure(
        "\(Escaping.human(file)): error while creating output image: \(error.text)", hint: error.hint)
    }
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    options.discard = .ignore
    var opening = ImageOpening(path, chain.policy, options)
    opening.format = .any(asked: isImage ? "qcow2" : "raw")
    opening.demand = .writable
    do throws(Opening.Refusal) {
      let opened = try Opening.open(opening, streams)
      return opened.image ?? RawDisk(opened.storage, options, isGuessed: false)
    } catch { throw Opening.failure(file, error, streams) }
  }
}
