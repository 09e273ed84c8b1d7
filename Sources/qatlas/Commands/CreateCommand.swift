// `qatlas create`: makes a new image file.

import ArgumentParser
import Cartography
import Explorer
import Glibc
import Qcow
import QcowFormat
import Storage
import ToolText

struct CreateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Make a new, empty image.",
    discussion: """
      Options of -o, separated by commas: size, compat (0.10, 1.1), cluster_size, extended_l2,
      refcount_bits, lazy_refcounts, preallocation (off, metadata, falloc, full), compression_type
      (zlib, zstd), data_file, data_file_raw, keep_data_file, encrypt.format (luks, aes) and its
      companions; -o help lists all. Besides: contiguous=on puts all data into one run behind
      the tables (with preallocation), reserve=SIZE leaves room for growing to SIZE, pinned=on keeps
      every cluster at its place from then on.
      """)

  @Option(
    name: [.customShort("f", allowingJoined: true), .customLong("format")], help: "The format: qcow2 or raw.",
    completion: .formats)
  var format = Tool.current == .imageTool ? "raw" : "qcow2"
  @Flag(name: [.customShort("q"), .customLong("quiet")], help: "Print nothing.") var quiet = false
  @Option(
    name: [.customShort("o", allowingJoined: true), .customLong("options")],
    parsing: .unconditionalSingleValue,
    help: "Options, name=value with commas between; help lists them.", completion: .createOptions)
  var options: [String] = []
  @Option(
    name: [.customShort("b", allowingJoined: true), .customLong("backing")], parsing: .unconditional,
    help: "The backing file, as the image is to name it.", completion: .file())
  var backing: String?
  @Option(
    name: [
      .customShort("F", allowingJoined: true), .customShort("B", allowingJoined: true),
      .customLong("backing-format"),
    ],
    help: "The backing file's format.", completion: .formats)
  var backingFormat: String?
  @Flag(name: [.customShort("u"), .customLong("backing-unsafe")], help: "Do not look at the backing file.")
  var unchecked = false
  @Flag(help: "Empty an external data file that is there and holds bytes.") var overwrite = false
  @OptionGroup var chain: ChainFlags
  @OptionGroup var unlock: UnlockOptions
  @Argument(help: "The file to make.", completion: .file()) var file: String?
  @Argument(help: "The size of the disk: 4096, 64k, 1.5G.") var size: String?

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    if CreateHelp.isAsked(options), format == "qcow2" || format == "raw" {
      streams.output(CreateHelp.text(format: format, namesFile: file != nil, ours: !Tool.isStandIn))
      return try streams.end()
    }
    guard let file else { throw ValidationError("give the name of the file to make") }
    if Tool.isStandIn, let scheme = LayerName.scheme(of: file), scheme != "file" {
      throw streams.failure("\(Escaping.human(file)): Unknown protocol '\(Escaping.human(scheme))'")
    }
    try unlock.checkObjects(streams)
    do throws(CreateRequest.Refusal) { _ = try CreateRequest.operand(size) } catch {
      throw streams.failure(error.description)
    }
    if format == "raw" { return try makeRaw(file, streams) }
    let name = Escaping.human(file)
    guard format == "qcow2" else {
      throw streams.failure("\(name): Unknown file format '\(Escaping.human(format))'")
    }
    var request: CreateRequest
    do throws(CreateRequest.Refusal) {
      request = try CreateRequest(
        file: file, size: size, lists: options, backing: backing, backingFormat: backingFormat,
        open: unchecked
          ? nil
          : { (name, format) throws(CreateRequest.Refusal) in
            try NewImage.look(name, format, file, chain.policy)
          })
    } catch {
      throw streams.failure(error.description, hint: error.hint)
    }
    request.mayEmptyDataFile = overwrite || Tool.isStandIn
    if !quiet { streams.output(request.announcement) }
    if let refusal = request.refusal { throw streams.failure(refusal.description) }
    do throws(Opening.Refusal) { try NewImage.make(request, file, unlock) } catch {
      throw streams.failure("\(name): \(error.text)", hint: error.hint)
    }
    try streams.end()
  }

  private func makeRaw(_ file: String, _ streams: Streams) throws {
    let request: RawCreateRequest
    do throws(CreateRequest.Refusal) {
      request = try RawCreateRequest(
        file: file, size: size, lists: options, backing: backing, backingFormat: backingFormat)
    } catch { throw streams.failure(error.description, hint: error.hint) }
    if !quiet { streams.output(request.announcement) }
    let name = Escaping.human(file)
    if let refusal = request.refusal { throw streams.failure(refusal.description) }
    do throws(Opening.Refusal) { try NewImage.make(request, file) } catch {
      throw streams.failure("\(name): \(error.text)", hint: error.hint)
    }
    try streams.end()
  }
}
