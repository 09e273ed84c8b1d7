// The overlap guard: no write of the engine may land on a table it does not mean to write. Damaged
// refcounts give out clusters that are in use; this stops the damage from spreading.

import QcowFormat
import Storage

/// Structures that writes are kept away from, each checked on its own.
package struct OverlapChecks: OptionSet, Sendable {
  /// One bit per structure.
  package let rawValue: UInt16
  package init(rawValue: UInt16) { self.rawValue = rawValue }

  /// The header and its extensions.
  package static let mainHeader = Self(rawValue: 1 << 0)
  /// The L1 table of the disk.
  package static let activeL1 = Self(rawValue: 1 << 1)
  /// L2 tables of the disk.
  package static let activeL2 = Self(rawValue: 1 << 2)
  /// The refcount table.
  package static let refcountTable = Self(rawValue: 1 << 3)
  /// Refcount blocks.
  package static let refcountBlock = Self(rawValue: 1 << 4)
  /// The snapshot table.
  package static let snapshotTable = Self(rawValue: 1 << 5)
  /// L1 tables of snapshots.
  package static let inactiveL1 = Self(rawValue: 1 << 6)
  /// Reads the L1 tables of all snapshots.
  package static let inactiveL2 = Self(rawValue: 1 << 7)
  /// The bitmap directory.
  package static let bitmapDirectory = Self(rawValue: 1 << 8)

  /// What the header alone tells.
  package static let constant: Self = [
    .mainHeader, .activeL1, .refcountTable, .snapshotTable, .bitmapDirectory,
  ]
  /// What is in memory anyway; the default.
  package static let cached: Self = [.constant, .activeL2, .refcountBlock, .inactiveL1]
  /// Everything, at the price of reading the tables of snapshots.
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
  private(set) var l2Tables: [HostCluster: Int] = [:]
  private(set) var refcountBlocks: [HostCluster: Int] = [:]
  /// L2 tables of snapshots; only known if that check is on.
  private(set) var inactiveL2Tables: Set<HostCluster> = []
  /// Whether a table was named in clusters whose numbers end alike: most clusters that are written hold none.
  private var near = [Bool](repeating: false, count: TableClusters.nearby)
  private static let nearby = 4096

  /// Nothing is named in these clusters; false if that takes a look at each of them.
  func areClear(_ first: HostCluster, _ last: HostCluster) -> Bool {
    guard last >= first, (last - first).value < UInt64(Self.nearby) else { return false }
    return unsafe near.withUnsafeBufferPointer { near in
      var place = Int(truncatingIfNeeded: first.value) & (Self.nearby - 1)
      for _ in 0...(last - first).value {
        if unsafe near[place] { return false }
        place = (place + 1) & (Self.nearby - 1)
      }
      return true
    }
  }

  /// From now on the cluster is known; what is no table any more may still be near.
  private mutating func come(near cluster: HostCluster) {
    near[Int(truncatingIfNeeded: cluster.value) & (Self.nearby - 1)] = true
  }

  mutating func addInactiveL2Table(_ cluster: HostCluster) {
    inactiveL2Tables.insert(cluster)
    come(near: cluster)
  }

  mutating func replaceL2Table(_ old: HostCluster?, by new: HostCluster?) {
    Self.replace(old, by: new, in: &l2Tables)
    if let new { come(near: new) }
  }

  mutating func replaceRefcountBlock(_ old: HostCluster?, by new: HostCluster?) {
    Self.replace(old, by: new, in: &refcountBlocks)
    if let new { come(near: new) }
  }

  /// An entry named `old` before and names `new` now.
  private static func replace(
    _ old: HostCluster?, by new: HostCluster?, in clusters: inout [HostCluster: Int]
  ) {
    if let new { clusters[new, default: 0] += 1 }
    guard let old, let count = clusters[old] else { return }
    clusters[old] = count > 1 ? count - 1 : nil
  }
}

/// Keeps writes away from tables that they do not mean; belongs to the ``TableWriter`` that it asks for them.
struct OverlapGuard {
  private let checks: OverlapChecks
  /// Made at the first write: opening an image to look at it does not pay for it.
  private var clusters: TableClusters?

  init(_ checks: OverlapChecks) { self.checks = checks }

