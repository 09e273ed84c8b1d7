// A storage that is only looked at: whoever tries to change it is told why not.

/// Bytes that nobody changes here.
package protocol LookedAtStorage: Storage {
  /// Why, as a sentence.
  var refusal: String { get }
}

extension LookedAtStorage {
  package var isWritable: Bool { false }

  private func refuse(_ operation: StorageError.Operation) -> StorageError {
    StorageError(operation, name: name, detail: refusal)
  }

  /// - Throws: always.
  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    throw refuse(.write)
  }

  /// - Throws: always.
  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    throw refuse(.zero)
  }

  /// - Throws: always.
  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    throw refuse(.punch)
  }

  /// - Throws: always.
  package func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) { throw refuse(.truncate) }

  /// Nothing was written that could have to reach a disk.
  package func flush() {}
}
