// The same image opened a second time above other bytes, to see what requests would make of it.

package import QcowFormat
package import Storage

/// Opens images for trials.
package enum Trial {
  /// An image as it is, opened for changes on `storage`, which shows the same bytes and keeps the changes to itself.
  ///
  /// - Parameters:
  ///   - storage: shows the bytes of the image file; the tables of the image must have been flushed.
  ///   - data: shows those of the external data file; nil without one.
  ///   - policies: what discards do, and who may change the mapping.
  ///   - tableMemory: memory for L2 tables.
  /// - Throws: ``ImageError`` if the image cannot be changed, or not by these policies.
  package static func open(
    _ original: Image, on storage: any Storage, data: (any Storage)?, _ policies: Policies,
    tableMemory: ByteCount
  ) throws(ImageError) -> Image {
    var options = Image.Options()
    options.writable = true
    options.cache = .writeback
    options.lazyRefcounts = false
    options.marksCorruption = false
    options.repairsDirty = false
    options.cipher = original.reader.cipher
    options.backing = original.backing
    options.standsAlone = original.options.standsAlone
    options.dataFile = data
    options.policies = policies
    options.l2CacheSize = tableMemory.value
    let image = try Image(storage, options: options)
    if let reason = image.readOnlyReason { throw ImageError(.readOnly, reason) }
    return image
  }
}
