// Makes the files of a new disk, by whichever verb it is asked for. Options are tried in memory first, so that a
// refused request leaves an existing file alone; a file that cannot be finished is removed again.

import Cartography
import Explorer
import Qcow
import QcowFormat
import Storage
import ToolText

/// The files of a new disk.
enum NewImage {
  /// Why they cannot be made, without the name of the file in front.
  typealias Refusal = Opening.Refusal

  /// The file's path; "file:" may stand in front of it.
  static func path(_ word: String) -> String {
    ByteText.starts(word, with: "file:") ? String(word.utf8.dropFirst(5)) ?? "" : word
  }

  /// Makes an image and its external data file, and remembers what the user has named for it.
  static func make(_ request: CreateRequest, _ file: String, _ unlock: UnlockOptions) throws(Refusal) {
    var request = request
    if let encryption = request.encryption {
      request.options.encryption = try unlocked(encryption, file, unlock)
    }
    try make(request, file)
  }

  /// The same, with the passphrase in the options if there is one.
  static func make(_ request: CreateRequest, _ file: String) throws(Refusal) {
    do throws(ImageError) { try rehearse(request) } catch { throw Refusal(error.description) }
    try write(request, path(file))
    remember(request, path(file))
  }

  /// Makes a raw file.
  static func make(_ request: RawCreateRequest, _ file: String) throws(Refusal) {
    let made: NewFile
    do throws(StorageError) {
      made = try NewFile(path(file))
      try made.prepare()
    } catch { throw Refusal(making: error, verb: "create") }
    // The largest file there can be ends before 2^63.
    let sectors = (request.size &+ 511) & ~511
    do throws(ImageError) {
      try RawLayer(made.storage).resize(to: ByteCount(sectors), request.preallocation)
    } catch {
      guard request.size <= 1 << 43 else {
        throw Refusal("The image size is too large for file format 'raw'")
      }
      throw Refusal(error.description)
    }
  }

  /// The encryption with its passphrase, from `--object` by its name or from `--secret`.
  static func unlocked(
    _ request: EncryptionRequest, _ file: String, _ unlock: UnlockOptions
  ) throws(Refusal) -> NewEncryption {
    guard request.secretName != nil || unlock.secrets.secret != nil else {
      throw Refusal(
        text: "Parameter 'encrypt.key-secret' is required for cipher",
        hint: Tool.isStandIn
          ? nil
          : "Give the passphrase with --secret file=PATH or env=NAME, or as --object secret,id=NAME,….\n")
    }
    guard request.secretName != nil || unlock.secrets.secret != "prompt" else {
      throw Refusal(
        text: "a new passphrase is not asked for, because a slip of the finger would lock the image for "
          + "good; give it with --secret file=PATH or env=NAME")
    }
    let secret: Secret?
    do throws(ImageError) {
      secret = try unlock.get(named: request.secretName, for: MemoryStorage(), file)
    } catch { throw Refusal(error) }
    guard let secret else { throw Refusal(text: "no passphrase was given") }
    return request.encryption(secret)
  }

  /// Makes the same image without its preallocation in memory, for its checks.
  private static func rehearse(_ request: CreateRequest) throws(ImageError) {
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

  private static func write(_ request: CreateRequest, _ path: String) throws(Refusal) {
    var options = request.options
    let image: NewFile
    var dataFile: NewFile?
    do throws(StorageError) { (image, dataFile) = try NewFile.open(path, request) } catch {
      throw Refusal(
        making: error, verb: request.keepsDataFile && error.name == request.dataFile ? "open" : "create")
    }
    if let dataFile { options.dataFile = (dataFile.storage.name, dataFile.storage) }
    do throws(ImageError) {
      if let dataFile { try empty(dataFile, image, options) }
      try Image.create(on: image.storage, options)
    } catch {
      image.remove(evenIfItWasThere: true)
      dataFile?.remove()
      throw Refusal(error.description)
    }
  }

  /// Empties a data file that is to be written anew. What it holds cannot be had back, so everything is
  /// tried around it first, with the length and the host blocks that the disk will need.
  private static func empty(
    _ dataFile: NewFile, _ image: NewFile, _ options: Image.CreateOptions
  ) throws(ImageError) {
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

  /// Opens the backing file, which the user has named, with everything below it.
  static func look(
    _ backing: String, _ format: String?, _ file: String, _ policy: ChainPolicy
  ) throws(CreateRequest.Refusal) -> CreateRequest.Backing {
    do throws(ImageError) {
      let layer = try LayerName(backing, format: format, imagePath: file)
      // Only its size is wanted, so somebody may be writing it.
      var policy = policy
      policy.forcesShare = true
      let opened = try ImageOpening.layer(layer, policy, of: path(file))
      return CreateRequest.Backing(size: opened.virtualSize, format: opened is Image ? "qcow2" : "raw")
    } catch {
      let hint = error.hint.map { Escaping.human($0) + "\n" } ?? ""
      throw CreateRequest.Refusal(
        "\(Escaping.human(file)): \(Escaping.human(error.description))",
        hint: hint + "Could not open backing image.\n")
    }
  }

  /// What the user named here by hand is not to be refused by the next command.
  private static func remember(_ request: CreateRequest, _ file: String) {
    guard let image = LayerPlace(file) else { return }
    let gate = Gate(imagePaths: [file])
    let backing = request.options.backingFile.flatMap { name in
      (try? LayerName(name, format: request.options.backingFormat, imagePath: file))?.path
    }
    let named = [backing, request.dataFile].compactMap { $0.flatMap { LayerPlace($0) } }
    NamedFiles.replace(named.filter { !gate.admits($0, namedBy: file) }, for: image)
  }
}

extension Opening.Refusal {
  /// What the engine says of options or of the host.
  fileprivate init(_ description: String) { self.init(text: Escaping.human(description)) }

  /// A file that cannot be made.
  fileprivate init(making error: StorageError, verb: String) {
    let isLock = error.operation == .lock
    self.init(
      text: isLock ? error.detail : "Could not \(verb) '\(Escaping.human(error.name))': \(error.detail)",
      hint: error.hint.map { Escaping.human($0) + "\n" })
  }
}
