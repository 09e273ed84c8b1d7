// What the tables map behind the end of the disk: saved VM state, or what an earlier, larger disk left. It
// has no place on the disk until a resize gives it one.

package import QcowFormat

/// Clusters that are mapped behind the end of the disk.
package struct EntriesBehindEnd: Equatable, Sendable {
  /// Clusters of the file that they keep.
  package var clusters: UInt64 = 0
  /// Where the first of them would appear on a larger disk.
  package var first: GuestOffset?
}

extension Image {
  /// What a disk of such a size would show of the clusters that are mapped behind the end of this one;
  /// nothing if it is not larger. Compressed clusters count as one.
  ///
  /// Reads the L2 tables of the new area. Throws if one of them cannot be read.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  package func entriesBehindEnd(within size: ByteCount) throws(ImageError) -> EntriesBehindEnd {
    var found = EntriesBehindEnd()
    let old = GuestOffset(geometry.virtualSize)
    let new = GuestOffset(size.value)
    guard new > old else { return found }
    let first = geometry.l1Index(of: old)
    let end = min(l1Count, Int(geometry.l1Entries(for: size.value)))
    for index in first..<max(first, end) {
      guard l1Entry(index).table != nil, let bytes = try l2TableBytes(l1Index: index) else { continue }
      for entry in 0..<geometry.l2EntriesPerTable {
        let guest = geometry.guestOffset(l1Index: index, l2Index: entry)
        guard guest >= old, guest < new else { continue }
        let descriptor = BigEndian.u64(bytes, entry * geometry.l2EntrySize)
        guard descriptor & (L2Entry.offsetMask | L2Entry.compressedFlag) != 0 else { continue }
        found.clusters += 1
        if found.first == nil { found.first = guest }
      }
    }
    return found
  }
}
