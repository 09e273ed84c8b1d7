// Tables that a write needs: the L2 table of a guest offset, allocated or copied so that it may be
// changed in place, and a larger L1 table.

import QcowFormat
import Storage

extension Image {
  /// The slice that maps `guest`, in a table with refcount 1, so that it may be changed.
  ///
  /// Discards and zero-writes of areas never written come here too and allocate a table.
  func sliceForWriting(at guest: GuestOffset) throws(ImageError) -> Slice {
    try announceUnpinnedWrite()
    decompressed = nil
    let index = geometry.l1Index(of: guest)
    guard l1.indices.contains(index) else {
      throw ImageError(.invalidRequest, "guest offset \(hex(guest.value)) lies behind what the L1 table maps")
    }
    let old = try tableOffset(l1Index: index)
    if L1Entry(raw: l1[index]).isCopied, let old { return try slice(of: old, at: guest) }
    let new = try allocateL2Table(l1Index: index, copyOf: old)
    if let old { release(old, geometry.clusterSize, .other) }
    return try slice(of: new, at: guest)
  }

  private func allocateL2Table(l1Index: Int, copyOf old: UInt64?) throws(ImageError) -> UInt64 {
    let table = try allocate(1)
    guard table != 0 else {
      throw ImageError(.corrupt, "Preventing invalid allocation of L2 table at offset 0")
    }
    do throws(ImageError) {
      try refcountCache.flush()
      try guardWrite(table, geometry.clusterSize, ignoring: .activeL2)
      try fillL2Table(table, copyOf: old)
      try setL1Entry(l1Index, L1Entry(table: HostOffset(table), copied: true))
    } catch {
      // Nothing points there yet.
      release(table, geometry.clusterSize, .always)
      throw error
    }
    return table
  }

  /// Writes a new L2 table, empty or with the entries of another one.
  private func fillL2Table(_ table: UInt64, copyOf old: UInt64?) throws(ImageError) {
    let step = UInt64(l2Cache.tableSize)
    var done: UInt64 = 0
    while done < geometry.clusterSize {
      if let old {
        let source = unsafe try l2Cache.table(at: old + done)
        let copy = unsafe [UInt8](UnsafeRawBufferPointer(start: source, count: l2Cache.tableSize))
        let target = unsafe try l2Cache.emptyTable(at: table + done)
        unsafe target.copyMemory(from: copy, byteCount: copy.count)
      } else {
        _ = unsafe try l2Cache.emptyTable(at: table + done)
      }
      l2Cache.markDirty(table + done)
      done += step
    }
    try l2Cache.flush()
  }

  /// Writes an entry of the L1 table; without `flushes` the caller waits for the disk.
  func setL1Entry(_ index: Int, _ entry: L1Entry, flushes: Bool = true) throws(ImageError) {
    var bytes: [UInt8] = []
    BigEndian.append(entry.raw, width: 8, to: &bytes)
    let table = header.l1TableOffset
    try guardWrite(table + UInt64(index) * 8, 8, ignoring: .activeL1)
    let tag = WriteTag(
      .l1Table, .link, table: table, index: UInt64(index), before: (l1[index], 0), after: (entry.raw, 0))
    try io { () throws(StorageError) in
      try storage.write(bytes, at: table + UInt64(index) * 8, tag: tag)
      if flushes { try storage.flush() }
    }
    note(tag)
    replaceL1Entry(index, entry.raw)
  }

  /// Moves the L1 table to a larger place with exactly `entries` entries.
  func growL1(to entries: UInt64) throws(ImageError) {
    guard entries > UInt64(l1.count) else { return }
    guard entries * 8 <= 32 << 20 else {
      throw ImageError(
        .noSpace, "the L1 table cannot grow beyond 32 MiB; the image is too big for its cluster size")
    }
    let clusters = geometry.clustersCovering(entries * 8)
    let offset = try allocate(clusters)
    do throws(ImageError) {
      try refcountCache.flush()
      try switchL1(to: l1 + [UInt64](repeating: 0, count: Int(entries) - l1.count), at: offset)
    } catch {
      if header.l1TableOffset != offset {
        try? free(offset, clusters << UInt64(geometry.clusterBits), .other)
      }
      throw error
    }
  }

  /// Writes the active L1 table to `offset`, where clusters have been taken for it, lets the header
  /// point there, and frees its old place.
  func switchL1(to new: [UInt64], at offset: UInt64) throws(ImageError) {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(new.count * 8)
    for entry in new { BigEndian.append(entry, width: 8, to: &bytes) }
    try guardWrite(offset, UInt64(bytes.count))
    try io { () throws(StorageError) in
      try storage.write(bytes, at: offset, tag: WriteTag(.l1Table, .newTable, table: offset))
      try storage.flush()
    }
    var fields: [UInt8] = []
    BigEndian.append(UInt64(new.count), width: 4, to: &fields)
    BigEndian.append(offset, width: 8, to: &fields)
    try patchHeader(fields, at: 36, .newTable)
    let old = (offset: header.l1TableOffset, count: geometry.clustersCovering(UInt64(header.l1Size) * 8))
    header.l1TableOffset = offset
    header.l1Size = UInt32(new.count)
    l1 = new
    if old.count > 0 { release(old.offset, old.count << UInt64(geometry.clusterBits), .other) }
  }
}
