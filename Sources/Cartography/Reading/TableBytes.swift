// Tables as the image has them: those of the file, and over them what has changed in memory and was not written back.
// Whoever draws them while requests go on needs no flush.

import Qcow
import QcowFormat
import Storage

/// The bytes of an image's file with the changes of its tables that are only in memory.
final class TableBytes: LookedAtStorage {
  private let image: Image

  init(_ image: Image) { self.image = image }

  var name: String { image.storage.name }
  var length: UInt64 { image.storage.length }
  var allocatedBytes: UInt64 { image.storage.allocatedBytes }
  func extent(at offset: UInt64) -> HostExtent { image.storage.extent(at: offset) }

  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    try unsafe CurrentTables.read(image, at: HostOffset(offset), into: buffer)
  }

  var refusal: String { "tables are only read here" }
}
