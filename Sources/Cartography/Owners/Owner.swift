// Somebody who uses a host cluster, as a value and in words.

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

  /// Not an owner, but what is to be said of a cluster without one.
  package var isRemark: Bool {
    switch self {
    case .leaked, .free, .pastEnd: true
    default: false
    }
  }

  /// One line, as "L2[16] of the L2 table at 0x40000".
  package func text(snapshots: [SnapshotEntry]) -> String {
    func name(_ index: Int) -> String {
      guard snapshots.indices.contains(index) else { return "snapshot \(index)" }
      let snapshot = snapshots[index]
      return "snapshot \"\(snapshot.name.isEmpty ? snapshot.id : snapshot.name)\""
    }
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
