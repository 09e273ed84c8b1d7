// A number that says whether files are what they were: how a lesson notices that its learner went another way, or has
// done a later step already.

import QcowFormat
import Storage

/// Makes one number of all bytes of files; equal numbers mean equal files, but for the dates of snapshots.
enum FileDigest {
  /// Of the files of a bench, and of which of them is explored.
  static func of(_ bench: Workbench, _ current: String) -> UInt64 {
    var digest = Digest()
    for (name, file) in bench.files.sorted(by: { $0.key < $1.key }) {
      for byte in name.utf8 { digest.add(UInt64(byte)) }
      digest.add(name == current ? 1 : 0)
      digest.add(file.length)
      let dates = ImageBytes(file)?.dates ?? []
      // Zeroes count for nothing, so that what is only allocated is not looked at.
      for row in file.written {
        add(file, row.lowerBound..<min(row.upperBound, file.length), without: dates, &digest)
      }
    }
    return digest.value
  }

  private static let piece: UInt64 = 65536

  private static func add(
    _ file: MemoryStorage, _ range: Range<UInt64>, without dates: [Range<UInt64>], _ digest: inout Digest
  ) {
    var at = range.lowerBound
    while at < range.upperBound {
      let count = min(piece, range.upperBound - at)
      // Memory can be read.
      var bytes = (try? file.bytes(at: at, count: Int(count + 7) & ~7)) ?? []
      for place in dates {
        for offset in place where offset >= at && offset < at + count { bytes[Int(offset - at)] = 0 }
      }
      unsafe bytes.withUnsafeBytes { buffer in
        for offset in stride(from: 0, to: buffer.count, by: 8) {
          let word = unsafe buffer.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
          // A hole and zeroes are the same.
          if word != 0 {
            digest.add(at &+ UInt64(offset))
            digest.add(word)
          }
        }
      }
      at += count
    }
  }

  /// One word after the other, each of which changes all bits of the number.
  private struct Digest {
    var value: UInt64 = 0x9e37_79b9_7f4a_7c15

    mutating func add(_ word: UInt64) {
      value = (value ^ word) &* 0xbf58_476d_1ce4_e5b9
      value ^= value >> 31
    }
  }
}

extension ImageBytes {
  /// Where the snapshot table has dates and clocks, which are others every time.
  var dates: [Range<UInt64>] {
    var places: [Range<UInt64>] = []
    var offset = header.snapshotsOffset
    for snapshot in snapshots {
      places.append(offset &+ 16..<offset &+ 32)
      offset = (offset &+ UInt64(snapshot.entrySize) &+ 7) & ~7
    }
    return places
  }
}
