// What the explorer needs from the host and may not do itself: opening files for writing, making new ones,
// hearing Esc. The program gives it real files, tests give it files in memory.

package import Course
package import Qcow
package import Storage

/// What the explorer needs from the host, and may not do itself.
package protocol SessionFiles: AnyObject {
  /// The state of the image file now; nil if it is gone or there is none.
  func identity() -> FileIdentity?
  /// The image file for writing, locked against other programs.
  ///
  /// - Throws: ``StorageError`` for a file that cannot be opened for writing or is another one by now.
  func openForSaving() throws(StorageError) -> any Storage
  /// The state of another file of the image, which is open as `file`, now; nil if it is gone.
  func identity(of file: any Storage) -> FileIdentity?
  /// The same file for writing, locked; after ``openForSaving()``, and closed with the image file.
  ///
  /// - Throws: ``StorageError`` for a file that cannot be opened for writing.
  func openForSaving(_ file: any Storage, _ kind: FileOpener.Saved) throws(StorageError) -> any Storage
  /// An empty file that nobody else has and that is gone when it is closed, for what guests write to a scratch disk.
  ///
  /// - Throws: ``StorageError`` if the host has no room for one.
  func scratchFile() throws(StorageError) -> any Storage
  /// The save is over; other programs may write again if the mode allows it.
  func closeAfterSaving()
  /// A new file; an existing one is refused unless `replacing`.
  ///
  /// - Throws: ``StorageError`` for a path that exists, unless it may be replaced, or cannot be made.
  func create(_ path: String, replacing: Bool) throws(StorageError) -> any Storage
  /// What was begun with ``create(_:replacing:)`` cannot be finished: removes the file if it was made
  /// then; false if it is there, and incomplete.
  func removeUnfinished() -> Bool
  /// What was begun with ``create(_:replacing:)`` is whole; others may have it.
  func closeFinished()
  /// Writes a small text file.
  ///
  /// - Throws: ``StorageError`` for a path that exists or cannot be written.
  func writeText(_ text: String, to path: String) throws(StorageError)
  /// Names in a directory that begin with a prefix, for completion.
  func names(beginningWith prefix: String) -> [String]
  /// Long work asks this between its pieces, with its share done; true gives it up.
  func shouldCancel(_ progress: Double) -> Bool
  /// A line of the command history to keep for the next session.
  func remember(_ line: String)
  /// An answer in a lesson to keep: a line of JSON.
  func learned(_ line: String)
  /// The answers that were kept, the oldest first.
  func answers() -> [String]
  /// The folders with the user's own lessons.
  func lessonShelves() -> [LessonShelf]
}

extension SessionFiles {
  package func scratchFile() throws(StorageError) -> any Storage { MemoryStorage() }
  package func learned(_ line: String) {}
  package func answers() -> [String] { [] }
  package func lessonShelves() -> [LessonShelf] { [] }
  package func closeAfterSaving() {}
  package func removeUnfinished() -> Bool { false }
  package func closeFinished() {}
  package func identity(of file: any Storage) -> FileIdentity? { nil }
  package func openForSaving(
    _ file: any Storage, _ kind: FileOpener.Saved
  ) throws(StorageError) -> any Storage {
    throw StorageError(.open, name: file.name, detail: "it cannot be written here")
  }
}
