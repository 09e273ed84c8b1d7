// The overlays of a session: one over the image file, and for an image with an external data file a second
// one over that. An operation is a step in both or in one of them, and goes back and forth as a whole.

import Qcow
package import Storage

/// What one operation did to the files of an image.
package struct FileOperations {
  /// In the image file; nil if only the data file changed.
  package let image: StorageOperation?
  /// In the external data file.
  package let data: StorageOperation?

  /// Stays the same when the operation is taken back and done again.
  var id: Int { image?.id ?? -(data?.id ?? 0) }
}

/// Both overlays as one.
struct SessionOverlays {
  let image: OverlayStorage
  let data: OverlayStorage?

  var hasUnsavedChanges: Bool { image.hasUnsavedChanges || data?.hasUnsavedChanges == true }

  /// The file holds all of an operation.
  func holds(_ operations: FileOperations) -> Bool {
    func isIn(_ saved: [StorageOperation], _ operation: StorageOperation?) -> Bool {
      operation.map { wanted in saved.contains { $0 === wanted } } ?? true
    }
    return isIn(image.saved, operations.image) && isIn(data?.saved ?? [], operations.data)
  }

  func begin(_ title: String, isLong: Bool) {
    image.begin(title, isLong: isLong)
    data?.begin(title, isLong: isLong)
  }

  /// Ends the open operation; nil if it did nothing.
  func commit() -> FileOperations? {
    let operations = FileOperations(image: image.commit(), data: data?.commit())
    guard operations.image != nil || operations.data != nil else { return nil }
    // What was undone in the file that this one left alone cannot be done again either.
    image.dropUndone()
    data?.dropUndone()
    return operations
  }

  func rollback() {
    image.rollback()
    data?.rollback()
  }

  /// Takes the newest operation back in both files, or in none.
  func undo(_ operations: FileOperations) throws(StorageError) {
    if operations.image != nil { _ = try image.undo() }
    guard operations.data != nil, let data else { return }
    do throws(StorageError) { _ = try data.undo() } catch {
      if operations.image != nil { try withoutWatch { () throws(StorageError) in _ = try image.redo() } }
      throw error
    }
  }

  /// Does the operation again that was taken back last, in both files or in none.
  func redo(_ operations: FileOperations) throws(StorageError) {
    if operations.image != nil { _ = try image.redo() }
    guard operations.data != nil, let data else { return }
    do throws(StorageError) { _ = try data.redo() } catch {
      if operations.image != nil { try withoutWatch { () throws(StorageError) in _ = try image.undo() } }
      throw error
    }
  }

  /// What puts things back is not stopped.
  private func withoutWatch(_ body: () throws(StorageError) -> Void) throws(StorageError) {
    let watch = image.watch
    image.watch = nil
    defer { image.watch = watch }
    try body()
  }

  /// Brings both files to the state shown.
  ///
  /// Bytes are in the data file before a table says that they are the guest's, and no table says so any more
  /// when they go. So a crash at any point leaves for every request the guest's old bytes or its new ones,
  /// and never what the data file held where the guest had nothing.
  func save(image target: any Storage, data dataTarget: (any Storage)?) throws(StorageError) {
    try image.takeBack(on: target)
    if let data, let dataTarget, data.hasUnsavedChanges {
      // Nothing else orders writes to two files.
      try target.flush()
      try data.takeBack(on: dataTarget)
      try data.bringForward(on: dataTarget)
      try dataTarget.flush()
    }
    try image.bringForward(on: target)
  }
}
