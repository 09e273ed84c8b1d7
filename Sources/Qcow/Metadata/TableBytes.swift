// Tables as the image has them: those of the file, and over them what has changed in memory and was not written back.
// Whoever draws them while requests go on needs no flush.

package import Storage

/// The bytes of an image's file with the changes of its tables that are only in memory.
package final class TableBytes: LookedAtStorage {
  private let image: Image

  init(_ image: Image) { self.image = image }

  package var name: String { image.storage.name }
  package var length: UInt64 { image.storage.length }
  package var allocatedBytes: UInt64 { image.storage.allocatedBytes }
  package func extent(at offset: UInt64) -> HostExtent { image.storage.extent(at: offset) }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    try unsafe image.storage.read(at: offset, into: buffer)
    unsafe image.l2.cache.lay(over: buffer, at: offset)
    unsafe image.refcounts.cache.lay(over: buffer, at: offset)
  }

  package var refusal: String { "tables are only read here" }
}
