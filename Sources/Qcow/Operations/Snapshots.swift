// Internal snapshots: a second L1 table over the same clusters. Taking one counts every cluster once
// more, so that writes copy; applying and deleting count down again.

import Glibc
package import QcowFormat
import Storage

extension Image {
  /// Takes a snapshot of the disk as it is now.
  ///
  /// The new ID is one more than the highest number among the others. Names may repeat.
  ///
  /// - Throws: ``ImageError`` for an image that may not be written, a table that is full, and a host without
  ///   room.
  package func createSnapshot(name: String, seconds: UInt32, nanoseconds: UInt32) throws(ImageError) {
    try requireSnapshots()
    let length = UInt64(l1.count) * 8
    let table = length == 0 ? 0 : try allocate(geometry.clustersCovering(length))
    // The copy keeps the COPIED bits of before; nobody relies on them in a snapshot.
    try tables.copyL1(to: HostOffset(table))
    try updateSnapshotRefcounts(tableAt: header.l1TableOffset, entries: l1.count, .increase)
    var list = snapshots
    list.append(
      SnapshotEntry(
        l1TableOffset: table, l1Size: UInt32(l1.count), id: nextSnapshotID, name: name, seconds: seconds,
        nanoseconds: nanoseconds, diskSize: geometry.virtualSize))
    try replaceSnapshotTable(by: list)
  }

  /// Makes the disk what it was when the snapshot was taken; what it is now is lost.
  ///
  /// `name` is an ID or, if none matches, a name.
  ///
  /// - Throws: ``ImageError`` for a name that no snapshot has, a size that differs, and what cannot be
  ///   written.
  package func applySnapshot(_ name: String) throws(ImageError) {
    try requireSnapshots()
    let snapshot = snapshots[try snapshotIndex(idOrName: name)]
    if let size = snapshot.diskSize, size != geometry.virtualSize { try resize(to: size) }
    try growL1(to: UInt64(snapshot.l1Size))
    var new = try tables.readL1(of: snapshot)
    new.append(contentsOf: repeatElement(0, count: max(0, l1.count - new.count)))
    // Counts rise before the table that needs them, and sink after the one that needed them is gone.
    try updateSnapshotRefcounts(tableAt: snapshot.l1TableOffset, entries: Int(snapshot.l1Size), .increase)
    let old = l1
    try tables.overwriteL1(by: new)
    try walk(old, tableAt: nil, .decrease)
    tables.forgetOldTables()
    try updateSnapshotRefcounts(tableAt: header.l1TableOffset, entries: l1.count, .refresh)
  }

  /// Deletes the first snapshot of that name.
  ///
  /// - Throws: ``ImageError`` for a name that no snapshot has, and what cannot be written.
  package func deleteSnapshot(name: String) throws(ImageError) {
    try requireSnapshots()
    guard let index = snapshots.firstIndex(where: { $0.storedName == ByteText.bytes(name) }) else {
      throw ImageError(.invalidRequest, "no snapshot is called '\(name)'")
    }
    let snapshot = snapshots[index]
    var list = snapshots
    list.remove(at: index)
    try replaceSnapshotTable(by: list)
    // From here on an error leaks clusters and harms nothing.
    try updateSnapshotRefcounts(tableAt: snapshot.l1TableOffset, entries: Int(snapshot.l1Size), .decrease)
    try free(snapshot.l1TableOffset, UInt64(snapshot.l1Size) * 8, .snapshot)
    try updateSnapshotRefcounts(tableAt: header.l1TableOffset, entries: l1.count, .refresh)
  }

  private func requireSnapshots() throws(ImageError) {
    try requireWritable()
    guard !hasExternalData else {
      throw ImageError(.unsupported, "an image with an external data file cannot have internal snapshots")
    }
  }

  private func snapshotIndex(idOrName name: String) throws(ImageError) -> Int {
    if let index = snapshots.firstIndex(where: { $0.id == name }) { return index }
    if let index = snapshots.firstIndex(where: { $0.storedName == ByteText.bytes(name) }) { return index }
    throw ImageError(.invalidRequest, "no snapshot has the ID or name '\(name)'")
  }

  private var nextSnapshotID: String {
    let highest = snapshots.compactMap { UInt64($0.id) }.max() ?? 0
    return String(highest &+ 1)
  }

