// Other images than the one that is shown: folders are listed, files opened and made by the program around the
// explorer, which itself opens nothing.

package import Cartography
package import Qcow
package import Storage
package import ToolText

/// A file in a folder.
package struct FolderEntry: Hashable, Sendable {
  /// As bytes of the host, without the folder.
  package var name: String
  /// It is a folder, or leads to one.
  package var isFolder: Bool

  package init(_ name: String, isFolder: Bool) {
    self.name = name
    self.isFolder = isFolder
  }
}

/// What is in a folder.
package struct FolderListing: Sendable {
  /// In no order.
  package var entries: [FolderEntry]
  /// There are more, which were left out.
  package var isCut: Bool

  package init(_ entries: [FolderEntry], isCut: Bool = false) {
    self.entries = entries
    self.isCut = isCut
  }
}

/// What a look at a file says.
package struct FileLook: Hashable, Sendable {
  /// Bytes; nil if that cannot be known.
  package var size: UInt64?
  /// The format by its first bytes, or what kind of file it is, in a word.
  package var kind: String

  package init(size: UInt64?, kind: String) {
    self.size = size
    self.kind = kind
  }
}

/// Where other images come from.
package protocol ImageShelf: AnyObject {
  /// The folder to begin with, as an absolute path that ends in "/".
  var folder: String { get }
  /// The entries of a folder, `limit` at most, without "." and "..".
  ///
  /// - Throws: ``StorageError`` for a folder that cannot be read.
  func list(_ folder: String, limit: Int) throws(StorageError) -> FolderListing
  /// Size and format of a file; nothing that an image names is opened for it.
  func look(at path: String) -> FileLook?
  /// Opens an image.
  ///
  /// - Throws: ``ImageError`` for an image that cannot be opened; the one before stays open.
  func open(_ path: String, secret: Secret?, salvages: Bool) throws(ImageError) -> Session
  /// An image to compare with: its file is read, nothing that it names is opened, and the session stays as it is.
  ///
  /// - Throws: ``ImageError`` for a file that is no image or cannot be opened.
  func scene(of path: String) throws(ImageError) -> Scene
  /// What a new image that is to be called `path` finds behind the name of its backing file.
  ///
  /// - Throws: ``CreateRequest/Refusal`` for what cannot be opened.
  func backing(
    _ name: String, format: String?, of path: String
  ) throws(CreateRequest.Refusal) -> CreateRequest.Backing
  /// Makes an image. What is there is written over.
  ///
  /// - Throws: ``ImageError`` for options that cannot be, and files that cannot be made.
  func make(_ request: CreateRequest, at path: String) throws(ImageError)
}
