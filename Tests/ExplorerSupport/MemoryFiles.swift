// The host as tests want it: files are arrays in memory, the image can change underneath on request.

import CellScreen
package import Course
package import Explorer
package import Qcow
package import Storage

package final class MemoryFiles: SessionFiles {
  /// What ``openForSaving()`` opens.
  package var image: (any Storage)?
  /// What is opened of the external data file.
  package var data: (any Storage)?
  /// What is opened of other files, by name.
  package var others: [String: any Storage] = [:]
  package var currentIdentity: FileIdentity?
  package var copies: [String: MemoryStorage] = [:]
  package var texts: [String: String] = [:]
  package var remembered: [String] = []
  package var listing: [String] = []
  /// Pieces of long work after which it is given up; nil for never.
  package var cancelAfter: Int?
  package private(set) var questions = 0

  package init(image: (any Storage)? = nil) {
    self.image = image
    currentIdentity = image == nil ? nil : MemoryFiles.identity(size: 1)
  }

  package static func identity(size: Int64, inode: UInt64 = 1, modified: Int = 0) -> FileIdentity {
    FileIdentity(
      device: 1, inode: inode, size: size, modifiedSeconds: modified, modifiedNanoseconds: 0,
      changedSeconds: 0,
      changedNanoseconds: 0)
  }

  package func identity() -> FileIdentity? { currentIdentity }
  package func openForSaving() throws(StorageError) -> any Storage {
    guard let image else { throw StorageError(.open, name: "none", detail: "no file") }
    return image
  }
  package func openForSaving(
    _ file: any Storage, _ kind: FileOpener.Saved
  ) throws(StorageError) -> any Storage {
    guard let opened = others[file.name] ?? (kind == .data ? data : nil) else {
      throw StorageError(.open, name: file.name, detail: "no file")
    }
    return opened
  }
  package func create(_ path: String, replacing: Bool) throws(StorageError) -> any Storage {
    guard replacing || copies[path] == nil else { throw StorageError(.open, name: path, detail: "it exists") }
    let storage = MemoryStorage(name: path)
    isReplaced = copies[path] != nil
    unfinished = path
    copies[path] = storage
    return storage
  }
  private var unfinished: String?
  private var isReplaced = false
  package func removeUnfinished() -> Bool {
    guard let unfinished, !isReplaced else { return false }
    copies[unfinished] = nil
    return true
  }
  package func closeFinished() { unfinished = nil }
  package func writeText(_ text: String, to path: String) throws(StorageError) { texts[path] = text }
  package func names(beginningWith prefix: String) -> [String] { listing.filter { $0.hasPrefix(prefix) } }
  package func shouldCancel(_ progress: Double) -> Bool {
    questions += 1
    return cancelAfter.map { questions >= $0 } ?? false
  }
  /// Counts the pieces of the next work from the beginning.
  package func forgetQuestions() { questions = 0 }
  package func remember(_ line: String) { remembered.append(line) }
  /// Answers in lessons.
  package var learnedLines: [String] = []
  package func learned(_ line: String) { learnedLines.append(line) }
  package func answers() -> [String] { learnedLines }
  /// Folders with lessons of the user.
  package var shelves: [LessonShelf] = []
  package func lessonShelves() -> [LessonShelf] { shelves }
}

/// An explorer of the demo image, scanned to the end.
package func demoExplorer(
  width: Int = 120, height: Int = 40, files: MemoryFiles = MemoryFiles(), history: [String] = [],
  keys: KeyMap = .standard
) throws -> Explorer {
  let explorer = Explorer(
    try Demo.session(files: files), files: files, width: width, height: height, glyphs: .ascii,
    history: history, keys: keys)
  settle(explorer)
  return explorer
}

package func settle(_ explorer: Explorer) {
  // What a lens has to say is asked for by a picture, and may be known only after the rest is.
  for _ in 0..<2 {
    // Bounded: a scan that never ends is a failure of the test, not of the machine.
    for _ in 0..<100_000 where explorer.scan(budgetNanoseconds: 10_000_000) { break }
    _ = explorer.canvas()
  }
  for _ in 0..<100_000 where explorer.scan(budgetNanoseconds: 10_000_000) { break }
}

extension MemoryStorage {
  /// All bytes; for small storages.
  package func contents() throws -> [UInt8] { try bytes(at: 0, count: Int(length)) }
}
