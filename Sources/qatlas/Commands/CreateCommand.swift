// `qatlas create`: makes a new image file. Options are tried in memory first, so that a refused
// request leaves an existing file alone; a file that cannot be finished is removed again.

import ArgumentParser
import Cartography
import Explorer
import Glibc
import Qcow
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
    name: [.customShort("f", allowingJoined: true), .customLong("format")], help: "The format: qcow2 or raw.")
  var format = Tool.current == .imageTool ? "raw" : "qcow2"
  @Flag(name: [.customShort("q"), .customLong("quiet")], help: "Print nothing.") var quiet = false
  @Option(
    name: [.customShort("o", allowingJoined: true), .customLong("options")],
    parsing: .unconditionalSingleValue,
    help: "Options, name=value with commas between; help lists them.")
  var options: [String] = []
  @Option(
    name: [.customShort("b", allowingJoined: true), .customLong("backing")], parsing: .unconditional,
    help: "The backing file, as the image is to name it.")
  var backing: String?
  @Option(
    name: [
      .customShort("F", allowingJoined: true), .customShort("B", allowingJoined: true),
      .customLong("backing-format"),
    ],
    help: "The backing file's format.")
  var backingFormat: String?
  @Flag(name: [.customShort("u"), .customLong("backing-unsafe")], help: "Do not look at the backing file.")
  var unchecked = false
  @Flag(help: "Empty an external data file that is there and holds bytes.") var overwrite = false
  @OptionGroup var chain: ChainFlags
  @OptionGroup var unlock: UnlockOptions
  @Argument(help: "The file to make.") var file: String?
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
          ? nil : { (name, format) throws(CreateRequest.Refusal) in try look(name, format, file) })
    } catch {
      throw streams.failure(error.description, hint: error.hint)
    }
    request.mayEmptyDataFile = overwrite || Tool.isStandIn
    if !quiet { streams.output(request.announcement) }
    if let refusal = request.refusal { throw streams.failure(refusal.description) }
    do throws(Opening.Refusal) {
      if let encryption = request.encryption { request.options.encryption = try unlocked(encryption, file) }
    } catch { throw streams.failure("\(name): \(error.text)", hint: error.hint) }
    do throws(ImageError) {
      try rehearse(request)
    } catch {
      throw streams.failure("\(name): \(error.description)")
    }
    try make(request, file, name, streams)
  }

  /// The encryption with its passphrase, from `--object` by its name or from `--secret`.
  private func unlocked(_ request: EncryptionRequest, _ file: String) throws(Opening.Refusal)
    -> NewEncryption
  {
    guard request.secretName != nil || unlock.secrets.secret != nil else {
      throw Opening.Refusal(
        text: "Parameter 'encrypt.key-secret' is required for cipher",
        hint: Tool.isStandIn
          ? nil
          : "Give the passphrase with --secret file=PATH or env=NAME, or as --object secret,id=NAME,….\n")
    }
    guard request.secretName != nil || unlock.secrets.secret != "prompt" else {
      throw Opening.Refusal(
        text: "a new passphrase is not asked for, because a slip of the finger would lock the image for "
          + "good; give it with --secret file=PATH or env=NAME")
    }
    let secret: Secret?
    do throws(ImageError) {
      secret = try unlock.get(named: request.secretName, for: MemoryStorage(), file)
    } catch { throw Opening.Refusal(error) }
    guard let secret else {
      throw Opening.Refusal(text: "no passphrase was given")
    }
    return request.encryption(secret)
  }

  /// The file's path; "file:" may stand in front of it.
  private static func path(_ word: String) -> String {
    ByteText.starts(word, with: "file:") ? String(word.utf8.dropFirst(5)) ?? "" : word
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
    let made: NewFile
    do throws(StorageError) {
      made = try NewFile(Self.path(file))
      try made.prepare()
    } catch {
      if error.operation == .lock {
        throw streams.failure("\(name): \(error.detail)", hint: error.hint.map { Escaping.human($0) + "\n" })
      }
      throw streams.failure("\(name): Could not create '\(name)': \(error.detail)")
    }
    // The largest file there can be ends before 2^63.
    let sectors = (request.size &+ 511) & ~511
    do throws(ImageError) {
      try RawLayer(made.storage).resize(to: sectors, request.preallocation)
    } catch {
      let isTooLarge = request.size > 1 << 43
      throw streams.failure(
        isTooLarge
          ? "\(name): The image size is too large for file format 'raw'"
          : "\(name): \(Escaping.human(error.description))")
    }
    try streams.end()
  }

  /// Opens the backing file, which the user has named, with everything below it.
  private func look(_ backing: String, _ format: String?, _ file: String) throws(CreateRequest.Refusal)
    -> CreateRequest.Backing
  {
    do throws(ImageError) {
      let layer = try LayerName(backing, format: format, imagePath: file)
      // Only its size is wanted, so somebody may be writing it.
      var policy = chain.policy
      policy.forcesShare = true
      let opened = try ImageOpening.layer(layer, policy, of: Self.path(file))
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
    // Stretching the passphrase once is enough.
    options.encryption = nil
    options.preallocation = .off
    options.contiguous = false
    options.reserve = options.pinned ? options.reserve : nil
    if request.dataFile != nil {
      // A raw data file has its tables made in advance; the checks do not need them.
      if options.dataFileRaw { options.size = min(options.size, 1 << 20) }
    }
    try Image.create(on: MemoryStorage(), options)
  }

  private func make(_ request: CreateRequest, _ file: String, _ name: String, _ streams: Streams) throws {
    var options = request.options
    let image: NewFile
    var dataFile: NewFile?
    do throws(StorageError) {
      (image, dataFile) = try NewFile.open(Self.path(file), request)
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
      if let dataFile { try empty(dataFile, image, options) }
      try Image.create(on: image.storage, options)
    } catch {
      image.remove(evenIfItWasThere: true)
      dataFile?.remove()
      throw streams.failure("\(name): \(Escaping.human(error.description))")
    }
    remember(request, Self.path(file))
    try streams.end()
  }

  /// Empties a data file that is to be written anew. What it holds cannot be had back, so everything is
  /// tried around it first, with the length and the host blocks that the disk will need.
  private func empty(_ dataFile: NewFile, _ image: NewFile, _ options: Image.CreateOptions) throws(ImageError)
  {
    let isTried = dataFile.losesBytes
    if isTried {
      var trial = options
      trial.encryption = nil
      if trial.preallocation == .full { trial.preallocation = .falloc }
      try dataFile.keepingBytes { () throws(ImageError) in try Image.create(on: image.storage, trial) }
    }
    do throws(StorageError) {
      if isTried { try image.storage.empty() }
      try dataFile.prepare()
    } catch { throw ImageError(error) }
  }

  /// What the user named here by hand is not to be refused by the next command.
  private func remember(_ request: CreateRequest, _ file: String) {
    guard let image = try? HostFile.find(file) else { return }
    let gate = Gate(imagePaths: [file])
    let backing = request.options.backingFile.flatMap { name in
      (try? LayerName(name, format: request.options.backingFormat, imagePath: file))?.path
    }
    let named = [backing, request.dataFile].compactMap { $0.flatMap { try? HostFile.find($0) } }
    NamedFiles.replace(named.filter { !gate.admits($0, namedBy: file) }, for: image)
  }
}
