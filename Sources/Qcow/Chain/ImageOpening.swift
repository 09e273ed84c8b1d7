// How somebody wants an image, said before it is opened: the one road for all commands and for programs. Locks,
// the gate, formats, the passphrase, missing layers and damage are answered here, in one order.

package import Storage

/// What is to be opened, and how.
package struct ImageOpening {
  /// What the file may be.
  package enum Format: Sendable {
    /// An image of this format alone; the value of `-f` is looked at before the file.
    case qcow2(asked: String?)
    /// Raw as well. Without a value of `-f` the first bytes say which.
    case any(asked: String?)
  }

  /// How far the opening goes.
  package enum Reach: Sendable {
    /// The file alone, for those who read its tables themselves.
    case file
    /// The image without what it names.
    case image
    /// With the layers below and the external data file.
    case chain
  }

  /// What becomes of an image that is not as it should be.
  package enum Demand: Sendable {
    /// Parts that the disk does not need are left out if they are damaged; ``Opened/damage`` names them.
    case look
    /// A damaged image stays shut.
    case sound
    /// An image that cannot be written is refused with the reason.
    case writable
    /// The same, but for an image with its data in another file, of which the change itself has to say more.
    case writableUnlessExternal
  }

  /// Why nothing was opened. Who prints it has words of its own for a file.
  package enum Failure: Error {
    case file(StorageError)
    case image(ImageError)
  }

  /// The path of the image, or the address of an export.
  package var path: String
  /// What may be opened besides.
  package var policy: ChainPolicy
  /// Options of the image; ``Image/Options/writable`` says how the file is opened.
  package var options: Image.Options
  /// Which formats may be opened.
  package var format = Format.qcow2(asked: nil)
  /// How much is opened.
  package var reach = Reach.chain
  /// How sound the image has to be.
  package var demand = Demand.sound
  /// Changes stay in memory; the files are only read.
  package var isScratch = false
  /// Gets the passphrase when the file is open, locked, and known to be an image.
  package var secret: ((any Storage) throws(ImageError) -> Secret?)?
  /// The sentence for a file of a format that cannot be opened.
  package var foreign: (String) -> String = { name in
    "the file has the format '\(name)', which is not supported, only qcow2 and raw"
  }

  package init(
    _ path: String, _ policy: ChainPolicy = ChainPolicy(), _ options: Image.Options = Image.Options()
  ) {
    self.path = path
    self.policy = policy
    self.options = options
  }

  /// What was opened.
  package struct Opened {
    /// The file of the host, locked, or the disk of a server.
    package let file: any Storage
    /// Its bytes: the file, or changes in memory above it.
    package let storage: any Storage
    /// Nil for a raw file, and if the file alone was asked for.
    package fileprivate(set) var image: Image?
    /// What was left out of the image, and why; nil if nothing was.
    package var damage: String? { image?.damageText }
    /// Knows the files of the chain.
    package let chain: ChainOpener

    /// The image with everything below it, or the raw file alone.
    package var layers: [any GuestLayer] { image?.layers ?? [RawLayer(storage)] }

    /// The file once more as an image for itself, without what it names.
    ///
    /// - Throws: ``ImageError`` for damage, and for options that contradict each other.
    package func image(_ options: Image.Options = Image.Options()) throws(ImageError) -> Image {
      try Image(storage, options: options)
    }
  }

  /// Opens what was asked for.
  ///
  /// - Throws: ``Failure``, of the file itself or of the image and all that it names.
  package func open() throws(Failure) -> Opened {
    do throws(ImageError) { try checkWords() } catch { throw .image(error) }
    let chain = ChainOpener(path, policy)
    let file: any Storage
    do throws(StorageError) { file = try chain.openFile(writable: options.writable && !isScratch) } catch {
      throw .file(error)
    }
    if isScratch {
      chain.wrap = { file, _ in OverlayStorage(base: file) }
      chain.keepsFiles = true
    }
    let bytes: any Storage = policy.faults.map { InjectingStorage(file, $0, Moment.ofWrites) } ?? file
    var opened = Opened(file: file, storage: isScratch ? OverlayStorage(base: bytes) : bytes, chain: chain)
    do throws(ImageError) { opened.image = try image(opened) } catch { throw .image(error) }
    return opened
  }

  /// What can be refused before a file is touched.
  private func checkWords() throws(ImageError) {
    if options.writable, policy.forcesShare, !isScratch {
      throw ImageError(.option, "force-share=on can only be used with read-only images")
    }
    if case .qcow2(let asked) = format { try Self.check(format: asked, mayBeRaw: false) }
  }

  /// Checks the value of `-f`; nil stands for looking at the file.
  ///
  /// - Throws: ``ImageError`` for a format that is unknown or not what the command takes.
  package static func check(format: String?, mayBeRaw: Bool) throws(ImageError) {
    guard let format, format != "qcow2", !(mayBeRaw && format == "raw") else { return }
    if format == "raw" {
      throw ImageError(.unsupported, "the format 'raw' is not supported by this command, only qcow2")
    }
    throw ImageError(.unsupported, "Unknown driver '\(format)'")
  }

  private func image(_ opened: Opened) throws(ImageError) -> Image? {
    if case .any(let asked) = format { try Self.check(format: asked, mayBeRaw: true) }
    var options = options
    guard reach != .file else {
      _ = try secret?(opened.file)
      return nil
    }
    guard try found(opened.storage) == .qcow2 else { return nil }
    if let secret { options.secret = try secret(opened.file) }
    return try demanded(options) { options throws(ImageError) in
      guard reach == .chain else { return try Image(opened.storage, options: options) }
      return try opened.chain.openImage(on: opened.storage, options)
    }
  }

  /// What the file is taken for.
  private func found(_ file: any Storage) throws(ImageError) -> LayerName.Format {
    guard case .any(let asked) = format else { return .qcow2 }
    let name: String
    if let asked { name = asked } else { name = try FileFormat.name(of: file) }
    if let known = LayerName.Format(rawValue: name) { return known }
    throw ImageError(.unsupported, foreign(name))
  }

  private func demanded(
    _ options: Image.Options, _ open: (Image.Options) throws(ImageError) -> Image
  ) throws(ImageError) -> Image {
    if demand == .look { return try Image.lookedAt(options, open) }
    let image = try open(options)
    if demand != .sound, let reason = image.readOnlyReason,
      demand == .writable || !image.hasExternalData
    {
      throw ImageError(.readOnly, reason)
    }
    return image
  }

  /// The file as a layer of an image that is yet to be made at `newImage`, with everything below it.
  ///
  /// - Throws: ``ImageError`` for a file that cannot be opened or that needs the file at `newImage`, and for
  ///   damage.
  package static func layer(
    _ layer: LayerName, _ policy: ChainPolicy, of newImage: String
  ) throws(ImageError) -> any GuestLayer {
    let opener = ChainOpener(layer.path, policy, for: newImage)
    let opened = try opener.openLayer(format: layer.format)
    guard !opener.hasOpened(newImage) else {
      throw ImageError(.option, "the new image would replace its backing file, or one that it needs")
    }
    return opened
  }

  /// A new image on an empty file, opened for what is to be written to it.
  ///
  /// - Throws: ``ImageError`` for options that cannot be, and what the host says.
  package static func made(
    on storage: any Storage, _ creation: Image.CreateOptions, _ options: Image.Options
  ) throws(ImageError) -> Image {
    try Image.create(on: storage, creation)
    return try Image(storage, options: options)
  }

  /// Another file to look at, with everything below it.
  ///
  /// - Throws: ``ImageError`` for a file that cannot be opened, and for damage.
  package static func other(_ layer: LayerName, _ policy: ChainPolicy) throws(ImageError) -> any GuestLayer {
    var policy = policy.withoutBacking
    policy.allowsMissing = false
    return try ChainOpener(layer.path, policy).openLayer(format: layer.format)
  }

  /// What opens the files of a session: nothing is written to them before a save.
  package static func sessionChain(_ path: String, _ policy: ChainPolicy) -> ChainOpener {
    let chain = ChainOpener(path, policy)
    chain.keepsFiles = true
    return chain
  }

  /// An image for a session that changes it in memory: as it was asked for, else for looking, else without the
  /// parts that are damaged.
  ///
  /// - Returns: the image, and why it is less than what was asked for.
  /// - Throws: ``ImageError`` if it cannot be opened at all.
  package static func session(
    on storage: any Storage, _ options: Image.Options, _ chain: ChainOpener?
  ) throws(ImageError) -> (image: Image, problem: String?) {
    func attempt(_ options: Image.Options) throws(ImageError) -> Image {
      if let chain { return try chain.openImage(on: storage, options) }
      return try Image(storage, options: options)
    }
    do throws(ImageError) {
      let image = try attempt(options)
      guard image.hasSnapshotsBehindEnd else { return (image, nil) }
      let looked = try Image.lookedAt(options, attempt)
      return (looked, looked.damageText)
    } catch {
      let image = try Image.lookedAt(options, attempt)
      return (image, image.damageText ?? error.description)
    }
  }
}
