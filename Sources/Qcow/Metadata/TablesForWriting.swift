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
      try tables.guardWrite(HostOffset(table), geometry.clusterSize, ignoring: .activeL2)
      try fillL2Table(table, copyOf: old)
      try tables.setL1Entry(l1Index, L1Entry(table: HostOffset(table), copied: true))
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
      try moveL1(to: offset, entries: Int(entries))
    } catch {
      if header.l1TableOffset != offset {
        try? free(offset, clusters << UInt64(geometry.clusterBits), .other)
      }
      throw error
    }
  }

  /// Moves the active L1 table to `offset`, where clusters have been taken for it, and frees its old place.
  func moveL1(to offset: UInt64, entries: Int) throws(ImageError) {
    let old = try tables.moveL1(to: HostOffset(offset), entries: entries)
    if old.clusters > 0 { release(old.offset.value, old.clusters * geometry.clusterSize, .other) }
  }
}
