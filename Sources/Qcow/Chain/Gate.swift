// The gate between the names in an image and the files of the host. An image comes from anywhere, and
// its backing file could be any file that its reader may read; so it has to lie where the image lies,
// or the user has to say that it may be elsewhere.

package import Storage

/// Which files an image may make this program open.
package struct Gate: Sendable {
  /// The flag that opens the gate, as error messages name it.
  package static let flag = "--allow-outside"

  package var allowsOutside: Bool
  /// The folder the image was found in, and the one it really lies in, without symbolic links.
  private let folders: [[UInt8]]

  /// A gate for the images at `paths`, which may be yet to be made, and for everything below them.
  package init(imagePaths paths: [String], allowsOutside: Bool) {
    self.allowsOutside = allowsOutside
    var folders: [[UInt8]] = []
    for path in paths {
      let folder = ByteText.folder(of: path)
      let named = folder.isEmpty ? "." : folder
      if let folder = try? HostFile.find(named), folder.kind == .folder { folders.append(folder.path) }
      if let image = try? HostFile.find(path) { folders.append(Array(image.folder)) }
    }
    self.folders = folders.map { $0 == [UInt8(ascii: "/")] ? [] : $0 }
  }

  /// Opens a regular file that an image names; never anything else, whatever is allowed.
  package func open(_ path: String, writable: Bool = false) throws(ImageError) -> FileStorage {
    do throws(StorageError) {
      let file = try HostFile.find(path)
      guard file.kind == .regular else {
        throw StorageError(
          .open, name: path, detail: "it is \(file.kind.rawValue), and images may only name regular files")
      }
      guard allowsOutside || folders.contains(where: { file.lies(beneath: $0[...]) }) else {
        throw StorageError(
          .open, name: path, detail: "it lies outside of the folder of the image; \(Self.flag) opens it")
      }
      return try FileStorage(file, name: path, writable: writable)
    } catch {
      throw ImageError(.storage, "Could not open '\(path)': \(error.detail)")
    }
  }
}
