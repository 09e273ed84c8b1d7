// Which L2 tables the internal snapshots refer to, and how often: what their L1 tables say, read a piece at a
// time and within bounds, from the present state of an image or from one before it.

import QcowFormat
import Qcow
import Storage

/// The uses of L2 tables by the snapshots of an image.
struct SnapshotTableUses {
  /// More tables than this are not followed.
  private static let maximum = 1 << 16
  /// Bytes of L1 tables of snapshots that are read at most.
  private static let maximumBytes: UInt64 = 1 << 28

  /// How snapshots use a table.
  struct Use {
    var times: UInt64
    /// The table maps saved machine state.
    var isMachineState: Bool
  }

  private let snapshots: [SnapshotEntry]
  private let geometry: Geometry
  private let fileLength: UInt64
  private let reader: TableReader
  /// By host offset, except for those that were claimed.
  private(set) var uses: [UInt64: Use] = [:]
  /// Why there are more than are counted; nil if all are.
  private(set) var partialReason: String?
  /// Where reading goes on.
  private var snapshot = 0
  private var entry: UInt64 = 0
  private var bytesRead: UInt64 = 0

  /// ``step()`` reads them through `reader`.
  init(_ image: Image, _ reader: TableReader) {
    self.init(
      image.snapshots, image.geometry, fileLength: image.storage.length, reader)
  }

  /// The same for any moment of an image.
  init(_ snapshots: [SnapshotEntry], _ geometry: Geometry, fileLength: UInt64, _ reader: TableReader) {
    self.snapshots = snapshots
    self.geometry = geometry
    self.fileLength = fileLength
    self.reader = reader
  }

  /// Nothing was read yet.
  var isAtStart: Bool { snapshot == 0 && entry == 0 }

  /// Reads a piece; false when nothing is left.
  mutating func step() -> Bool {
    guard snapshot < snapshots.count else { return false }
    let now = snapshots[snapshot]
    let count = min(UInt64(now.l1Size) - min(UInt64(now.l1Size), entry), UInt64(TableReader.pieceSize / 8))
    guard count > 0, geometry.isAligned(now.l1TableOffset), bytesRead < Self.maximumBytes else {
      if bytesRead >= Self.maximumBytes {
        markPartial("the L1 tables of the snapshots are too long to read them all")
      }
      snapshot += 1
      entry = 0
      return true
    }
    let disk = geometry.l1Entries(for: now.diskSize ?? geometry.virtualSize)
    if let bytes = unsafe reader.bytes(at: now.l1TableOffset &+ entry * 8, count: Int(count) * 8) {
      for index in 0..<Int(count) {
        let raw = UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
        let offset = raw & L1Entry.offsetMask
        guard offset != 0, geometry.isAligned(offset), offset < fileLength else { continue }
        add(offset, isMachineState: entry + UInt64(index) >= disk)
      }
    }
    entry += count
    bytesRead += count * 8
    return true
  }

  private mutating func add(_ offset: UInt64, isMachineState: Bool) {
    if let old = uses[offset] {
      uses[offset] = Use(times: old.times + 1, isMachineState: old.isMachineState && isMachineState)
    } else if uses.count < Self.maximum {
      uses[offset] = Use(times: 1, isMachineState: isMachineState)
    } else {
      markPartial("the snapshots have more L2 tables than are followed")
    }
  }

  private mutating func markPartial(_ reason: String) {
    if partialReason == nil { partialReason = reason }
  }

  /// The active disk has the table too.
  ///
  /// - Returns: how often snapshots use it.
  mutating func claim(_ table: HostOffset) -> UInt64 { uses.removeValue(forKey: table.value)?.times ?? 0 }

  /// The tables that nobody claimed, in the order of their places.
  var tables: [SnapshotTable] {
    uses.map {
      SnapshotTable(
        offset: HostOffset($0.key), times: $0.value.times, isMachineState: $0.value.isMachineState)
    }.sorted { $0.offset < $1.offset }
  }
}
