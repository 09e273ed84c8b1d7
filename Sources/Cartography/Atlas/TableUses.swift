// Which L2 tables an image uses at one moment, and how often: by the active disk and by its snapshots. Two of
// these say what an operation did to tables whose entries are not told one by one.

import QcowFormat
import Qcow
import Storage

/// The uses of all L2 tables of an image without damage and without saved machine state.
struct TableUses {
  /// L1 entries that lead to a table.
  struct Use: Equatable {
    var active: UInt64 = 0
    var snapshots: UInt64 = 0
    var all: UInt64 { active + snapshots }
  }

  /// More L1 entries than this are not read.
  private static let maximumEntries: UInt64 = 1 << 22

  private(set) var uses: [HostOffset: Use] = [:]
  /// What the active L1 entries lead to.
  private(set) var l1: [HostOffset?] = []

  /// Reads the L1 tables of a moment through `reader`; nil if there is something that has to be scanned.
  init?(_ sources: SurveySources, _ reader: TableReader) {
    let geometry = sources.geometry
    let entries = sources.snapshots.reduce(UInt64(sources.l1Count)) { $0 &+ UInt64($1.l1Size) }
    guard entries <= Self.maximumEntries,
      let active = Self.read(sources.l1Place, UInt64(sources.l1Count), reader)
    else { return nil }
    l1 = active
    for (index, table) in active.enumerated() {
      guard let table else { continue }
      guard Self.isSound(table, UInt64(index), geometry.virtualSize, sources) else { return nil }
      uses[table, default: Use()].active += 1
    }
    for snapshot in sources.snapshots {
      guard geometry.isAligned(snapshot.l1TableOffset),
        let tables = Self.read(HostOffset(snapshot.l1TableOffset), UInt64(snapshot.l1Size), reader)
      else { return nil }
      for (index, table) in tables.enumerated() {
        guard let table else { continue }
        let size = snapshot.diskSize ?? geometry.virtualSize
        guard Self.isSound(table, UInt64(index), size, sources) else { return nil }
        uses[table, default: Use()].snapshots += 1
      }
    }
  }

  /// A table in the file that maps a disk of `size` bytes and nothing behind it.
  private static func isSound(
    _ table: HostOffset, _ index: UInt64, _ size: UInt64, _ sources: SurveySources
  ) -> Bool {
    sources.geometry.isAligned(table.value) && table.value < sources.fileLength
      && index < sources.geometry.l1Entries(for: size)
  }

  private static func read(_ place: HostOffset, _ count: UInt64, _ reader: TableReader) -> [HostOffset?]? {
    var result: [HostOffset?] = []
    result.reserveCapacity(Int(count))
    var at: UInt64 = 0
    while at < count {
      let piece = Int(min(count - at, UInt64(TableReader.pieceSize / 8)))
      guard let bytes = unsafe reader.bytes(at: place.value &+ at * 8, count: piece * 8) else { return nil }
      for index in 0..<piece {
        let raw = UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
        result.append(L1Entry(raw: raw).table)
      }
      at += UInt64(piece)
    }
    return result
  }
}
