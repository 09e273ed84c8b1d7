// Brings the changes of a session to its files, or to a copy: knows what the files were when they were opened
// or saved, so that nothing another program did is overwritten.

import Cartography
import Qcow
import Storage

/// Saves the files of one session.
final class SessionSaver {
  /// The image has a file that can be saved to.
  let hasFile: Bool
  private let image: ImageFiles
  /// File name as shown.
  private let title: String
  private let files: any SessionFiles
  /// What the files were when they joined or were saved.
  private var identities: [(file: OverlayStorage, identity: FileIdentity?)] = []

  /// Takes the files for what they are now.
  init(_ image: ImageFiles, title: String, files: any SessionFiles, hasFile: Bool) {
    self.image = image
    self.title = title
    self.files = files
    self.hasFile = hasFile
    lookAtIdentities()
  }

  private var overlay: OverlayStorage { image.set.files[0] }

  // MARK: The files

  func lookAtIdentities() { identities = image.set.files.map { ($0, identity($0)) } }

  private func identity(_ file: OverlayStorage) -> FileIdentity? {
    file === overlay ? files.identity() : files.identity(of: file.base)
  }

  /// Takes files that have joined for what they are now.
  func lookAtNewFiles() {
    for file in image.set.files where !identities.contains(where: { $0.file === file }) {
      identities.append((file, identity(file)))
    }
  }

  /// What another program did to a file since it was opened or saved, in words; nil if nothing is known.
  var changeByOthers: String? {
    guard hasFile else { return nil }
    for (file, part) in image.all {
      // Of a layer that is only read others may change what nobody here overwrites.
      guard part.depth == 0 || file.hasUnsavedChanges else { continue }
      let name = part.depth == 0 && part.kind == .image ? title : ByteText.lastPart(of: file.base.name)
      let before = identities.first { $0.file === file }?.identity
      if let text = difference(before, identity(file), part.words, name) { return text }
    }
    return nil
  }

  /// What is different about a file since it was opened or saved, in words.
  private func difference(
    _ before: FileIdentity?, _ now: FileIdentity?, _ file: String, _ name: String
  ) -> String? {
    guard let before else { return nil }
    guard let now else { return "\(file) is gone" }
    if now == before { return nil }
    if now.inode != before.inode || now.device != before.device {
      return "another file has taken the name '\(name)' since it was opened"
    }
    if now.size != before.size {
      return "\(file) was changed by another program: \(before.size) bytes before, \(now.size) now"
    }
    if now.modifiedSeconds != before.modifiedSeconds || now.modifiedNanoseconds != before.modifiedNanoseconds
    {
      return "\(file) was changed by another program since it was opened or saved"
    }
    return nil
  }

  /// Throws ``ImageError`` if there is no file, or if it is not as it was left.
  func check() throws(ImageError) {
    guard hasFile else {
      throw ImageError(.readOnly, "the demo image has no file; \(CommandID.save) FILE saves a copy")
    }
    if let difference = changeByOthers {
      throw ImageError(
        .storage, "not saved: \(difference); \(CommandID.save) FILE saves a copy of what you see")
    }
  }

  /// Brings the files to what is shown. Throws ``ImageError`` for a file that cannot be written, and what the
  /// watch says; the next save goes on from there.
  func save(under watch: OperationWatch) throws(ImageError) {
    try watch.over(image.set) { () throws(ImageError) in
      do throws(StorageError) {
        var targets: [(any Storage)?] = [try files.openForSaving()]
        defer {
          lookAtIdentities()
          files.closeAfterSaving()
        }
        for (file, part) in image.all.dropFirst() {
          let isChanged = part.depth == 0 || file.hasUnsavedChanges
          targets.append(isChanged ? try files.openForSaving(file.base, part.kind) : nil)
        }
        try image.set.save(to: targets)
      } catch { throw ImageError(error) }
    }
    lookAtIdentities()
  }

  // MARK: A copy

  /// Throws ``ImageError`` if a copy would not be what is shown.
  func checkCopy() throws(ImageError) {
    guard let (_, part) = image.all.dropFirst().first(where: { file, _ in file.hasUnsavedChanges }) else {
      return
    }
    let name = part.kind == .data && part.depth == 0 ? "external data file" : String(part.words.dropFirst(4))
    throw ImageError(
      .storage,
      "not saved: a copy would name the same \(name), which lacks the changes; "
        + "\(CommandID.save) saves both files")
  }

  /// Writes all that is shown, or other bytes, to a new file; holes stay holes. Throws ``ImageError`` for a file that exists or
  /// cannot be written.
  func saveCopy(
    of bytes: (any Storage)? = nil, _ path: String, replacing: Bool
  ) throws(ImageError) {
    try writeNew(path, replacing: replacing) { target throws(ImageError) in
      do throws(StorageError) { try copyAll(bytes ?? overlay, to: target) } catch { throw ImageError(error) }
    }
  }

  /// Makes a file and lets it be written; one that is not finished is removed again. Throws ``ImageError`` for a
  /// file that exists, and what the writing throws with what became of the file.
  func writeNew<T>(
    _ path: String, replacing: Bool, _ body: (any Storage) throws(ImageError) -> T
  ) throws(ImageError) -> T {
    let target: any Storage
    do throws(StorageError) { target = try files.create(path, replacing: replacing) } catch {
      throw ImageError(error)
    }
    do throws(ImageError) {
      let result = try body(target)
      do throws(StorageError) { try target.flush() } catch { throw ImageError(error) }
      files.closeFinished()
      return result
    } catch {
      var error = error
      error.description +=
        files.removeUnfinished() ? "; the new file was removed again" : "; the file is incomplete"
      throw error
    }
  }

  private func copyAll(_ source: any Storage, to target: any Storage) throws(StorageError) {
    try target.truncate(to: source.length, tag: .untagged)
    var at: UInt64 = 0
    while at < source.length {
      let extent = source.extent(at: at)
      let end = min(max(extent.end, at + 1), source.length)
      if !extent.isHole { try copy(source, at..<end, to: target) }
      at = end
      if at < source.length, files.shouldCancel(Double(at) / Double(source.length)) {
        throw StorageError(.write, name: target.name, detail: "given up")
      }
    }
  }

  private func copy(
    _ source: any Storage, _ range: Range<UInt64>, to target: any Storage
  ) throws(StorageError) {
    var at = range.lowerBound
    while at < range.upperBound {
      let count = Int(min(1 << 20, range.upperBound - at))
      let bytes = try source.bytes(at: at, count: count)
      if !bytes.allSatisfy({ $0 == 0 }) { try target.write(bytes, at: at) }
      at += UInt64(count)
      if files.shouldCancel(Double(at) / Double(max(1, source.length))) {
        throw StorageError(.write, name: target.name, detail: "given up")
      }
    }
  }
}
