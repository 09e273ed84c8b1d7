// The overlap guard: no write of the engine may land on a table it does not mean to write. Damaged
// refcounts give out clusters that are in use; this stops the damage from spreading.

import QcowFormat

/// Which host clusters hold tables of the active image.
struct TableClusters {
  var l2Tables: Set<UInt64> = []
  var refcountBlocks: Set<UInt64> = []
}

extension Image {
  /// Throws if the range touches a table, the header, or the place of one.
  ///
  /// `ignoring`: the kind of table that is meant to be written. Ranges are rounded to clusters.
  func guardWrite(_ offset: UInt64, _ length: UInt64, ignoring: Structure? = nil) throws(ImageError) {
    guard length > 0 else { return }
    let bits = UInt64(geometry.clusterBits)
    let first = offset >> bits
    let last = (offset &+ length &- 1) >> bits
    func touches(_ start: UInt64, _ bytes: UInt64) -> Bool {
      bytes > 0 && first <= (start &+ bytes &- 1) >> bits && last >= start >> bits
    }
    func refuse(_ what: String) -> ImageError {
      ImageError(.overlap, "Preventing invalid write on metadata (overlaps with \(what))")
    }
    if ignoring != .header && first == 0 { throw refuse("qcow2_header") }
    if ignoring != .l1Table && touches(header.l1TableOffset, UInt64(header.l1Size) * 8) {
      throw refuse("active L1 table")
    }
    if ignoring != .refcountTable,
      touches(header.refcountTableOffset, UInt64(header.refcountTableClusters) << bits)
    {
      throw refuse("refcount table")
    }
    let tables = knownTables()
    for cluster in first...last {
      if ignoring != .l2Table && tables.l2Tables.contains(cluster) { throw refuse("active L2 table") }
      if ignoring != .refcountBlock && tables.refcountBlocks.contains(cluster) {
        throw refuse("refcount block")
      }
    }
  }

  /// The same for guest data, which an external data file keeps apart from all tables.
  func guardData(_ offset: UInt64, _ length: UInt64) throws(ImageError) {
    if !hasExternalData { try guardWrite(offset, length) }
  }

  /// The sets, made at the first write: opening an image to look at it does not pay for them.
  private func knownTables() -> TableClusters {
    if let tableClusters { return tableClusters }
    let bits = UInt64(geometry.clusterBits)
    var made = TableClusters()
    for entry in l1 where entry & L1Entry.offsetMask != 0 {
      made.l2Tables.insert((entry & L1Entry.offsetMask) >> bits)
    }
    for entry in refcountTable where entry & RefcountTableEntry.offsetMask != 0 {
      made.refcountBlocks.insert((entry & RefcountTableEntry.offsetMask) >> bits)
    }
    tableClusters = made
    return made
  }

  func rememberTableCluster(_ cluster: UInt64, _ kind: Structure) {
    if kind == .l2Table { tableClusters?.l2Tables.insert(cluster) }
    if kind == .refcountBlock { tableClusters?.refcountBlocks.insert(cluster) }
  }

  func forgetTableCluster(_ cluster: UInt64) {
    tableClusters?.l2Tables.remove(cluster)
    tableClusters?.refcountBlocks.remove(cluster)
  }
}
