// What a host cluster is said to be, as exactly as tables say it, and what it looks like beside that.

package import QcowFormat
import Qcow
import Storage

/// What the tables say of a host cluster.
enum Claim: Equatable {
  case header
  /// Of the active disk or of a snapshot; the number of the first entry in the cluster.
  case l1Table(first: Int, entries: Int)
  case l2Table
  /// The number of the first entry in the cluster.
  case refcountTable(first: Int)
  case refcountBlock(Int)
  /// `isFirst` for the cluster that the structure begins in.
  case snapshotTable(isFirst: Bool)
  case bitmapDirectory(isFirst: Bool)
  case bitmapTable(entries: Int)
  case crypto(isFirst: Bool)
  /// Bytes of the guest or of its machine: anything but a table.
  case content

  /// The shape that the claim asks for; nil for bytes that may be anything.
  var shape: ClusterShape? {
    switch self {
    case .header: .header
    case .l1Table: .l1Table
    case .l2Table: .l2Table
    case .refcountTable: .refcountTable
    case .refcountBlock: .refcountBlock
    case .snapshotTable: .snapshotTable
    case .bitmapDirectory: .bitmapDirectory
    case .bitmapTable: .bitmapTable
    case .crypto: .encryptionHeader
    case .content: nil
    }
  }
}

/// A host cluster beside what it is said to be.
package struct Look: Equatable, Sendable {
  /// The cluster.
  package var cluster: HostCluster
  /// What it is said to be.
  package var state: HostState
  /// What its bytes look like.
  package var shape: ClusterShape
  /// The bytes cannot be what they are said to be.
  package var isBroken: Bool
}

/// Finds the claim of every host cluster of an image.
struct Claims {
  private let image: Image
  private let survey: Survey
  /// Host bytes of the L1 tables of snapshots, and of the tables of bitmaps.
  private var snapshotL1: [(start: UInt64, entries: UInt64)] = []
  private var bitmapTables: [(start: UInt64, entries: UInt64)] = []

  init(_ atlas: Atlas) {
    image = atlas.image
    survey = atlas.survey
    for snapshot in image.snapshots { snapshotL1.append((snapshot.l1TableOffset, UInt64(snapshot.l1Size))) }
    // The format allows no more bitmaps.
    for place in BitmapPlaces(image).places.prefix(65535) {
      bitmapTables.append((place.entry.tableOffset.value, UInt64(place.entry.tableSize)))
    }
  }

  /// What is said of a cluster in that state; nil if nothing is said.
  func claim(_ cluster: HostCluster, _ state: HostState) -> Claim? {
    let geometry = image.geometry
    let start = geometry.start(of: cluster).value
    let header = image.header
    switch state {
    case .header: return .header
    case .l1Table: return l1(start, header.l1TableOffset, UInt64(header.l1Size))
    case .l2Table: return .l2Table
    case .refcountTable:
      return .refcountTable(first: Int(clamping: (start &- header.refcountTableOffset) / 8))
    case .refcountBlock:
      return survey.classifier.structures.range(at: cluster.value).map { .refcountBlock($0.index) }
    case .snapshotTable: return .snapshotTable(isFirst: start == header.snapshotsOffset)
    case .snapshotTables:
      let tables = snapshotL1.lazy.filter { start >= $0.start && start - $0.start < $0.entries * 8 }
      return tables.first.map { l1(start, $0.start, $0.entries) } ?? .l2Table
    case .bitmap:
      if let directory = image.extensions.bitmaps, start >= directory.directoryOffset,
        start - directory.directoryOffset < directory.directorySize
      {
        return .bitmapDirectory(isFirst: start == directory.directoryOffset)
      }
      let tables = bitmapTables.lazy.filter { start >= $0.start && start - $0.start < $0.entries * 8 }
      // The bits of a bitmap may read like anything, tables among it.
      return tables.first.map {
        .bitmapTable(entries: Int(min($0.entries - (start - $0.start) / 8, geometry.tableEntriesPerCluster)))
      }
    case .crypto: return .crypto(isFirst: start == image.extensions.encryption?.offset)
    case .vmState, .data, .compressed: return .content
    case .free, .hole, .leaked, .wrong, .pastEnd: return nil
    }
  }

  private func l1(_ start: UInt64, _ table: UInt64, _ entries: UInt64) -> Claim {
    let first = min((start &- table) / 8, entries)
    return .l1Table(
      first: Int(first), entries: Int(min(entries - first, image.geometry.tableEntriesPerCluster)))
  }
}
