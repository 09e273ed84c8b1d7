// `qatlas create`: makes a new image file. Options are tried in memory first, so that a refused
// request leaves an existing file alone; a file that cannot be finished is removed again.

import ArgumentParser
import Explorer
import Glibc
import Qcow
import Storage

struct CreateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create", abstract: "Make a new, empty image.",
    discussion: """
      Options of -o, separated by commas: size, compat (0.10, 1.1), cluster_size, extended_l2,
      refcount_bits, lazy_refcounts, preallocation (off, metadata, falloc, full), compression_type
      (zlib, zstd), data_file, data_file_raw, keep_data_file. Besides: contiguous=on puts all data into one run behind
      the tables (with preallocation), reserve=SIZE leaves room for growing to SIZE, pinned=on keeps
      every cluster at its place from then on.
      """)

  @Option(name: .customShort("f", allowingJoined: true), help: "The format, qcow2.") var format = "qcow2"
  @Flag(name: .customShort("q"), help: "Print nothing.") var quiet = false
  @Option(
    name: .customShort("o", allowingJoined: true), parsing: .unconditionalSingleValue,
    help: "Options, name=value with commas between.")
  var options: [String] = []
  @Option(
    name: .customShort("b", allowingJoined: true), parsing: .unconditional,
    help: "The backing file, as the image is to name it.")
  var backing: String?
  @Option(name: .customShort("F", allowingJoined: true), help: "The backing file's format.")
  var backingFormat: String?
  @Flag(name: .customShort("u"), help: "Do not look at the backing file.") var unchecked = false
  @Flag(help: "Empty an external data file that is there and holds bytes.") var overwrite = false
  @OptionGroup var chain: ChainFlags
  @Argument(help: "The file to make.") var file: String
  @Argument(help: "The size of the disk: 4096, 64k, 1.5G.") var size: String?

  func run() throws {
    let streams = Streams(loss: .isKept)
    defer { streams.flush() }
    let name = Escaping.human(file)
    guard format == "qcow2" else {
      let known = format == "raw"
      throw streams.failure(
        known
          ? "\(name): the format 'raw' is not supported by this command, only qcow2"
          : "\(name): Unknown file format '\(Escaping.human(format))'")
    }
    var request: CreateRequest
    do throws(CreateRequest.Refusal) {
      request = try CreateRequest(
        file: file, size: size, lists: options, backing: backing, backingFormat: backingFormat,
        open: unchecked ? nil : { (name, format) throws(CreateRequest.Refusal) in try look(name, format) })
    } catch {
      throw streams.failure(error.description, hint: error.hint)
    }
    request.mayEmptyDataFile = overwrite
    if !quiet { streams.output(request.announcement) }
    if let refusal = request.refusal { throw streams.failure(refusal.description) }
    do throws(ImageError) {
      try rehearse(request)
    } catch {
      throw streams.failure("\(name): \(error.description)")
    }
    try make(request, name, streams)
  }

  /// Opens the backing file, which the user has named, with everything below it.
  private func look(_ backing: String, _ format: String?) throws(CreateRequest.Refusal)
    -> CreateRequest.Backing
  {
    do throws(ImageError) {
      let layer = try LayerName(backing, format: format, imagePath: file)
      // Only its size is wanted, so somebody may be writing it.
      var policy = chain.policy
      policy.forcesShare = true
      let opener = ChainOpener(layer.path, policy, for: file)
      let opened = try opener.openLayer(format: layer.format)
      guard !opener.hasOpened(file) else {
        throw ImageError(.option, "the new image would replace its backing file, or one that it needs")
      }
      return CreateRequest.Backing(size: opened.virtualSize, format: opened is Image ? "qcow2" : "raw")
    } catch {
      let hint = error.hint.map { Escaping.human($0) + "\n" } ?? ""
      throw CreateRequest.Refusal(
        "\(Escaping.human(file)): \(Escaping.human(error.description))",
        hint: hint + "Could not open backing image.\n")
    }
  }

  /// Makes the same image without its preallocation in memory, for its checks.
  private func rehearse(_ request: CreateRequest) throws(ImageError) {
    var options = request.options
    if let name = request.dataFile { options.dataFile = (name, MemoryStorage()) }
    try options.check()
    options.preallocation = .off
    options.contiguous = false
    options.reserve = options.pinned ? options.reserve : nil
    if request.dataFile != nil {
      // A raw data file has its tables made in advance; the checks do not need them.
      if options.dataFileRaw { options.size = min(options.size, 1 << 20) }
    }
    try Image.create(on: MemoryStorage(), options)
  }

  private func make(_ request: CreateRequest, _ name: String, _ streams: Streams) throws {
    var options = request.options
    let image: NewFile
    var dataFile: NewFile?
    do throws(StorageError) {
      (image, dataFile) = try NewFile.open(file, request)
    } catch {
      if error.operation == .lock {
        throw streams.failure("\(name): \(error.detail)", hint: error.hint.map { Escaping.human($0) + "\n" })
      }
      let verb = request.keepsDataFile && error.name == request.dataFile ? "open" : "create"
      throw streams.failure(
        "\(name): Could not \(verb) '\(Escaping.human(error.name))': \(error.detail)")
    }
    if let dataFile { options.dataFile = (dataFile.storage.name, dataFile.storage) }
    do throws(ImageError) {
      try Image.create(on: image.storage, options)
    } catch {
      image.remove(evenIfItWasThere: true)
      dataFile?.remove()
      throw streams.failure("\(name): \(Escaping.human(error.description))")
    }
    remember(request)
    try streams.end()
  }

  /// What the user named here by hand is not to be refused by the next command.
  private func remember(_ request: CreateRequest) {
    guard let image = try? HostFile.find(file) else { return }
    let gate = Gate(imagePaths: [file])
    let backing = request.options.backingFile.flatMap { name in
      (try? LayerName(name, format: request.options.backingFormat, imagePath: file))?.path
    }
    let named = [backing, request.dataFile].compactMap { $0.flatMap { try? HostFile.find($0) } }
    NamedFiles.replace(named.filter { !gate.admits($0, namedBy: file) }, for: image)
  }
}
