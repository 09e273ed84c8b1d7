// The snapshot table as it lies in the file. Its entries say where their L1 tables are; its size says which
// clusters are its own, and an entry that lacks fields or has too many takes other room there than a new one.

import QcowFormat
import Storage

/// A snapshot table that has been read.
package struct SnapshotTable: Sendable, Equatable {
  /// Its entries, from the first one on.
  var entries: [SnapshotEntry] = []
  /// Bytes in the file up to the end of the last name.
  var size: ByteCount = 0
}
