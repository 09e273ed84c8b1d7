// Bytes that are no structure of an image: text, compressed streams, structures of file systems by their magic
// numbers, and what has no order at all. At most four kibibytes of a cluster are looked at.

import Storage

extension ClusterShape {
  /// What a guest's bytes look like.
  package static func content(_ bytes: UnsafeRawBufferPointer) -> ClusterShape {
    guard unsafe !bytes.isZero else { return .zeroes }
    if unsafe bytes.firstIndex(otherThan: bytes[0]) == nil { return .pattern }
    if unsafe isFileSystem(bytes) { return .fileSystem }
    if unsafe isCompressed(bytes) { return .compressed }
    // Four pieces of the cluster, up to a kibibyte each.
    let piece = min(1024, max(1, bytes.count / 4))
    return unsafe withUnsafeTemporaryAllocation(of: UInt16.self, capacity: 256) { counts in
      unsafe counts.initialize(repeating: 0)
      var total = 0
      for part in 0..<4 {
        let start = bytes.count / 4 * part
        for index in start..<min(bytes.count, start + piece) {
          unsafe counts[Int(bytes[index])] += 1
          total += 1
        }
      }
      return unsafe shape(UnsafeBufferPointer(counts), total)
    }
  }

  private static func shape(_ counts: UnsafeBufferPointer<UInt16>, _ total: Int) -> ClusterShape {
    var printable = 0
    for byte in 0x20..<0x7f { printable += unsafe Int(counts[byte]) }
    printable += unsafe Int(counts[9]) + Int(counts[10]) + Int(counts[13])
    if printable * 20 >= total * 19 { return .text }
    // Of random bytes the sum of the squares is what it is for equal counts, and a little more.
    var squares = 0
    for byte in 0..<256 { squares += unsafe Int(counts[byte]) * Int(counts[byte]) }
    let even = total * total / 256 + total
    return squares * 4 <= even * 5 ? .random : .other
  }

  private static func isCompressed(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let start = unsafe bytes.word32(0)
    // zstd, gzip, xz, bzip2, lz4.
    return unsafe start == 0x28b5_2ffd || start >> 8 == 0x1f_8b08 || start == 0xfd37_7a58
      || start >> 8 == 0x42_5a68 && bytes.count > 4 && bytes[4] == 0x31 || start == 0x0422_4d18
  }

  private static func isFileSystem(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let count = bytes.count
    // ext, in its own block or behind the boot block.
    if unsafe isSuperblock(bytes, at: 0) || isSuperblock(bytes, at: 1024) { return true }
    if unsafe bytes.holds("NTFS    ", at: 3) || bytes.holds("FILE0", at: 0) || bytes.holds("INDX(", at: 0) {
      return true
    }
    if unsafe bytes.holds("XFSB", at: 0) || bytes.holds("XAGF", at: 0) || bytes.holds("XAGI", at: 0)
      || bytes.holds("_BHRfS_M", at: 64) || bytes.holds("FAT32   ", at: 82) || bytes.holds("FAT1", at: 54)
      || bytes.holds("SWAPSPACE2", at: 4086)
    {
      return true
    }
    // GPT, LVM, and the sectors in which they may stand.
    var at = 0
    while at < min(count, 4096) {
      if unsafe bytes.holds("EFI PART", at: at) || bytes.holds("LABELONE", at: at)
        || bytes.holds("XAGF", at: at) || bytes.holds("XAGI", at: at)
      {
        return true
      }
      at += 512
    }
    if unsafe count >= 512 && bytes[510] == 0x55 && bytes[511] == 0xaa { return true }
    return unsafe isDirectory(bytes)
  }

  /// The superblock of ext, which has copies at the start of block groups.
  private static func isSuperblock(_ bytes: UnsafeRawBufferPointer, at: Int) -> Bool {
    guard at + 64 <= bytes.count else { return false }
    return unsafe bytes[at + 56] == 0x53 && bytes[at + 57] == 0xef && bytes.word32(at) != 0
  }

  /// A directory of ext: an inode, the length of the entry, "." and then "..".
  private static func isDirectory(_ bytes: UnsafeRawBufferPointer) -> Bool {
    unsafe bytes.count >= 24 && bytes[4] == 12 && bytes[5] == 0 && bytes[6] == 1 && bytes[8] == 0x2e
      && bytes[18] == 2 && bytes.holds("..", at: 20)
  }
}
