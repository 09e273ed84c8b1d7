// What a check of QEMU does not notice: clusters with several owners whose refcount agrees, refcounts
// behind the end of the file, flags and fields that QEMU tolerates. They are notes and never findings, so
// that counts and exit codes stay comparable.

package import QcowFormat

/// Clusters with an owner too many.
struct OverlapNotes {
  /// Clusters that are named at most.
  static let maximum = 64
  private(set) var clusters: Set<UInt64> = []
  private(set) var isComplete = true

  mutating func add(_ cluster: UInt64) {
    if clusters.count < Self.maximum {
      clusters.insert(cluster)
    } else if !clusters.contains(cluster) {
      isComplete = false
    }
  }
}

/// Entries of the active disk that mean nothing or something else than they should.
struct OddEntries {
  /// How many, and where the first one maps.
  struct Tally {
    var count: UInt64 = 0
    var first: UInt64 = 0
    mutating func add(_ guest: UInt64, _ entries: UInt64 = 1) {
      if count == 0 { first = guest }
      count += entries
    }
  }
  /// Bit 0 of the descriptor is set where it has no meaning.
  var flags = Tally()
  /// The offset in the external data file is not that of the guest.
  var dataFile = Tally()

  /// Looks at entries in a row that map clusters in a row.
  mutating func checkDataFile(_ host: UInt64, _ guest: UInt64, _ entries: UInt64) {
    if host != guest { dataFile.add(guest, entries) }
  }
}

/// Something that is not as it should be and that no finding tells.
package enum CheckNote: Equatable, Sendable {
  /// A cluster has several owners and one of them at least must not share.
  case overlap(HostCluster, owners: [CheckOwner])
  /// There are more of them than are named.
  case moreOverlaps
  /// Clusters in a row behind the end of the file have refcounts above 0.
  case refcountsBehindEnd(Range<UInt64>)
  case dirty
  case corrupt
  case bitmapsBitWithoutExtension
  case unknownAutoclearBits(UInt64)
  case headerLengthUnaligned(UInt32)
  /// Entries of version 2 with a zero flag, which has no meaning there; the first one maps `guest`.
  case zeroFlagInVersion2(guest: UInt64, count: UInt64)
  /// Extended entries with the reserved bit 0 set.
  case reservedBitInExtendedEntry(guest: UInt64, count: UInt64)
  /// Entries whose offset in the external data file is not that of the guest.
  case dataFileOffset(guest: UInt64, count: UInt64)
  case bitmapInUse(String)
  /// Clusters without an owner hold data.
  case leakedData(LeakedData)
  /// The file ends before clusters that were there once.
  case cutShort(CutShort)
  /// What a repair would do about what was found.
  case repair(RepairForecast)
}

extension ImageCheck {
  /// Rows of refcounts behind the end that are told at most.
  private static let maximumRows = 16

  /// Tells the notes; after ``run()``.
  package func notes(_ report: (CheckNote) -> Void) {
    if header.incompatible.contains(.dirty) { report(.dirty) }
    if header.incompatible.contains(.corrupt) { report(.corrupt) }
    if header.headerLength % 8 != 0 { report(.headerLengthUnaligned(header.headerLength)) }
    if header.autoclear.contains(.bitmaps) && opened.extensions.bitmaps == nil {
      report(.bitmapsBitWithoutExtension)
    }
    let unknown = header.autoclear.subtracting(.known).rawValue
    if unknown != 0 { report(.unknownAutoclearBits(unknown)) }
    for bitmap in bitmaps where bitmap.isInUse { report(.bitmapInUse(bitmap.name)) }
    guard result.failure == nil else { return }
    noteEntries(report)
    // What stopped neither phase can only be a limit of this program here; what is known is told.
    let clusters = overlaps.clusters.sorted()
    try? findOwners(of: clusters)
    for cluster in clusters { report(.overlap(HostCluster(cluster), owners: found[cluster] ?? [])) }
    if !overlaps.isComplete { report(.moreOverlaps) }
    noteRefcountsBehindEnd(report)
    noteDamage(report)
  }

  private func noteEntries(_ report: (CheckNote) -> Void) {
    if odd.flags.count > 0 {
      report(
        header.version < 3
          ? .zeroFlagInVersion2(guest: odd.flags.first, count: odd.flags.count)
          : .reservedBitInExtendedEntry(guest: odd.flags.first, count: odd.flags.count))
    }
    if odd.dataFile.count > 0 {
      report(.dataFileOffset(guest: odd.dataFile.first, count: odd.dataFile.count))
    }
  }

  private func noteRefcountsBehindEnd(_ report: (CheckNote) -> Void) {
    var row: Range<UInt64>?
    var rows = 0
    func add(_ cluster: UInt64) {
      if let last = row, last.upperBound == cluster { return row = last.lowerBound..<cluster + 1 }
      end()
      row = cluster..<cluster + 1
    }
    func end() {
      guard let last = row else { return }
      report(.refcountsBehindEnd(last))
      rows += 1
      row = nil
    }
    var at = countedClusters
    while geometry.refcountTableIndex(of: HostCluster(at)) < UInt64(refcounts.table.count),
      rows < Self.maximumRows
    {
      let stop = min(geometry.endOfBlock(at), at & ~4095 + 4096)
      // An unusable block has been told.
      if let bytes = unsafe try? refcounts.bytes(of: at & ~63..<stop) {
        let skipped = Int(at & 63)
        for index in skipped..<Int(stop - at & ~63)
        where unsafe refcounts.codec.value(in: bytes, at: index) != 0 {
          add(at & ~63 + UInt64(index))
        }
        at = stop
      } else {
        at = geometry.endOfBlock(at)
      }
    }
    end()
  }
}
