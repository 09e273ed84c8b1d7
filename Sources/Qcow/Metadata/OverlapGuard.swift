// The overlap guard: no write of the engine may land on a table it does not mean to write. Damaged
// refcounts give out clusters that are in use; this stops the damage from spreading.

import QcowFormat
import Storage

/// Structures that writes are kept away from, each checked on its own.
package struct OverlapChecks: OptionSet, Sendable {
  package let rawValue: UInt16
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  package static let mainHeader = Self(rawValue: 1 << 0)
  package static let activeL1 = Self(rawValue: 1 << 1)
  package static let activeL2 = Self(rawValue: 1 << 2)
  package static let refcountTable = Self(rawValue: 1 << 3)
  package static let refcountBlock = Self(rawValue: 1 << 4)
  package static let snapshotTable = Self(rawValue: 1 << 5)
  package static let inactiveL1 = Self(rawValue: 1 << 6)
  /// Reads the L1 tables of all snapshots.
  package static let inactiveL2 = Self(rawValue: 1 << 7)
  package static let bitmapDirectory = Self(rawValue: 1 << 8)

  /// What the header alone tells.
  package static let constant: Self = [
    .mainHeader, .activeL1, .refcountTable, .snapshotTable, .bitmapDirectory,
  ]
  /// What is in memory anyway; the default.
  package static let cached: Self = [.constant, .activeL2, .refcountBlock, .inactiveL1]
  package static let all: Self = [.cached, .inactiveL2]

  /// The names that users switch single checks with.
  package static let names: [(name: String, check: Self)] = [
    ("main-header", .mainHeader), ("active-l1", .activeL1), ("active-l2", .activeL2),
    ("refcount-table", .refcountTable), ("refcount-block", .refcountBlock),
    ("snapshot-table", .snapshotTable),
    ("inactive-l1", .inactiveL1), ("inactive-l2", .inactiveL2), ("bitmap-directory", .bitmapDirectory),
  ]
}

/// Which host clusters the tables in memory name as tables, and how often: a damaged table may name one
/// twice.
struct TableClusters {
  var l2Tables: [UInt64: Int] = [:]
  var refcountBlocks: [UInt64: Int] = [:]
  /// L2 tables of snapshots; only known if that check is on.
  var inactiveL2Tables: Set<UInt64> = []

  mutating func replaceL2Table(_ old: UInt64, by new: UInt64) { Self.replace(old, by: new, in: &l2Tables) }

  mutating func replaceRefcountBlock(_ old: UInt64, by new: UInt64) {
    Self.replace(old, by: new, in: &refcountBlocks)
  }

  /// An entry named `old` before and names `new` now; 0 stands for nothing.
  private static func replace(_ old: UInt64, by new: UInt64, in clusters: inout [UInt64: Int]) {
    if new != 0 { clusters[new, default: 0] += 1 }
    guard old != 0, let count = clusters[old] else { return }
    clusters[old] = count > 1 ? count - 1 : nil
  }
}

extension Image {
  /// Throws if the range touches a table, the header, or the place of one.
  ///
  /// `ignoring`: the kind of table that is meant to be written. Ranges are rounded to clusters. The kinds
  /// are tested in the order in which the genuine tool tests them, because the first one is named.
  func guardWrite(_ offset: UInt64, _ length: UInt64, ignoring: OverlapChecks = []) throws(ImageError) {
    guard length > 0 else { return }
    let checks = options.overlapChecks.subtracting(ignoring)
    let bits = UInt64(geometry.clusterBits)
    let first = offset >> bits
    let last = (offset &+ length &- 1) >> bits
    func touches(_ start: UInt64, _ bytes: UInt64) -> Bool {
      bytes > 0 && first <= (start &+ bytes &- 1) >> bits && last >= start >> bits
    }
    func refuse(_ what: String) -> ImageError {
      ImageError(.overlap, "Preventing invalid write on metadata (overlaps with \(what))")
    }
    if checks.contains(.mainHeader), first == 0 { throw refuse("qcow2_header") }
    if checks.contains(.activeL1), touches(header.l1TableOffset, UInt64(header.l1Size) * 8) {
      throw refuse("active L1 table")
    }
    if checks.contains(.refcountTable),
      touches(header.refcountTableOffset, UInt64(header.refcountTableClusters) << bits)
    {
      throw refuse("refcount table")
    }
    if !snapshots.isEmpty {
      if checks.contains(.snapshotTable), touches(header.snapshotsOffset, snapshotTableSize) {
        throw refuse("snapshot table")
      }
      if checks.contains(.inactiveL1),
        snapshots.contains(where: { touches($0.l1TableOffset, UInt64($0.l1Size) * 8) })
      {
        throw refuse("inactive L1 table")
      }
    }
    let tables = try knownTables()
    if checks.contains(.activeL2), (first...last).contains(where: { tables.l2Tables[$0] != nil }) {
      throw refuse("active L2 table")
    }
    if checks.contains(.refcountBlock), (first...last).contains(where: { tables.refcountBlocks[$0] != nil }) {
      throw refuse("refcount block")
    }
    if checks.contains(.inactiveL2), (first...last).contains(where: tables.inactiveL2Tables.contains) {
      throw refuse("inactive L2 table")
    }
    if checks.contains(.bitmapDirectory), let bitmaps = extensions.bitmaps,
      touches(bitmaps.directoryOffset, bitmaps.directorySize)
    {
      throw refuse("bitmap directory")
    }
  }

  /// The same for guest data, which an external data file keeps apart from all tables.
  func guardData(_ offset: UInt64, _ length: UInt64) throws(ImageError) {
    if !hasExternalData { try guardWrite(offset, length) }
  }

  /// The sets, made at the first write: opening an image to look at it does not pay for them.
  private func knownTables() throws(ImageError) -> TableClusters {
    if let tableClusters { return tableClusters }
    let bits = UInt64(geometry.clusterBits)
    var made = TableClusters()
    for entry in l1 where entry & L1Entry.offsetMask != 0 {
      made.l2Tables[(entry & L1Entry.offsetMask) >> bits, default: 0] += 1
    }
    for entry in refcountTable where entry & RefcountTableEntry.offsetMask != 0 {
      made.refcountBlocks[(entry & RefcountTableEntry.offsetMask) >> bits, default: 0] += 1
    }
    if options.overlapChecks.contains(.inactiveL2) {
      for snapshot in snapshots {
        for entry in try readL1(of: snapshot) where entry & L1Entry.offsetMask != 0 {
          made.inactiveL2Tables.insert((entry & L1Entry.offsetMask) >> bits)
        }
      }
    }
    tableClusters = made
    return made
  }

  /// Changes an entry of the L1 table in memory. The guard follows what the table names, whatever the
  /// refcounts say of it.
  func replaceL1Entry(_ index: Int, _ raw: UInt64) {
    let bits = UInt64(geometry.clusterBits)
    tableClusters?.replaceL2Table(
      (l1[index] & L1Entry.offsetMask) >> bits, by: (raw & L1Entry.offsetMask) >> bits)
    l1[index] = raw
  }

  /// The same for an entry of the refcount table.
  func replaceRefcountTableEntry(_ index: Int, _ raw: UInt64) {
    let bits = UInt64(geometry.clusterBits)
    let mask = RefcountTableEntry.offsetMask
    tableClusters?.replaceRefcountBlock((refcountTable[index] & mask) >> bits, by: (raw & mask) >> bits)
    refcountTable[index] = raw
  }
}
