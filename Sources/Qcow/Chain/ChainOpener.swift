// Opens images with everything they name: the layers below and the external data file, through the gate.
// Who wants an image says so with an ``ImageOpening``.

import QcowFormat
package import Storage

/// Opens what an image names, while the image is being opened.
package protocol LayerOpener: AnyObject {
  /// The layer below the image at `imagePath`.
  /// Nil if it is to have none.
  ///
  /// - Throws: ``ImageError`` for a layer that cannot be opened or is not allowed.
  func openBacking(_ name: String, format: String?, imagePath: String) throws(ImageError) -> (any GuestLayer)?
  /// The external data file of the image at `imagePath`; nil if it is to stay closed.
  ///
  /// - Throws: ``ImageError`` for a file that cannot be opened or is not allowed.
  func openDataFile(_ name: String?, imagePath: String, writable: Bool) throws(ImageError) -> (any Storage)?
  /// A file that people themselves put below the image at `imagePath`, with everything it names.
  ///
  /// - Throws: ``ImageError`` for a file that cannot be opened, that needs the image itself, or that is no qcow2
  ///   image and has no format by name.
  func openNamed(_ layer: LayerName, below imagePath: String) throws(ImageError) -> any GuestLayer
}

extension Image.Options {
  /// The layer below an image that is being opened: the given one, or the one it names.
  func backing(of image: OpenedTables, _ path: String) throws(ImageError) -> (any GuestLayer)? {
    guard let name = image.backingFileName, !standsAlone else { return nil }
    if let backing { return backing }
    return try layers?.openBacking(name, format: image.extensions.backingFormat, imagePath: path)
  }

  /// The same for its external data file.
  func dataFile(of image: OpenedTables, _ path: String) throws(ImageError) -> (any Storage)? {
    if let dataFile { return dataFile }
    return try layers?.openDataFile(image.extensions.dataFileName, imagePath: path, writable: writable)
  }
}

/// What may be opened for an image, and how.
package struct ChainPolicy: Sendable {
  /// Files outside of the image's folder may be opened.
  package var allowsOutside = false
  /// What the user has said about single files and folders outside of it.
  package var trust: (any Trust)?
  /// Layers that cannot be opened leave a hole instead of failing.
  package var allowsMissing = false
  /// Files may be looked at although somebody else writes them.
  package var forcesShare = false
  /// Nobody may write what is read, also where it has no tables.
  package var refusesWriters = false
  /// Files are locked against other programs.
  package var takesLocks = true
  /// What the user puts below the image in place of what it names.
  package enum Backing: Sendable {
    case nothing
    /// A file, and its format unless that is to be found out.
    case file(String, LayerName.Format?)
  }

  /// Nil for the layer that the image names.
  package var backing: Backing?
  /// What goes wrong with the file of the image; nil if nothing is to.
  package var faults: FaultPlan?
  /// The external data file as the user names it; nil for the name in the image.
  package var dataFile: String?
  /// The external data file is opened with the image; listings of tables do without.
  package var opensDataFile = true
  /// Nothing but tables is looked at: no layer that cannot be opened, for whatever reason, is in the way.
  package var needsNoLayer = false

  package init() {}

  /// The same for another image.
  var withoutBacking: ChainPolicy {
    var policy = self
    policy.backing = nil
    policy.faults = nil
    policy.dataFile = nil
    return policy
  }
}

