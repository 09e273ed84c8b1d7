// Which bytes of a file are compared when another program writes it: those of every table that the image names.

import QcowFormat
package import Qcow
import Storage

/// One table, or a row of clusters that belong together.
struct WatchedTable {
  let structure: Structure
  /// Where its bytes lie in the file.
  let bytes: Range<UInt64>
  /// What its first entry is about: a guest cluster, a host cluster, or 0 for tables of tables.
  let first: UInt64
  /// No entry named it when the file was looked at before, so that all of its entries are new.
  var isNew = false

  /// The pages in which it lies, byte offset divided by ``Page/size``.
  var pages: Range<UInt64> {
    let size = UInt64(Page.size)
    return bytes.lowerBound / size..<(bytes.upperBound + size - 1) / size
  }
}

/// All tables of one image.
package struct WatchedTables {
  /// In the order in which they have to be read: writers raise counts before they link, so what names clusters comes
  /// first and the counts afterwards.
  let tables: [WatchedTable]

  /// The tables that the image names now. Costs as much as its L1 and refcount tables are long.
  package init(_ image: Image) {
    let geometry = image.geometry
    let bits = UInt64(geometry.clusterBits)
    var naming: [WatchedTable] = []
    var counting: [WatchedTable] = []
    for found in Structures(image).found {
      let bytes = found.range.lowerBound << bits..<found.range.upperBound << bits
      switch found.state {
      case .header: naming.append(WatchedTable(structure: .header, bytes: bytes, first: 0))
      case .l1Table:
        let start = image.header.l1TableOffset
        naming.append(
          WatchedTable(
            structure: .l1Table, bytes: start..<start + UInt64(image.l1Count) * 8, first: 0))
      case .snapshotTable: naming.append(WatchedTable(structure: .snapshotTable, bytes: bytes, first: 0))
      case .snapshotTables: naming.append(WatchedTable(structure: .inactiveL1Table, bytes: bytes, first: 0))
      case .bitmap: naming.append(WatchedTable(structure: .bitmaps, bytes: bytes, first: 0))
      case .refcountTable:
        counting.insert(WatchedTable(structure: .refcountTable, bytes: bytes, first: 0), at: 0)
      case .refcountBlock:
        let first = UInt64(found.index) * geometry.refcountsPerBlock
        counting.append(WatchedTable(structure: .refcountBlock, bytes: bytes, first: first))
      default: break
      }
    }
    for index in 0..<image.l1Count {
      guard let table = image.l1Entry(index).table, geometry.isAligned(table.value) else { continue }
      naming.append(Self.l2Table(at: table, l1Index: index, geometry))
    }
    tables = naming + counting
  }

  static func l2Table(at place: HostOffset, l1Index: Int, _ geometry: Geometry) -> WatchedTable {
    WatchedTable(
      structure: .l2Table, bytes: place.value..<place.value + geometry.clusterSize,
      first: UInt64(l1Index) * UInt64(geometry.l2EntriesPerTable))
  }

  /// Their bytes, sorted and without overlaps.
  package var ranges: [Range<UInt64>] { Narration.merged(tables.map(\.bytes)) }
}
