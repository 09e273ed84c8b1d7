// Looking at the disk as it was when a snapshot was taken, without going back to it: the image answers through
// the snapshot's L1 table as long as it is open.

package import QcowFormat
import Storage

extension Image {
  /// Shows the disk as it was at a snapshot. The size stays what it is now, as for the genuine tool: what lies
  /// behind it is not seen, and what the snapshot does not have is unallocated. The image must be open for
  /// reading alone.
  ///
  /// - Throws: ``ImageError/Code/corrupt`` for an impossible L1 table, ``ImageError/Code/invalidRequest`` for an
  ///   image that is written, and what the host says.
  package func show(_ snapshot: SnapshotEntry) throws(ImageError) {
    guard !isWritable else {
      throw ImageError(.invalidRequest, "only an image that is read can show a snapshot")
    }
    try tables.showL1(of: snapshot)
    l2.cache.dropAll()
    reader.streams.forget()
  }
}
