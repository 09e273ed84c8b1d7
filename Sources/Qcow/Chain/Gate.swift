// The gate between the names in an image and the files of the host. An image comes from anywhere, and
// its backing file could be any file that its reader may read; so it has to lie where the image lies,
// or the user has to say that it may be elsewhere.

package import Storage

/// What the user has said about files that images name.
package protocol Trust: Sendable {
  /// Whether `image` may have `file` opened, which it names and which lies elsewhere.
  func admits(_ file: HostFile, namedBy image: HostFile) -> Bool
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
    var folders: [[UInt8]] = []
    let folder = ByteText.folder(of: path)
    if let folder = try? HostFile.find(folder.isEmpty ? "." : folder), folder.kind == .folder {
      folders.append(folder.path)
    }
    if let image = try? HostFile.find(path) { folders.append(Array(image.folder)) }
    return folders.map { $0 == [UInt8(ascii: "/")] ? [] : $0 }
  }

  /// Opens a regular file that the image or layer at `image` names; never anything else, whatever is
  /// allowed.
  ///
  /// - Throws: ``ImageError`` for a file that may not be opened, with the words that allow it.
  package func open(
    _ path: String, namedBy image: String, writable: Bool = false
  ) throws(ImageError) -> FileStorage {
    do throws(StorageError) {
      let file = try HostFile.find(path)
      guard file.kind == .regular else {
        throw StorageError(
          .open, name: path, detail: "it is \(file.kind.rawValue), and images may only name regular files")
      }
      guard admits(file, namedBy: image) else {
        throw StorageError(
          .open, name: path, detail: "it lies outside of the folder of the image; \(Self.flag) opens it")
      }
      return try FileOpener().open(file, name: path, writable: writable)
    } catch {
      throw ImageError(.storage, "Could not open '\(path)': \(error.detail)")
    }
  }

  /// A layer that was let in may name what lies where it lies itself, as if it had been opened alone;
  /// the image above it may not.
  package func admits(_ file: HostFile, namedBy image: String) -> Bool {
    if allowsOutside || (folders + Self.folders(of: image)).contains(where: { file.lies(beneath: $0[...]) }) {
      return true
    }
    guard let trust, let image = try? HostFile.find(image) else { return false }
    return trust.admits(file, namedBy: image)
  }
}
