// The files the explorer may reach: the image for saving, copies, screens and the command history. The
// explorer itself opens nothing.

import Course
import Explorer
import Glibc
import Qcow
import Storage

final class HostFiles: SessionFiles {
  /// What belongs to the image that is open, and goes with it.
  private struct Opened {
    /// The image; nil for the demo.
    var path: String?
    /// What was answered about files outside of the image's folder.
    var trust: RememberedTrust?
    /// The passphrase is asked for once, also if the image is opened again.
    var askedForSecret = false
    var secret: Secret?
    /// The image as it is read; its lock makes way for the one of a save.
    var reader: (any Storage)?
    /// The image as it is written, for one save or for the whole session.
    var writer: FileStorage?
    var keepsWriter = false
    /// Knows the files below the image.
    var opener: ChainOpener?
    var others: [OtherFile] = []
  }

  private var opened: Opened
  /// Asked while long work runs; true gives it up.
  var cancelQuestion: ((Double) -> Bool)?
  /// The copy that was begun last.
  private var copy: NewFile?

  init(path: String?) { opened = Opened(path: path) }

  /// Another image is opened, with its passphrase if there is one; if it does not open, all stays as it was. Nobody
  /// is asked anything: the picture is on the terminal.
  func turn<T>(
    to path: String, secret: Secret?, _ open: () throws(ImageError) -> T
  ) throws(ImageError) -> T {
    let before = opened
    if path != before.path || secret != nil {
      // The lock of the same file is kept.
      opened = path == before.path ? before : Opened(path: path)
      opened.askedForSecret = true
      opened.secret = secret
    }
    isTurned = true
    do throws(ImageError) { return try open() } catch {
      opened = before
      throw error
    }
  }
  /// The image is another one than the program was started with.
  private(set) var isTurned = false

  var path: String? { opened.path }
  var trust: RememberedTrust? {
    get { opened.trust }
    set { opened.trust = newValue }
  }
  var askedForSecret: Bool {
    get { opened.askedForSecret }
    set { opened.askedForSecret = newValue }
  }
  var secret: Secret? {
    get { opened.secret }
    set { opened.secret = newValue }
  }

  /// Opens the image for reading. With `writesThrough` it is locked for writing until the end.
  func openImage(_ opener: ChainOpener, writesThrough: Bool) throws(StorageError) -> any Storage {
    opened.opener = opener
    guard let path, writesThrough else {
      let file = try opener.openFile(writable: false)
      opened.reader = file
      return file
    }
    // Opened again, the image keeps the lock that it has.
    if opened.writer == nil { opened.writer = try opener.openFile(writable: true) as? FileStorage }
    opened.keepsWriter = true
    return try FileOpener().open(path, for: .besideWriter)
  }

  func identity() -> FileIdentity? { path.flatMap { FileStorage.identity(path: $0) } }

  func openForSaving() throws(StorageError) -> any Storage {
    guard let path else { throw StorageError(.open, name: "demo", detail: "the demo image has no file") }
    if let writer = opened.writer { return writer }
    let file = try FileOpener.openWriter(path, .image, beside: opened.reader as? FileStorage)
    opened.writer = file
    return file
  }

  func scratchFile() throws(StorageError) -> any Storage {
    // A file system in memory would keep there what has no room in it.
    let parent = UserFolders.environment("TMPDIR") ?? "/var/tmp"
    guard let folder = UserFolders.newFolder(in: parent) else {
      throw StorageError(.open, name: parent, errno: errno, detail: Output.reason(errno))
    }
    let path = folder + "/scratch"
    defer {
      _ = unsafe ByteText.withCString(path) { unsafe unlink($0) }
      _ = unsafe ByteText.withCString(folder) { unsafe rmdir($0) }
    }
    let file = try FileOpener().open(path, for: .newText)
    file.waitsForDisk = false
    return file
  }

  /// Another file of the image as it is read, and as it is written.
  private struct OtherFile {
    var kind: FileOpener.Saved
    var reader: FileStorage
    var writer: FileStorage
  }

  func identity(of file: any Storage) -> FileIdentity? { FileStorage.identity(path: file.name) }

  func openForSaving(_ file: any Storage, _ kind: FileOpener.Saved) throws(StorageError) -> any Storage {
    if let other = opened.others.first(where: { $0.reader === file }) { return other.writer }
    guard let reader = file as? FileStorage else {
      throw StorageError(.open, name: file.name, detail: "it is no file")
    }
    let writer = try FileOpener.openWriter(reader.name, kind, beside: reader)
    opened.others.append(OtherFile(kind: kind, reader: reader, writer: writer))
    return writer
  }

  func closeAfterSaving() {
    guard !opened.keepsWriter else { return }
    for other in opened.others { FileOpener.closeWriter(other.writer, other.kind, beside: other.reader) }
    opened.others = []
    guard let file = opened.writer else { return }
    opened.writer = nil
    FileOpener.closeWriter(file, .image, beside: opened.reader as? FileStorage)
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
    guard opened.opener?.hasOpened(path) != true else {
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

  /// What is typed and answered is kept for the next time.
  static var keepsHistory: Bool { UserFolders.environment("QATLAS_NO_HISTORY") != "1" }

  /// Where answers in lessons are kept.
  static let answersFile = "learn.jsonl"

  func learned(_ line: String) {
    // A script answers for nobody.
    guard cancelQuestion != nil, Self.keepsHistory, let folder = UserFolders.state else { return }
    UserFolders.append(line, to: Self.answersFile, in: folder)
  }

  func answers() -> [String] {
    UserFolders.state.map { UserFolders.lines(of: $0 + "/" + Self.answersFile) } ?? []
  }

  func lessonShelves() -> [LessonShelf] { LessonFolder.ofUser.map(\.shelf) }

  func remember(_ line: String) {
    // A script's commands are not the user's history.
    guard cancelQuestion != nil, Self.keepsHistory, let folder = UserFolders.state else { return }
    UserFolders.append(line, to: "history", in: folder)
  }
}