  /// Throws ``ImageError/Code/overlap`` if the range touches a table, the header, or the place of one.
  ///
  /// `ignoring`: the kind of table that is meant to be written. Ranges are rounded to clusters. The kinds
  /// are tested in the order in which the genuine tool tests them, because the first one is named.
  mutating func check(
    _ offset: HostOffset, _ length: ByteCount, ignoring: OverlapChecks, _ tables: TableWriter
  ) throws(ImageError) {
    let checks = checks.subtracting(ignoring)
    guard length > 0, !checks.isEmpty else { return }
    let (header, geometry) = (tables.header, tables.geometry)
    let first = geometry.cluster(of: offset)
    let last = geometry.cluster(of: offset + (length - 1))
    func touches(_ start: HostOffset, _ bytes: ByteCount) -> Bool {
      bytes > 0 && first <= geometry.cluster(of: start + (bytes - 1)) && last >= geometry.cluster(of: start)
    }
    func refuse(_ what: String, _ structure: Structure) -> ImageError {
      ImageError(
        .overlap, "Preventing invalid write on metadata (overlaps with \(what))", at: structure, offset)
    }
    if checks.contains(.mainHeader), first == HostCluster(0) { throw refuse("qcow2_header", .header) }
    if checks.contains(.activeL1), touches(tables.l1Place, ByteCount(UInt64(header.l1Size) * 8)) {
      throw refuse("active L1 table", .l1Table)
    }
    if checks.contains(.refcountTable),
      touches(
        tables.refcountTablePlace, geometry.bytes(ClusterCount(UInt64(header.refcountTableClusters))))
    {
      throw refuse("refcount table", .refcountTable)
    }
    if !tables.snapshots.isEmpty {
      if checks.contains(.snapshotTable),
        touches(HostOffset(header.snapshotsOffset), tables.snapshotTableSize)
      {
        throw refuse("snapshot table", .snapshotTable)
      }
      if checks.contains(.inactiveL1),
        tables.snapshots.contains(where: {
          touches(HostOffset($0.l1TableOffset), ByteCount(UInt64($0.l1Size) * 8))
        })
      {
        throw refuse("inactive L1 table", .inactiveL1Table)
      }
    }
    if clusters?.areClear(first, last) == true { return try checkBitmaps(checks, tables, touches, refuse) }
    let known = try known(tables)
    if checks.contains(.activeL2), (first...last).contains(where: { known.l2Tables[$0] != nil }) {
      throw refuse("active L2 table", .l2Table)
    }
    if checks.contains(.refcountBlock),
      (first...last).contains(where: { known.refcountBlocks[$0] != nil })
    {
      throw refuse("refcount block", .refcountBlock)
    }
    if checks.contains(.inactiveL2),
      (first...last).contains(where: { known.inactiveL2Tables.contains($0) })
    {
      throw refuse("inactive L2 table", .inactiveL2Table)
    }
    try checkBitmaps(checks, tables, touches, refuse)
  }

  private func checkBitmaps(
    _ checks: OverlapChecks, _ tables: TableWriter, _ touches: (HostOffset, ByteCount) -> Bool,
    _ refuse: (String, Structure) -> ImageError
  ) throws(ImageError) {
    if checks.contains(.bitmapDirectory), let bitmaps = tables.extensions.bitmaps,
      touches(HostOffset(bitmaps.directoryOffset), ByteCount(bitmaps.directorySize))
    {
      throw refuse("bitmap directory", .none)
    }
  }

  private mutating func known(_ tables: TableWriter) throws(ImageError) -> TableClusters {
    if let clusters { return clusters }
    let geometry = tables.geometry
    var made = TableClusters()
    for raw in tables.l1 {
      guard let table = L1Entry(raw: raw).table else { continue }
      made.replaceL2Table(nil, by: geometry.cluster(of: table))
    }
    for raw in tables.refcountTable {
      guard let block = RefcountTableEntry(raw: raw).block else { continue }
      made.replaceRefcountBlock(nil, by: geometry.cluster(of: block))
    }
    if checks.contains(.inactiveL2) {
      for snapshot in tables.snapshots {
        for raw in try tables.readL1(of: snapshot) {
          guard let table = L1Entry(raw: raw).table else { continue }
          made.addInactiveL2Table(geometry.cluster(of: table))
        }
      }
    }
    clusters = made
    return made
  }

  /// Takes in what the tables name now, unless that is known. Throws if a snapshot's L1 table cannot be read.
  mutating func learn(_ tables: TableWriter) throws(ImageError) {
    if !checks.isEmpty { _ = try known(tables) }
  }

  /// Drops what is known; it is taken in again when it is needed.
  mutating func forget() { clusters = nil }

  /// An L1 entry changes. The guard follows what the table names, whatever the refcounts say of it.
  mutating func replaceL2Table(_ old: L1Entry, by new: L1Entry, _ geometry: Geometry) {
    clusters?.replaceL2Table(
      old.table.map { geometry.cluster(of: $0) }, by: new.table.map { geometry.cluster(of: $0) })
  }

  /// The same for an entry of the refcount table.
  mutating func replaceRefcountBlock(
    _ old: RefcountTableEntry, by new: RefcountTableEntry, _ geometry: Geometry
  ) {
    clusters?.replaceRefcountBlock(
      old.block.map { geometry.cluster(of: $0) }, by: new.block.map { geometry.cluster(of: $0) })
  }
}
