// Who uses a host cluster, in the short words of facts: "L2[0]", "data[3] of one".

import Cartography
import Qcow
import QcowFormat
import Storage

/// The owners of an image's clusters by short names.
final class OwnerNames {
  private let owners: Owners
  private let image: Image
  private var known: [HostCluster: [String]] = [:]

  /// Scans the image; it must not change afterwards.
  init(_ image: Image) {
    self.image = image
    let atlas = Atlas(image)
    atlas.scanAll()
    owners = Owners(atlas)
  }

  /// Everybody who uses a cluster: structures, the disk, snapshots.
  func all(of cluster: HostCluster) -> [String] {
    if let names = known[cluster] { return names }
    let list = owners.completeList(of: cluster).owners.filter { !$0.isRemark }
    // Of streams that share a cluster the order of the disk counts, not where in the cluster each begins.
    let names = list.enumerated().sorted { first, second in
      let (a, b) = (Self.rank(first.element), Self.rank(second.element))
      guard a == b else { return a < b }
      let (c, d) = (Self.place(first.element), Self.place(second.element))
      return (c.snapshot, c.guest, first.offset) < (d.snapshot, d.guest, second.offset)
    }
    .map { name($0.element) }
    known[cluster] = names
    return names
  }

  /// Bytes of the clusters that only the snapshot of that name has.
  func bytesAlone(_ name: String) -> UInt64 {
    let geometry = image.geometry
    let clusters = min(geometry.clustersCovering(image.storage.length), 1 << 16)
    let own = (0..<clusters).filter { cluster in
      let list = owners.completeList(of: HostCluster(cluster)).owners.filter { !$0.isRemark }
      return list.contains { snapshot(of: $0) != nil } && list.allSatisfy { snapshot(of: $0) == name }
    }
    return geometry.byteCount(ofClusters: UInt64(own.count))
  }

  /// The snapshot whose tables lead to a cluster; nil for everybody else.
  private func snapshot(of owner: Owner) -> String? {
    let index: Int
    switch owner {
    case .snapshotL1(let found), .snapshotL2(let found, _), .snapshotData(let found, _, _, _, _):
      index = found
    default: return nil
    }
    guard image.snapshots.indices.contains(index) else { return nil }
    let snapshot = image.snapshots[index]
    return snapshot.name.isEmpty ? snapshot.id : snapshot.name
  }

  /// Whose disk data is of, and where in it; the same for everything else.
  private static func place(_ owner: Owner) -> (snapshot: Int, guest: UInt64) {
    switch owner {
    case .data(_, _, _, let guest), .compressed(_, _, _, let guest): (0, guest.value)
    case .snapshotData(let index, _, _, _, let guest): (index, guest.value)
    default: (0, 0)
    }
  }

  private static func rank(_ owner: Owner) -> Int {
    switch owner {
    case .header: 0
    case .refcountTable: 1
    case .refcountBlock: 2
    case .l1Table: 3
    case .l2Table: 4
    case .data, .compressed, .beyond, .vmState(nil, _, _, _): 5
    case .snapshotTable, .bitmap, .crypto: 9
    case .snapshotL1: 10
    case .snapshotL2: 11
    default: 12
    }
  }

  private func name(_ owner: Owner) -> String {
    let geometry = image.geometry
    func data(_ guest: GuestOffset) -> String { "data[\(geometry.cluster(of: guest).value)]" }
    func of(_ index: Int) -> String {
      guard image.snapshots.indices.contains(index) else { return "" }
      let snapshot = image.snapshots[index]
      return " of " + (snapshot.name.isEmpty ? snapshot.id : snapshot.name)
    }
    func plain(_ name: String) -> String { String(name.filter { $0 != "\"" }) }
    switch owner {
    case .header: return "header"
    case .l1Table: return "L1"
    case .refcountTable: return "refcount table"
    case .refcountBlock(let index): return "refcount block \(index)"
    case .l2Table(let index): return "L2[\(index)]"
    case .data(_, _, _, let guest), .compressed(_, _, _, let guest): return data(guest)
    case .beyond: return "data behind the disk"
    case .vmState(let index, _, _, _): return "machine state" + (index.map(of) ?? "")
    case .snapshotTable: return "snapshot table"
    case .snapshotL1(let index): return "L1" + of(index)
    case .snapshotL2(let index, let entry): return "L2[\(entry)]" + of(index)
    case .snapshotData(let index, _, _, _, let guest): return data(guest) + of(index)
    case .bitmap(.directory, _): return "bitmap directory"
    case .bitmap(.table, let name): return "bitmap table of " + plain(name)
    case .bitmap(_, let name): return "bitmap of " + plain(name)
    case .crypto: return "encryption header"
    case .leaked: return "leaked"
    case .free, .pastEnd: return "free"
    }
  }
}