  /// The L1 table of a snapshot, its place and size checked. Throws ``ImageError/Code/corrupt`` for an
  /// impossible one, and what the host says.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  package func readL1(of snapshot: SnapshotEntry) throws(ImageError) -> [UInt64] {
    try tables.readL1(of: snapshot)
  }

  // MARK: Walking a table

  private enum Walk { case increase, decrease, refresh }

  private func updateSnapshotRefcounts(tableAt offset: UInt64, entries: Int, _ walk: Walk) throws(ImageError)
  {
    let isActive = offset == header.l1TableOffset
    let table = isActive ? l1 : try tables.readL1(at: HostOffset(offset), entries: entries)
    try self.walk(table, tableAt: offset, walk)
  }

  /// Counts every cluster of an L1 table up or down, or only sets the COPIED bits right, and writes the
  /// table back if it is still in use. `offset` is nil for a table that is no longer on disk.
  private func walk(_ table: [UInt64], tableAt offset: UInt64?, _ walk: Walk) throws(ImageError) {
    let before = table
    var table = table
    var isChanged = false
    try collectingDiscards { () throws(ImageError) in
      for index in table.indices {
        let old = table[index]
        let l2 = old & L1Entry.offsetMask
        guard l2 != 0 else { continue }
        guard geometry.isAligned(l2) else {
          throw ImageError(.corrupt, "L2 table offset \(hex(l2)) unaligned (L1 index: \(hex(UInt64(index))))")
        }
        try walkL2(l2, l1Index: index, walk)
        try count(l2, geometry.clusterSize, walk)
        let isOnly = try refcount(of: HostCluster(l2 >> UInt64(geometry.clusterBits))) == 1
        table[index] = L1Entry(table: HostOffset(l2), copied: isOnly).raw
        if table[index] != old { isChanged = true }
      }
      try flush()
    }
    guard isChanged, walk != .decrease, let offset else { return }
    // A walk over a snapshot writes its own L1 table back.
    if offset == header.l1TableOffset {
      try tables.overwriteL1(by: table)
      tables.forgetOldTables()
    } else {
      try tables.overwriteInactiveL1(before, at: HostOffset(offset), by: table)
    }
  }

  private func walkL2(_ table: UInt64, l1Index: Int, _ walk: Walk) throws(ImageError) {
    let isActive = l1.indices.contains(l1Index) && l1[l1Index] & L1Entry.offsetMask == table
    for first in stride(from: 0, to: geometry.l2EntriesPerTable, by: sliceEntries) {
      for index in first..<(first + sliceEntries) {
        let offset = table + UInt64(first << geometry.l2EntryBits)
        // Counting may push the slice out of the cache, so it is asked for again for every entry.
        let memory = unsafe try l2Cache.table(at: offset)
        let old = unsafe entry(memory, index - first)
        var isOnly = false
        if old.isCompressed {
          if walk != .refresh {
            let extent = geometry.compressedExtent(of: old.descriptor)
            try count(extent.offset.value, extent.byteCount, walk)
          }
        } else if geometry.hasHost(old) {
          guard geometry.isAligned(old.offsetBits) else {
            throw ImageError(
              .corrupt,
              "Cluster allocation offset \(hex(old.offsetBits)) unaligned (L2 offset: \(hex(table)), L2 index: \(hex(UInt64(index))))"
            )
          }
          try count(old.offsetBits, geometry.clusterSize, walk)
          isOnly = try refcount(of: HostCluster(old.offsetBits >> UInt64(geometry.clusterBits))) == 1
        }
        var new = old
        new.descriptor = old.descriptor & ~L2Entry.copiedFlag | (isOnly ? L2Entry.copiedFlag : 0)
        guard new != old else { continue }
        if walk == .increase { try l2Cache.depend(on: refcountCache) }
        let slice = unsafe Slice(
          offset: offset, table: table, memory: try l2Cache.table(at: offset), index: index - first)
        let guest = geometry.guestOffset(l1Index: l1Index, l2Index: index)
        setEntry(
          slice, slice.index, new, guestCluster: geometry.cluster(of: guest).value, .snapshot,
          of: isActive ? .l2Table : .inactiveL2Table)
      }
    }
  }

  private func count(_ offset: UInt64, _ length: UInt64, _ walk: Walk) throws(ImageError) {
    guard walk != .refresh else { return }
    guard try updateRefcounts(offset, length, increase: walk == .increase, .snapshot, .snapshot) == .done
    else {
      throw ImageError(.corrupt, "host cluster at \(hex(offset)) is in use and has no refcount block")
    }
  }

  // MARK: The table of snapshots

  /// Writes a complete new snapshot table, lets the header name it, and frees the old one.
  private func replaceSnapshotTable(by list: [SnapshotEntry]) throws(ImageError) {
    guard list.count <= 65536 else { throw ImageError(.noSpace, "an image has at most 65536 snapshots") }
    var entries: [[UInt8]] = []
    var size: UInt64 = 0
    for entry in list {
      let bytes = try encode(entry)
      entries.append(bytes)
      size = SnapshotEntry.place(behind: size) + UInt64(bytes.count)
    }
    guard size <= UInt64(SnapshotEntry.maximumTableSize) else {
      throw ImageError(.noSpace, "the snapshot table cannot grow beyond 64 MiB")
    }
    let table = HostOffset(size == 0 ? 0 : try allocate(geometry.clustersCovering(size)))
    try flush()
    try tables.writeSnapshotTable(entries, at: table)
    try flush()
    let old = try tables.installSnapshots(list, at: table)
    if old.size > 0 { try free(old.offset.value, old.size, .snapshot) }
  }

  private func encode(_ entry: SnapshotEntry) throws(ImageError) -> [UInt8] {
    do throws(FormatError) { return try entry.encoded() } catch { throw ImageError(error) }
  }
}
