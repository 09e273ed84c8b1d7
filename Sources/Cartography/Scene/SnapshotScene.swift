// The disk as an internal snapshot keeps it, to look at: the image with the snapshot's L1 table and the
// active one in each other's place, in memory. So nothing that the image uses looks unused.

package import Qcow
import QcowFormat
package import Storage

extension Scene {
  /// The internal snapshot of `image` with the given index. `storage` holds the bytes of the image file and
  /// must not change while the scene is looked at.
  /// - Throws: ``ImageError`` if there is no such snapshot or it cannot be read.
  package convenience init(
    snapshot index: Int, of image: Image, on storage: any Storage, data: (any Storage)? = nil
  ) throws(ImageError) {
    guard image.snapshots.indices.contains(index) else {
      throw ImageError(.invalidRequest, "the image has no snapshot number \(index)")
    }
    let snapshot = image.snapshots[index]
    let header = image.header
    var place = header.snapshotsOffset
    for entry in image.snapshots[..<index] { place += UInt64(entry.entrySize) }
    let exchanged = OverlayStorage(base: storage)
    do throws(StorageError) {
      try exchanged.put(UInt64(snapshot.l1Size), width: 4, at: 36)
      try exchanged.put(snapshot.l1TableOffset, width: 8, at: 40)
      if let size = snapshot.diskSize {
        try exchanged.put(size, width: 8, at: 24)
        try exchanged.put(header.size, width: 8, at: place + UInt64(SnapshotEntry.fixedSize) + 8)
      }
      try exchanged.put(header.l1TableOffset, width: 8, at: place)
      try exchanged.put(UInt64(header.l1Size), width: 4, at: place + 8)
    } catch { throw ImageError(error) }
    try self.init(exchanged, data: data, like: image, on: image.backing, of: .snapshot(index))
  }
}

extension OverlayStorage {
  /// Writes a field of the file, big-endian, `width` bytes.
  fileprivate func put(_ value: UInt64, width: Int, at offset: UInt64) throws(StorageError) {
    var bytes: [UInt8] = []
    BigEndian.append(value, width: width, to: &bytes)
    try write(bytes, at: offset)
  }
}
