// The one place where files of the host are opened. Whoever asks says what for; how the file is opened and
// which locks it takes follow from that, so that nobody can forget one.

import Glibc
import Nbd
package import Storage

/// Opens files, and takes their locks.
package struct FileOpener: Sendable {
  /// What a file is opened for.
  package enum Purpose: Sendable {
    /// The image. Read, its tables must stand still; what has none may be written by others meanwhile.
    case image(writable: Bool)
    /// The image as it is read beside a writer of this program, whose lock guards it.
    case besideWriter
    /// The external data file that the user names.
    case data(writable: Bool)
    /// A file that is written anew: made if it is not there, neither emptied nor locked yet.
    case new
    /// A data file that keeps its bytes and has to be there.
    case kept
    /// Whole texts of the user: scripts, traces, patterns, passphrases, notes. No image, no lock.
    case text
    /// A text that takes the place of what was there.
    case newText
  }

  /// Files are locked against other programs.
  package var takesLocks = true
  /// Files may be looked at although somebody else writes them.
  package var forcesShare = false
  /// Nobody may write what is read, also where it has no tables.
  package var refusesWriters = false

  package init() {}

  init(_ policy: ChainPolicy) {
    takesLocks = policy.takesLocks
    forcesShare = policy.forcesShare
    refusesWriters = policy.refusesWriters
  }

  /// Opens the file at `path`.
  ///
  /// - Throws: ``StorageError`` for a file that cannot be opened or locked.
  package func open(_ path: String, for purpose: Purpose) throws(StorageError) -> FileStorage {
    let file = try FileStorage(path: path, mode: Self.mode(purpose))
    switch purpose {
    case .image(let writable):
      let standsStill = refusesWriters || FileFormat.isImage(file)
      try lock(file, writable ? .writing : standsStill ? .reading : .looking)
    case .besideWriter: try lock(file, .looking)
    case .data(let writable): try lock(file, writable ? .writingData : .readingData)
    case .new, .kept, .text, .newText: break
    }
    return file
  }

  /// The same for the name of an image or of its data, which may be the address of an export as well.
  ///
  /// - Throws: ``StorageError`` for a file that cannot be opened or locked, for a server that cannot be used, and for
  ///   one that would have to be written.
  package func openImage(_ name: String, for purpose: Purpose) throws(StorageError) -> any Storage {
    guard NbdAddress.isAddress(name) else { return try self.open(name, for: purpose) }
    switch purpose {
    case .image(writable: false), .data(writable: false), .besideWriter: return try Self.connect(name)
    default: throw Self.onlyLookedAt(name)
    }
  }

  static func onlyLookedAt(_ address: String) -> StorageError {
    StorageError(
      .open, name: address, errno: EROFS, detail: "what lies behind an NBD server is only looked at")
  }

  /// Connects to the server at an address.
  static func connect(_ address: String) throws(StorageError) -> RemoteStorage {
    let found: NbdAddress
    do throws(NbdAddress.Refusal) { found = try NbdAddress(address) } catch {
      throw StorageError(.open, name: address, errno: EINVAL, detail: error.reason)
    }
    return try RemoteStorage(found)
  }

  private static func mode(_ purpose: Purpose) -> FileStorage.Mode {
    switch purpose {
    case .image(let writable), .data(let writable): writable ? .readWrite : .readOnly
    case .besideWriter, .text: .readOnly
    case .new: .openOrMake
    case .kept: .readWrite
    case .newText: .create
    }
  }

  /// Opens the file that the gate has found and let in; it is locked when it is known what it is.
  func open(_ found: HostFile, name: String, writable: Bool) throws(StorageError) -> FileStorage {
    try FileStorage(found, name: name, writable: writable)
  }

  /// Locks a file for a use, as far as the user wants locks.
  func lock(_ file: any Storage, _ use: FileUse) throws(StorageError) {
    // A server has locks of its own.
    guard takesLocks, let file = file as? FileStorage else { return }
    try file.lock(forcesShare ? .looking : use)
  }

  // MARK: Saving

  /// A file of an open image that is saved to.
  package enum Saved: Sendable {
    /// A file with tables, the external data file of one, and a layer without tables.
    case image, data, raw

    fileprivate var reading: FileUse {
      switch self {
      case .image: .reading
      case .data: .readingData
      case .raw: .looking
      }
    }
    fileprivate var writing: FileUse { self == .data ? .writingData : .writing }
  }

  /// Opens a file for saving that `reader` reads already; its lock makes way for the writer's.
  ///
  /// - Throws: ``StorageError`` if the file cannot be opened, if a data file is another one by now, and if
  ///   another program is in the way; the reader has its lock again then.
  package static func openWriter(
    _ path: String, _ saved: Saved, beside reader: FileStorage?
  ) throws(StorageError) -> FileStorage {
    guard !NbdAddress.isAddress(path) else { throw Self.onlyLookedAt(path) }
    let writer = try FileStorage(path: path, mode: .readWrite)
    // Of the image the session asks before, because it tells what has happened to it.
    if let reader, writer.hostIdentity != reader.hostIdentity {
      throw StorageError(.open, name: path, detail: "another file has taken its name")
    }
    try reader?.lock(.looking)
    do throws(StorageError) { try writer.lock(saved.writing) } catch {
      try? reader?.lock(saved.reading)
      throw error
    }
    return writer
  }

  /// Gives the writer's lock back to the reader. Should another program have come first, the next save will
  /// see what it did.
  package static func closeWriter(_ writer: FileStorage, _ saved: Saved, beside reader: FileStorage?) {
    writer.unlock()
    try? reader?.lock(saved.reading)
  }
}
