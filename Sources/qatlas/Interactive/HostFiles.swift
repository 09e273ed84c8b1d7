// The files the explorer may reach: the image for saving, copies, screens and the command history. The
// explorer itself opens nothing.

import Explorer
import Glibc
import Qcow
import Storage

final class HostFiles: SessionFiles {
  /// The image; nil for the demo.
  let path: String?
  /// Asked while long work runs; true gives it up.
  var cancelQuestion: ((Double) -> Bool)?

  /// What was answered about files outside of the image's folder.
  var trust: RememberedTrust?
  /// The passphrase is asked for once, also if the image is opened again.
  var askedForSecret = false
  var secret: Secret?

  init(path: String?) { self.path = path }

  /// The image as it is read; its lock makes way for the one of a save.
  private var reader: FileStorage?
  /// The image as it is written, for one save or for the whole session.
  private var writer: FileStorage?
  private var keepsWriter = false
  /// The copy that was begun last.
  private var copy: NewFile?
  /// Knows the files below the image.
  private var opener: ChainOpener?

  /// Opens the image for reading. With `writesThrough` it is locked for writing until the end.
  func openImage(_ opener: ChainOpener, writesThrough: Bool) throws(StorageError) -> FileStorage {
    self.opener = opener
    guard let path, writesThrough else {
      let file = try opener.openFile(writable: false)
      reader = file
      return file
    }
    // Opened again, the image keeps the lock that it has.
    if writer == nil { writer = try opener.openFile(writable: true) }
    keepsWriter = true
    return try FileOpener().open(path, for: .besideWriter)
  }

  func identity() -> FileIdentity? { path.flatMap { FileStorage.identity(path: $0) } }

  func openForSaving() throws(StorageError) -> any Storage {
    guard let path else { throw StorageError(.open, name: "demo", detail: "the demo image has no file") }
    if let writer { return writer }
    let file = try FileOpener.openWriter(path, .image, beside: reader)
    writer = file
    return file
  }

  /// Another file of the image as it is read, and as it is written.
  private struct OtherFile {
    var kind: FileOpener.Saved
    var reader: FileStorage
    var writer: FileStorage
  }
  private var others: [OtherFile] = []

  func identity(of file: any Storage) -> FileIdentity? { FileStorage.identity(path: file.name) }

  func openForSaving(_ file: any Storage, _ kind: FileOpener.Saved) throws(StorageError) -> any Storage {
    if let other = others.first(where: { $0.reader === file }) { return other.writer }
    guard let reader = file as? FileStorage else {
      throw StorageError(.open, name: file.name, detail: "it is no file")
    }
    let writer = try FileOpener.openWriter(reader.name, kind, beside: reader)
    others.append(OtherFile(kind: kind, reader: reader, writer: writer))
    return writer
  }

  func closeAfterSaving() {
    guard !keepsWriter else { return }
    for other in others { FileOpener.closeWriter(other.writer, other.kind, beside: other.reader) }
    others = []
    guard let file = writer else { return }
    writer = nil
    FileOpener.closeWriter(file, .image, beside: reader)
  }

  func create(_ path: String, replacing: Bool) throws(StorageError) -> any Storage {
    if let existing = FileStorage.identity(path: path) {
      if let image = identity(), image.inode == existing.inode, image.device == existing.device {
        throw StorageError(.open, name: path, detail: "it is the image itself; :w without a name saves to it")
      }
      try refuseLayer(path)
      guard replacing else {
        throw StorageError(.open, name: path, detail: "it exists; a ! behind the command replaces it")
      }
    }
    let file = try NewFile(path)
    do throws(StorageError) { try file.prepare() } catch {
      file.remove()
      throw error
    }
    copy = file
    return file.storage
  }

  func removeUnfinished() -> Bool {
    defer { copy = nil }
    return copy?.remove() ?? false
  }

  func closeFinished() { copy = nil }

  func writeText(_ text: String, to path: String) throws(StorageError) {
    try refuseLayer(path)
    let file = try FileOpener().open(path, for: .newText)
    try file.write(ByteText.bytes(text), at: 0)
  }

  /// What the open image is made of must stay, whatever `!` says.
  private func refuseLayer(_ path: String) throws(StorageError) {
    guard opener?.hasOpened(path) != true else {
      throw StorageError(.open, name: path, detail: "the open image needs it")
    }
  }

  func shouldCancel(_ progress: Double) -> Bool { cancelQuestion?(progress) ?? false }

  func names(beginningWith prefix: String) -> [String] {
    let folder = ByteText.folder(of: prefix)
    let start = ByteText.lastPart(of: prefix)
    let opened = unsafe ByteText.withCString(folder.isEmpty ? "." : folder) { unsafe opendir($0) }
    guard let directory = unsafe opened else { return [] }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while names.count < 1000, let entry = unsafe readdir(directory) {
      let isDirectory = unsafe entry.pointee.d_type == UInt8(DT_DIR)
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe ByteText.text(cString: $0) }
      }
      // The prompt has one line; a name with two is given on the command line.
      guard name != ".", name != "..", ByteText.starts(name, with: start), !name.contains(where: \.isNewline),
        !start.isEmpty || !name.hasPrefix(".")
      else {
        continue
      }
      names.append(folder + name + (isDirectory ? "/" : ""))
    }
    return names.sorted()
  }

  // MARK: What was typed before

  private static let historyLimit = 1000

  func history() -> [String] {
    guard let folder = UserFolders.state else { return [] }
    let all = UserFolders.lines(of: folder + "/history")
    // Kept short now and then; a failure only costs disk space.
    if all.count > 2 * Self.historyLimit {
      try? writeText(all.suffix(Self.historyLimit).joined(separator: "\n") + "\n", to: folder + "/history")
    }
    return Array(all.suffix(Self.historyLimit))
  }

  func remember(_ line: String) {
    // A script's commands are not the user's history.
    guard cancelQuestion != nil, let folder = UserFolders.state else { return }
    UserFolders.append(line, to: "history", in: folder)
  }
}
