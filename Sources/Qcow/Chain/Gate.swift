// The gate between the names in an image and the files of the host. An image comes from anywhere, and
// its backing file could be any file that its reader may read; so it has to lie where the image lies,
// or the user has to say that it may be elsewhere.

package import Nbd
package import Storage

/// What an image or a layer lies in.
package enum LayerPlace: Sendable {
  case file(HostFile)
  case address(NbdAddress)

  /// Nil for a name that leads nowhere.
  package init?(_ name: String) {
    if NbdAddress.isAddress(name) {
      guard let address = try? NbdAddress(name) else { return nil }
      self = .address(address)
    } else {
      guard let file = try? HostFile.find(name) else { return nil }
      self = .file(file)
    }
  }

  /// The bytes by which people and lists know it: a path without symbolic links, or a URI of plain characters, which
  /// no path begins like.
  package var path: [UInt8] {
    switch self {
    case .file(let file): file.path
    case .address(let address): Array(address.uri.utf8)
    }
  }

  /// What tells bytes from all others, whatever they are called.
  package enum Identity: Hashable, Sendable {
    case file(HostFile.Identity)
    case address(NbdAddress)

    /// Nil for bytes that are neither in a file nor behind a server.
    init?(_ storage: any Storage) {
      if let remote = storage as? RemoteStorage {
        self = .address(remote.address)
      } else if let identity = (storage as? FileStorage)?.hostIdentity {
        self = .file(identity)
      } else {
        return nil
      }
    }
  }

  /// The same for all names of the same bytes.
  package var identity: Identity {
    switch self {
    case .file(let file): .file(file.identity)
    case .address(let address): .address(address)
    }
  }
}

/// What the user has said about files that images name.
package protocol Trust: Sendable {
  /// Whether `image` may have `file` opened, which it names and which lies elsewhere; an address lies elsewhere always.
  func admits(_ file: LayerPlace, namedBy image: LayerPlace) -> Bool
}

/// Which files an image may make this program open.
package struct Gate: Sendable {
  /// The flag that opens the gate, as error messages name it.
  package static let flag = "--allow-outside"

  private let allowsOutside: Bool
  private let trust: (any Trust)?
  /// The folder the image was found in, and the one it really lies in, without symbolic links.
  private let folders: [[UInt8]]

  /// A gate for the images at `paths`, which may be yet to be made, and for everything below them.
  package init(imagePaths paths: [String], allowsOutside: Bool = false, trust: (any Trust)? = nil) {
    self.allowsOutside = allowsOutside
    self.trust = trust
    folders = paths.flatMap { Self.folders(of: $0) }
  }

  private static func folders(of path: String) -> [[UInt8]] {
    // Nothing lies beside an address.
    guard !NbdAddress.isAddress(path) else { return [] }
    var folders: [[UInt8]] = []
    let folder = ByteText.folder(of: path)
    if let folder = try? HostFile.find(folder.isEmpty ? "." : folder), folder.kind == .folder {
      folders.append(folder.path)
    }
    if let image = try? HostFile.find(path) { folders.append(Array(image.folder)) }
    return folders.map { $0 == [UInt8(ascii: "/")] ? [] : $0 }
  }

  /// Opens a regular file that the image or layer at `image` names, or connects to the address that it names; never
  /// anything else, whatever is allowed.
  ///
  /// - Throws: ``ImageError`` for a file or an address that may not be opened, with the words that allow it.
  package func open(
    _ path: String, namedBy image: String, writable: Bool = false
  ) throws(ImageError) -> any Storage {
    do throws(StorageError) {
      if NbdAddress.isAddress(path) { return try connect(path, namedBy: image, writable: writable) }
      let file = try HostFile.find(path)
      guard file.kind == .regular else {
        throw StorageError(
          .open, name: path, detail: "it is \(file.kind.rawValue), and images may only name regular files")
      }
      guard admits(.file(file), namedBy: image) else {
        throw StorageError(
          .open, name: path, detail: "it lies outside of the folder of the image; \(Self.flag) opens it")
      }
      return try FileOpener().open(file, name: path, writable: writable)
    } catch {
      throw ImageError(.storage, "Could not open '\(path)': \(error.detail)")
    }
  }

  /// Nobody is connected to before somebody has agreed: even to ask a server tells it something.
  private func connect(
    _ address: String, namedBy image: String, writable: Bool
  ) throws(StorageError) -> RemoteStorage {
    let found: NbdAddress
    do throws(NbdAddress.Refusal) { found = try NbdAddress(address) } catch {
      throw StorageError(.open, name: address, detail: error.reason)
    }
    guard admits(.address(found), namedBy: image) else {
      throw StorageError(
        .open, name: address,
        detail: "it is an address and no file beside the image; \(Self.flag) connects to it")
    }
    guard !writable else { throw FileOpener.onlyLookedAt(address) }
    return try FileOpener.connect(address)
  }

  /// A layer that was let in may name what lies where it lies itself, as if it had been opened alone;
  /// the image above it may not.
  package func admits(_ file: LayerPlace, namedBy image: String) -> Bool {
    if allowsOutside { return true }
    if case .file(let file) = file,
      (folders + Self.folders(of: image)).contains(where: { file.lies(beneath: $0[...]) })
    {
      return true
    }
    guard let trust, let image = LayerPlace(image) else { return false }
    return trust.admits(file, namedBy: image)
  }
}
