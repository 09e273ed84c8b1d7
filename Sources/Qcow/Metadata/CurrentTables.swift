// Tables as an open image has them: what the file holds, and over it what has changed in memory and was not written back.

package import QcowFormat
package import Storage

/// The tables of an open image as they are now.
package enum CurrentTables {
  /// Reads bytes of tables, also where the file does not have them yet.
  ///
  /// - Throws: ``StorageError`` if the host fails.
  package static func read(
    _ image: Image, at place: HostOffset, into buffer: UnsafeMutableRawBufferPointer
  ) throws(StorageError) {
    try unsafe image.storage.read(at: place.value, into: buffer)
    unsafe image.l2.cache.lay(over: buffer, at: place)
    unsafe image.refcounts.cache.lay(over: buffer, at: place)
  }
}
