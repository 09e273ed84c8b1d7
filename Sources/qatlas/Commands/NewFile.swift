// Files that are written anew, by `create` and as copies. Neither of a request is emptied before both are open, locked and found to be
// what they may be, so that a refused request leaves everything as it was.

import Explorer
import Glibc
import Qcow
import Storage
import ToolText

/// A file that is about to be written anew.
final class NewFile {
  let storage: FileStorage
  /// It was made by opening it.
  private let isNew: Bool
  private let isKept: Bool

  /// The image file, empty, and the external data file of a request, both locked for writing. What the
  /// data file holds is still there: ``prepare()`` empties it.
  static func open(
    _ path: String, _ request: CreateRequest
  ) throws(StorageError) -> (image: NewFile, dataFile: NewFile?) {
    var opened: [NewFile] = []
    do throws(StorageError) {
      if let name = request.dataFile {
        let dataFile = try NewFile(name, isKept: request.keepsDataFile)
        opened.append(dataFile)
        if !request.mayEmptyDataFile { try dataFile.refuseContent() }
      }
      let image = try NewFile(path)
      opened.append(image)
      for file in opened { try file.storage.lock(.writing) }
      try image.prepare()
      return (image, opened.count > 1 ? opened[0] : nil)
    } catch {
      for file in opened { file.remove() }
      throw error
    }
  }

  /// Opens or makes the file and locks it; a kept one has to be there. Its bytes stay for now.
  init(_ path: String, isKept: Bool = false) throws(StorageError) {
    self.isKept = isKept
    isNew = FileStorage.identity(path: path) == nil
    storage = try FileOpener().open(path, for: isKept ? .kept : .new)
    do throws(StorageError) { try storage.lock(.creating) } catch {
      remove()
      throw error
    }
  }

  /// Makes a file, and locks it; one that is there already is refused.
  convenience init(making path: String) throws(StorageError) {
    guard FileStorage.identity(path: path) == nil else {
      throw StorageError(.open, name: path, detail: "it exists already, and nothing is overwritten here")
    }
    try self.init(path)
    try prepare()
  }

  /// Throws if the file holds bytes that would be lost.
  func refuseContent() throws(StorageError) {
    guard !isKept, !isNew, storage.length > 0, storage.hostIdentity?.kind == .regular else { return }
    throw StorageError(
      .open, name: storage.name,
      detail:
        "it is there and holds \(storage.length) bytes, which would be lost; -o keep_data_file=on takes "
        + "them as the disk's content, --overwrite empties the file")
  }

  /// Locks the file for writing and empties it unless it is kept.
  func prepare() throws(StorageError) {
    try storage.lock(.writing)
    if !isKept { try storage.empty() }
  }

  /// It holds bytes that ``prepare()`` drops.
  var losesBytes: Bool {
    !isKept && !isNew && storage.length > 0 && storage.hostIdentity?.kind == .regular
  }

  /// Does work that may fail and that changes nothing but the file's length, which is taken back then.
  func keepingBytes(_ work: () throws(ImageError) -> Void) throws(ImageError) {
    let before = storage.length
    do throws(ImageError) { try work() } catch {
      if storage.length > before { try? storage.truncate(to: before, tag: WriteTag(.file, .resize)) }
      throw error
    }
  }

  /// Removes the file if it was made here; one that was there only where the genuine tool does it.
  /// False if it is still there.
  @discardableResult
  func remove(evenIfItWasThere: Bool = false) -> Bool {
    guard isNew || evenIfItWasThere, let own = storage.hostIdentity, own.kind == .regular else {
      return false
    }
    return unsafe ByteText.withCString(storage.name) { path in
      var status = Glibc.stat()
      guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return false }
      return unsafe unlink(path) == 0
    }
  }
}
