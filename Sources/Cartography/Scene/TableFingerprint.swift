// A number that two images share only if their tables do: by it a saved session knows the image that it began with.

package import Qcow
import QcowFormat
import Storage

/// The tables of an image as one number.
package struct TableFingerprint: Equatable, Sendable {
  /// Bytes of the file.
  package let length: UInt64
  /// Of the bytes of all tables and where they lie.
  package let number: UInt64

  /// Reads all tables once; nil if `stops` ended it, which is asked now and then with the share done.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  package init?(_ image: Image, unless stops: (Double) -> Bool) throws(ImageError) {
    let geometry = image.geometry
    var number = FingerprintNumber()
    let storage = image.storage
    func mix(_ offset: UInt64, _ count: UInt64) throws(ImageError) {
      number.mix(offset)
      do throws(StorageError) {
        var at = offset
        let end = offset &+ count
        while at < end {
          let piece = Int(min(1 << 20, end - at))
          number.mix(try storage.bytes(at: at, count: piece))
          at += UInt64(piece)
        }
      } catch { throw ImageError(error) }
    }
    let header = image.header
    try mix(0, geometry.clusterSize)
    try mix(header.l1TableOffset, UInt64(image.l1Count) * 8)
    try mix(header.refcountTableOffset, UInt64(image.refcountTableCount) * 8)
    if header.snapshotCount > 0 { try mix(header.snapshotsOffset, geometry.clusterSize) }
    let total = max(1, image.l1Count + image.refcountTableCount)
    for index in 0..<image.l1Count {
      if let table = image.l1Entry(index).table { try mix(table.value, geometry.clusterSize) }
      if index % 64 == 63, stops(Double(index) / Double(total)) { return nil }
    }
    for index in 0..<image.refcountTableCount {
      if let block = image.refcountTableEntry(index).block { try mix(block.value, geometry.clusterSize) }
      if index % 64 == 63, stops(Double(image.l1Count + index) / Double(total)) { return nil }
    }
    length = storage.length
    self.number = number.value
  }
}

/// Bytes mixed into one number.
private struct FingerprintNumber {
  private(set) var value: UInt64 = 0x9e37_79b9_7f4a_7c15

  mutating func mix(_ word: UInt64) {
    value = (value ^ word) &* 0xbf58_476d_1ce4_e5b9
    value ^= value >> 29
  }

  mutating func mix(_ bytes: [UInt8]) {
    unsafe bytes.withUnsafeBytes { buffer in
      var at = 0
      while at + 8 <= buffer.count {
        mix(unsafe buffer.loadUnaligned(fromByteOffset: at, as: UInt64.self))
        at += 8
      }
      while at < buffer.count {
        mix(UInt64(unsafe buffer[at]))
        at += 1
      }
    }
  }
}
