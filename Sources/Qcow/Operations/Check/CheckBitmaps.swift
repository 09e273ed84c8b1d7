// Persistent bitmaps in a check: the directory must be sound for the image to open at all, as with
// QEMU; then directory, tables and data are counted.

import Glibc
import QcowFormat
import Storage

extension ImageCheck {
  func countBitmaps() throws(CheckStop) {
    guard let extent = opened.extensions.bitmaps else { return }
    try reference(extent.directoryOffset, extent.directorySize, .exclusive, nil) { _ in .bitmapDirectory }
    for (number, entry) in bitmaps.enumerated() {
      try reference(entry.tableOffset, UInt64(entry.tableSize) * 8, .exclusive, nil) { _ in
        .bitmapTable(number)
      }
      // The whole table is judged before anything in it counts.
      guard try BitmapReading.walkTable(entry, geometry, reader, { _, _ in }) else {
        result.corruptions += 1
        throw CheckStop(EINVAL)
      }
      let size = geometry.clusterSize
      _ = try BitmapReading.walkTable(entry, geometry, reader) {
        (index: Int, place: BitmapTableEntry) throws(CheckStop) in
        guard place.offset != 0 else { return }
        try self.reference(place.offset, size, .exclusive, nil) { _ in .bitmapData(number, entry: index) }
      }
    }
  }
}