/// Opens one chain.
package final class ChainOpener: LayerOpener {
  /// Layers of a chain, the image included; no chain that people made is nearly as long.
  package static let maximumLayers = 200

  /// For how many layers an error says that their backing file could not be opened.
  private static let saidLayers = 8

  /// What may be opened, and how.
  package let policy: ChainPolicy
  private let path: String
  private let gate: Gate
  /// The files of the chain so far.
  private var files: [LayerPlace.Identity] = []
  /// Their external data files.
  private var dataFiles: [LayerPlace.Identity] = []
  /// Stands between a layer's file, or the external data file of one, and who reads it, for changes that are to
  /// stay in memory.
  package var wrap: ((any Storage, FileOpener.Saved) -> any Storage)?
  /// The passphrase, while the chain is being opened.
  private var secret: Secret?
  /// Files are only read, although the image is open for changes.
  package var keepsFiles = false
  /// What opened files that people named later.
  private var others: [ChainOpener] = []

  /// An opener for the image at `path`, or for a layer at `path` of an image that is yet to be made.
  package init(_ path: String, _ policy: ChainPolicy = ChainPolicy(), for newImage: String? = nil) {
    self.path = path
    self.policy = policy
    gate = Gate(
      imagePaths: [path] + (newImage.map { [$0] } ?? []), allowsOutside: policy.allowsOutside,
      trust: policy.trust)
  }

  // MARK: The image

  /// The image file, locked for what is to be done with it.
  ///
  /// - Throws: ``StorageError`` for a file that cannot be opened or locked.
  package func openFile(writable: Bool) throws(StorageError) -> any Storage {
    try FileOpener(policy).openImage(path, for: .image(writable: writable))
  }

  /// The image on a file of ``openFile(writable:)``, or on an overlay above it, with all it names.
  ///
  /// - Throws: ``ImageError`` for damage, for a layer that cannot be opened, and for a wrong passphrase.
  package func openImage(on storage: any Storage, _ options: Image.Options) throws(ImageError) -> Image {
    var options = options
    startChain()
    // Layers below may have the same passphrase.
    secret = options.secret
    defer { secret = nil }
    options.layers = self
    if case .nothing? = policy.backing { options.standsAlone = true }
    let image = try Image(storage, options: options)
    if policy.dataFile != nil && !image.hasExternalData {
      throw ImageError(.option, "'data-file' can only be set for images with an external data file")
    }
    return image
  }

  /// The file as a layer of its own that nobody has named yet, with everything below it.
  ///
  /// - Throws: ``ImageError`` for a file that cannot be opened, and for damage.
  package func openLayer(format: LayerName.Format?) throws(ImageError) -> any GuestLayer {
    let file: any Storage
    do throws(StorageError) { file = try openFile(writable: false) } catch {
      if error.operation == .lock { throw ImageError(error) }
      throw ImageError(.storage, "Could not open '\(path)': \(error.detail)")
    }
    startChain()
    var format = format
    if format == nil { format = try Self.probe(file) }
    let storage = wrap?(file, format == .qcow2 ? .image : .raw) ?? file
    return format == .qcow2 ? try openImage(on: storage, Image.Options()) : RawLayer(storage)
  }

  /// Forgets the layers opened before; the image itself is the first of the next ones.
  package func startChain() {
    files = []
    dataFiles = []
    if let place = LayerPlace(path) { files.append(place.identity) }
  }

  /// Whether the file at `path` is part of the chain so far, as a layer or with the data of one.
  package func hasOpened(_ path: String) -> Bool {
    guard let place = LayerPlace(path) else { return false }
    return files.contains(place.identity) || dataFiles.contains(place.identity)
      || others.contains { $0.hasOpened(path) }
  }

  package func openNamed(_ layer: LayerName, below imagePath: String) throws(ImageError) -> any GuestLayer {
    var policy = policy.withoutBacking
    policy.allowsMissing = false
    let opener = ChainOpener(layer.path, policy, for: imagePath)
    opener.wrap = wrap
    opener.keepsFiles = keepsFiles
    let opened = try opener.openLayer(format: layer.format)
    guard !opener.hasOpened(imagePath) else {
      throw ImageError(.option, "'\(layer.path)' is the image itself, or needs it")
    }
    guard layer.format != nil || opened is Image else {
      throw ImageError(.option, "'\(layer.path)' is no qcow2 image; -F raw takes it as raw bytes")
    }
    others.append(opener)
    return opened
  }

  // MARK: What it names

  package func openBacking(_ name: String, format: String?, imagePath: String) throws(ImageError)
    -> (any GuestLayer)?
  {
    if files.count <= 1, let backing = policy.backing {
      guard case .file(let path, let format) = backing else { return nil }
      // Named by hand, it needs no gate.
      let opener = ChainOpener(path, policy.withoutBacking)
      opener.wrap = wrap
      opener.keepsFiles = keepsFiles
      return try opener.openLayer(format: format)
    }
    var path = name
    let depth = files.count
    do throws(ImageError) {
      let layer = try LayerName(name, format: format, imagePath: imagePath)
      path = layer.path
      return try open(layer, namedBy: imagePath)
    } catch {
      guard policy.needsNoLayer || policy.allowsMissing && error.hint == nil else {
        // The genuine tool says it once for every layer, however many there are.
        guard depth <= Self.saidLayers else { throw error }
        var error = error
        error.description = "Could not open backing file: " + error.description
        if error.hint == nil { error.remedy = Self.remedy }
        throw error
      }
      return MissingLayer(name: path, reason: error.description)
    }
  }

  /// What helps against a layer that cannot be opened.
  package static let remedy = "--allow-missing-backing goes on without it."

  private func open(_ layer: LayerName, namedBy image: String) throws(ImageError) -> any GuestLayer {
    let (file, format) = try openFile(layer, namedBy: image)
    let storage = wrap?(file, format == .qcow2 ? .image : .raw) ?? file
    guard format == .qcow2 else { return RawLayer(storage) }
    var options = Image.Options()
    options.layers = self
    options.secret = secret
    do throws(ImageError) { return try Image(storage, options: options) } catch {
      guard error.code == .encrypted else { throw error }
    }
    // Another passphrase: the layer stays closed where somebody asks for its data, not before.
    options.secret = nil
    return try Image(storage, options: options)
  }

  /// The next file of the chain, which the one at `image` names, locked, with its format.
  ///
  /// - Throws: ``ImageError`` for a file that cannot be opened or is not allowed.
  private func openFile(
    _ layer: LayerName, namedBy image: String
  ) throws(ImageError) -> (file: any Storage, format: LayerName.Format) {
    guard files.count < Self.maximumLayers else {
      throw ImageError(.unsupported, "the chain has more than \(Self.maximumLayers) layers")
    }
    let file = try gate.open(layer.path, namedBy: image)
    if let identity = LayerPlace.Identity(file) {
      guard !files.contains(identity) else {
        var loop = ImageError(
          .corrupt, "Backing file '\(layer.path)' creates an infinite loop.", at: .header, HostOffset(0))
        loop.file = layer.path
        throw loop
      }
      files.append(identity)
    }
    var format = layer.format
    if format == nil { format = try Self.probe(file) }
    let isImage = format == .qcow2
    try lock(file, isImage || policy.refusesWriters ? .reading : .looking)
    return (file, isImage ? .qcow2 : .raw)
  }

  /// The next layer of the chain, with its image for itself; nil for a raw file.
  ///
  /// - Throws: ``ImageError`` for a file that cannot be opened or is not allowed, and for damage.
  package func openNext(
    _ layer: LayerName, namedBy image: String
  ) throws(ImageError) -> (file: any Storage, image: Image?) {
    let (file, format) = try openFile(layer, namedBy: image)
    return (file, format == .qcow2 ? try Image(file) : nil)
  }

  package func openDataFile(
    _ name: String?, imagePath: String, writable: Bool
  ) throws(ImageError) -> (any Storage)? {
    guard policy.opensDataFile else { return nil }
    do throws(ImageError) {
      return try openNamedDataFile(name, imagePath, writable: writable && !keepsFiles)
    } catch {
      // The tables can be looked at without it.
      guard policy.needsNoLayer || policy.allowsMissing && error.hint == nil else {
        var error = error
        if error.hint == nil { error.remedy = Self.remedy }
        throw error
      }
      return nil
    }
  }

  private func openNamedDataFile(
    _ name: String?, _ imagePath: String, writable: Bool
  ) throws(ImageError) -> any Storage {
    let isTop = imagePath == path
    let file: any Storage
    if isTop, let given = policy.dataFile {
      do throws(StorageError) {
        file = try FileOpener(policy).openImage(given, for: .data(writable: writable))
      } catch {
        if error.operation == .lock { throw ImageError(error) }
        throw ImageError(.storage, "Could not open '\(given)': \(error.detail)")
      }
    } else {
      guard let name else { throw ImageError(.option, "'data-file' is required for this image") }
      // Unlike a backing file it is looked for from where the program runs, as QEMU does.
      file = try gate.open(
        try LayerName(name, imagePath: "").path, namedBy: imagePath, writable: writable)
      try lock(file, writable ? .writingData : .readingData)
    }
    if let identity = LayerPlace.Identity(file) { dataFiles.append(identity) }
    return wrap?(file, .data) ?? file
  }

  private func lock(_ file: any Storage, _ use: FileUse) throws(ImageError) {
    do throws(StorageError) { try FileOpener(policy).lock(file, use) } catch { throw ImageError(error) }
  }

  // MARK: Unnamed formats

  private static func probe(_ file: any Storage) throws(ImageError) -> LayerName.Format {
    let other = try FileFormat.name(of: file)
    if let known = LayerName.Format(rawValue: other) { return known }
    throw ImageError(
      .unsupported,
      "'\(file.name)' looks like the format '\(other)', which is not supported for layers; only qcow2 and raw are"
    )
  }
}
