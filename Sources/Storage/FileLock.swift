// Locks that say what one program does with an image file and what it lets others do meanwhile, in
// the bytes that QEMU locks, so that a running virtual machine and this program see each other.
//
// Every permission has two bytes: one is locked by whoever uses it, the other by whoever does not
// share it. All locks are shared ones, so taking them never fails; a conflict is seen by testing
// whether somebody holds the other byte. They belong to the open file and end with it.

import CSys
import Glibc

/// What is done with a file, and what others may not do with it at the same time.
package struct FileUse: Equatable, Sendable {
  /// A permission; the raw value is its number in the lock bytes.
  package enum Permission: Int64, Sendable, CaseIterable {
    case consistentRead, write, writeUnchanged, resize

    var name: String {
      switch self {
      case .consistentRead: "consistent read"
      case .write: "write"
      case .writeUnchanged: "write unchanged"
      case .resize: "resize"
      }
    }
  }

  /// What this program does.
  package var uses: Set<Permission>
  /// What others may not do meanwhile.
  package var refuses: Set<Permission>

  package init(uses: Set<Permission>, refuses: Set<Permission>) {
    self.uses = uses
    self.refuses = refuses
  }

  /// Reads an image: its tables must stand still.
  package static let reading = Self(uses: [.consistentRead], refuses: [.write, .resize])
  /// Writes an image.
  package static let writing = Self(
    uses: [.consistentRead, .write, .resize], refuses: [.write, .resize])
  /// Reads bytes that have no structure, or whatever is there although somebody may be writing it.
  package static let looking = Self(uses: [.consistentRead], refuses: [])
  /// The same two for the data of an image in a file of its own, which has no tables.
  package static let readingData = Self(uses: [.consistentRead], refuses: [.resize])
  /// An external data file that is written.
  package static let writingData = Self(uses: [.consistentRead, .write, .resize], refuses: [.resize])
  /// Makes a new file, or empties one.
  package static let creating = Self(uses: [.write, .resize], refuses: [.resize])
}

extension FileStorage {
  /// Where the bytes of permissions in use and of those not shared begin.
  private static let usedBase: Int64 = 100
  private static let refusedBase: Int64 = 200

  /// Takes the locks of a use in exchange for those held so far. If another program is in the way,
  /// the new ones are given back and the error names what it holds.
  ///
  /// - Throws: ``StorageError`` with the operation `lock` if another program does what this use refuses, with
  ///   a hint who it may be.
  package func lock(_ use: FileUse) throws(StorageError) {
    let before = heldUse
    guard try take(use, keeping: before) else { return }
    if let problem = conflict(use) {
      release(use, keeping: before)
      throw problem
    }
    release(before, keeping: use)
    heldUse = use
    // Somebody may have written until the lock was there.
    length = try Self.measure(descriptor, name)
  }

  /// Gives all locks back, although the file stays open.
  package func unlock() {
    let nothing = FileUse(uses: [], refuses: [])
    release(heldUse, keeping: nothing)
    heldUse = nothing
  }

  private static func bytes(_ use: FileUse) -> Set<Int64> {
    Set(use.uses.map { usedBase + $0.rawValue } + use.refuses.map { refusedBase + $0.rawValue })
  }

  /// False if the file system knows no such locks.
  private func take(_ use: FileUse, keeping before: FileUse) throws(StorageError) -> Bool {
    for byte in Self.bytes(use).subtracting(Self.bytes(before)).sorted() {
      let result = csys_lock_range(descriptor, byte, 1, 1)
      guard result < 0 else { continue }
      release(use, keeping: before)
      if [EINVAL, ENOLCK, ENOSYS, EOPNOTSUPP].contains(-result) { return false }
      throw StorageError(.lock, name: name, errno: -result, detail: "Failed to lock byte \(byte)")
    }
    return true
  }

  private func release(_ use: FileUse, keeping kept: FileUse) {
    for byte in Self.bytes(use).subtracting(Self.bytes(kept)) { _ = csys_lock_range(descriptor, byte, 1, 0) }
  }

  private func conflict(_ use: FileUse) -> StorageError? {
    func isHeld(_ byte: Int64) -> Bool { csys_lock_conflicts(descriptor, byte, 1, 2) == 1 }
    for permission in FileUse.Permission.allCases {
      if use.uses.contains(permission), isHeld(Self.refusedBase + permission.rawValue) {
        return refusal("Failed to get \"\(permission.name)\" lock")
      }
    }
    for permission in FileUse.Permission.allCases {
      if use.refuses.contains(permission), isHeld(Self.usedBase + permission.rawValue) {
        return refusal("Failed to get shared \"\(permission.name)\" lock")
      }
    }
    return nil
  }

  private func refusal(_ text: String) -> StorageError {
    StorageError(.lock, name: name, errno: EAGAIN, detail: text)
  }
}
