// Somebody who uses a host cluster, as a value and in words.

package import Qcow
package import QcowFormat

/// Somebody who uses a host cluster.
package enum Owner: Hashable, Sendable {
  case header
  case l1Table
  case refcountTable
  case refcountBlock(index: Int)
  /// The L2 table of an entry of the active L1 table.
  case l2Table(l1Index: Int)
  /// Bytes of the guest, by an entry of an L2 table.
  case data(l1Index: Int, l2Index: Int, table: HostOffset, guest: GuestOffset)
  /// A compressed cluster whose stream touches the host cluster.
  case compressed(l1Index: Int, l2Index: Int, table: HostOffset, guest: GuestOffset)
  /// An entry of the disk's last L2 table that maps a place behind the end of the disk.
  case beyond(l1Index: Int, l2Index: Int, table: HostOffset)
  /// Saved VM state, by an entry behind those of the disk: of a snapshot, or of the active L1 table.
  case vmState(snapshot: Int?, l1Index: Int, l2Index: Int, table: HostOffset)
  case snapshotTable
  case snapshotL1(snapshot: Int)
  case snapshotL2(snapshot: Int, l1Index: Int)
  case snapshotData(snapshot: Int, l1Index: Int, l2Index: Int, table: HostOffset, guest: GuestOffset)
  /// A cluster of the persistent bitmaps: which part, and the name of the bitmap in quotes; nil for the directory,
  /// and where no bitmap leads there.
  case bitmap(BitmapPart?, name: String)
  case crypto
  /// The refcount counts more owners than there are.
  case leaked(refcount: UInt64, owners: UInt64)
  case free
  case pastEnd

  /// The table and the entry in it that lead to the cluster, for owners that are an L2 entry of the
  /// active tables.
  package var entry: (l1Index: Int, l2Index: Int)? {
    switch self {
    case .data(let l1, let l2, _, _), .compressed(let l1, let l2, _, _), .beyond(let l1, let l2, _),
      .vmState(nil, let l1, let l2, _):
      (l1, l2)
    default: nil
    }
  }

  /// The place on the virtual disk, for owners of the active disk that have one.
  package var guest: GuestOffset? {
    switch self {
    case .data(_, _, _, let guest), .compressed(_, _, _, let guest): guest
    default: nil
    }
  }

  /// The place on a virtual disk that the owner stands for: on that of the image, or on that of a snapshot.
  package var place: GuestOffset? {
    if case .snapshotData(_, _, _, _, let guest) = self { return guest }
    return guest
  }

  /// Whose it is: "active disk", the snapshot's name, or "image" for its structures.
  package func holder(snapshots: [SnapshotEntry]) -> String {
    switch self {
    case .data, .compressed, .beyond, .vmState(nil, _, _, _), .l2Table: "active disk"
    case .snapshotData(let index, _, _, _, _), .snapshotL1(let index), .snapshotL2(let index, _),
      .vmState(let index?, _, _, _):
      Self.name(ofSnapshot: index, snapshots)
    default: "image"
    }
  }

  /// Where the entry lies that leads to the cluster; nil for what the header names.
  package func entry(in image: Image, _ bitmaps: BitmapPlaces) -> HostOffset? {
    let size = UInt64(image.geometry.l2EntrySize)
    func l1(_ snapshot: Int?, _ index: Int) -> HostOffset? {
      guard let snapshot else { return HostOffset(image.header.l1TableOffset) + UInt64(index) * 8 }
      guard image.snapshots.indices.contains(snapshot) else { return nil }
      return HostOffset(image.snapshots[snapshot].l1TableOffset) + UInt64(index) * 8
    }
    switch self {
    case .data(_, let index, let table, _), .compressed(_, let index, let table, _),
      .beyond(_, let index, let table), .vmState(_, _, let index, let table),
      .snapshotData(_, _, let index, let table, _):
      return table + UInt64(index) * size
    case .l2Table(let index): return l1(nil, index)
    case .snapshotL2(let snapshot, let index): return l1(snapshot, index)
    case .snapshotL1(let snapshot):
      guard image.snapshots.indices.contains(snapshot) else { return nil }
      let before = image.snapshots[..<snapshot].reduce(0) { $0 + UInt64(max(0, $1.entrySize)) }
      return HostOffset(image.header.snapshotsOffset) + before
    case .refcountBlock(let index): return HostOffset(image.header.refcountTableOffset) + UInt64(index) * 8
    case .bitmap(.table(let number), _):
      return bitmaps.places.indices.contains(number) ? bitmaps.places[number].offset : nil
    case .bitmap(.bits(let number, let entry), _):
      guard bitmaps.places.indices.contains(number) else { return nil }
      return bitmaps.places[number].entry.tableOffset + UInt64(max(0, entry)) * 8
    default: return nil
    }
  }

  /// Not an owner, but what is to be said of a cluster without one.
  package var isRemark: Bool {
    switch self {
    case .leaked, .free, .pastEnd: true
    default: false
    }
  }

  /// `snapshot "NAME"`, by its name or its ID; its index where the table has none of it.
  package static func name(ofSnapshot index: Int, _ snapshots: [SnapshotEntry]) -> String {
    guard snapshots.indices.contains(index) else { return "snapshot \(index)" }
    let snapshot = snapshots[index]
    return "snapshot \"\(snapshot.name.isEmpty ? snapshot.id : snapshot.name)\""
  }

  /// One line, as "L2[16] of the L2 table at 0x40000".
  package func text(snapshots: [SnapshotEntry]) -> String {
    func name(_ index: Int) -> String { Self.name(ofSnapshot: index, snapshots) }
    switch self {
    case .header: return "the header"
    case .l1Table: return "the L1 table"
    case .refcountTable: return "the refcount table"
    case .refcountBlock(let index): return "refcount block \(index)"
    case .l2Table(let index): return "L1[\(index)], as its L2 table"
    case .data(_, let entry, let table, _):
      return "L2[\(entry)] of the L2 table at 0x\(Notation.hex(table.value))"
    case .compressed(_, let entry, let table, _):
      return "compressed L2[\(entry)] of the L2 table at 0x\(Notation.hex(table.value))"
    case .beyond(let l1, let entry, let table):
      return
        "L1[\(l1)], L2[\(entry)] of the L2 table at 0x\(Notation.hex(table.value)), behind the end of the disk"
    case .vmState(nil, let l1, let entry, _): return "saved VM state, L1[\(l1)] L2[\(entry)] of the disk"
    case .vmState(let index?, let l1, let entry, _):
      return "saved VM state of \(name(index)), L1[\(l1)] L2[\(entry)]"
    case .snapshotTable: return "the snapshot table"
    case .snapshotL1(let index): return "the L1 table of \(name(index))"
    case .snapshotL2(let index, let entry): return "L1[\(entry)] of \(name(index)), as its L2 table"
    case .snapshotData(let index, _, let entry, let table, _):
      return "\(name(index)), L2[\(entry)] of the L2 table at 0x\(Notation.hex(table.value))"
    case .bitmap(.directory, _): return "the bitmap directory"
    case .bitmap(.table, let name): return "the table of bitmap \(name)"
    case .bitmap(.bits(_, let entry), let name): return "bitmap \(name), bits of its table's entry \(entry)"
    case .bitmap(nil, _): return "persistent bitmaps"
    case .crypto: return "the encryption header"
    case .leaked(let refcount, 0): return "nobody, but its refcount is \(refcount): leaked"
    case .leaked(let refcount, let owners):
      return "fewer than the refcount says: \(owners) of \(refcount), the rest is leaked"
    case .free: return "nobody: free"
    case .pastEnd: return "nobody: behind the end of the file"
    }
  }
}

/// What is known about the owners of one cluster.
package struct OwnerList: Equatable, Sendable {
  /// Those that have been found, in the order of the search.
  package var owners: [Owner] = []
  /// All owners have been found; otherwise asking again searches on.
  package var isComplete = true
  /// The refcount of the cluster; nil if it cannot be read.
  package var refcount: UInt64?
  /// How many owners there are, as the scan counted them; more than are listed where hundreds of
  /// compressed streams share a cluster.
  package var ownerCount: UInt64 = 0
  /// What the scan knows of the cluster; nil before it has been there.
  package var facts: HostFacts?
  /// The role of the cluster.
  package var state: HostState { facts?.state ?? .free }
}
