// What a check of QEMU does not notice: clusters with several owners whose refcount agrees, refcounts
// behind the end of the file, flags and fields that QEMU tolerates. They are notes and never findings, so
// that counts and exit codes stay comparable.

package import QcowFormat

/// Clusters with an owner too many.
struct OverlapNotes {
  /// Clusters that are named at most.
  static let maximum = 64
  private(set) var clusters: Set<HostCluster> = []
  private(set) var isComplete = true

  mutating func add(_ cluster: HostCluster) {
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
    private(set) var count: UInt64 = 0
    private(set) var first = GuestOffset(0)

    mutating func add(_ guest: GuestOffset, _ entries: ClusterCount = 1) {
      if count == 0 { first = guest }
      count += entries.value
    }
    static func += (a: inout Self, b: Self) {
      if b.count > 0 { a.add(b.first, ClusterCount(b.count)) }
    }
  }
  /// Bit 0 of the descriptor is set where it has no meaning.
  var flags = Tally()
  /// The offset in the external data file is not that of the guest.
  private var dataFile = Tally()

  /// Looks at entries in a row that map clusters in a row.
  mutating func checkDataFile(_ host: HostOffset, _ guest: GuestOffset, _ entries: ClusterCount) {
    if host.value != guest.value { dataFile.add(guest, entries) }
  }

  /// Adds those that come behind.
  static func += (a: inout Self, b: Self) {
    a.flags += b.flags
    a.dataFile += b.dataFile
  }

  /// What is to be said of them in an image of this version.
  func notes(version: UInt32) -> [CheckNote] {
    var notes: [CheckNote] = []
    if flags.count > 0 {
      notes.append(
        version < 3
          ? .zeroFlagInVersion2(guest: flags.first, count: flags.count)
          : .reservedBitInExtendedEntry(guest: flags.first, count: flags.count))
    }
    if dataFile.count > 0 { notes.append(.dataFileOffset(guest: dataFile.first, count: dataFile.count)) }
    return notes
  }
}

/// Something that is not as it should be and that no finding tells.
package enum CheckNote: Equatable, Sendable {
  /// A cluster has several owners and one of them at least must not share.
  case overlap(HostCluster, owners: [CheckOwner])
  /// There are more of them than are named.
  case moreOverlaps
  /// Clusters in a row behind the end of the file have refcounts above 0.
  case refcountsBehindEnd(Range<HostCluster>)
  case dirty
  case corrupt
  case bitmapsBitWithoutExtension
  case unknownAutoclearBits(UInt64)
  case headerLengthUnaligned(UInt32)
  /// Entries of version 2 with a zero flag, which has no meaning there; the first one maps `guest`.
  case zeroFlagInVersion2(guest: GuestOffset, count: UInt64)
  /// Extended entries with the reserved bit 0 set.
  case reservedBitInExtendedEntry(guest: GuestOffset, count: UInt64)
  /// Entries whose offset in the external data file is not that of the guest.
  case dataFileOffset(guest: GuestOffset, count: UInt64)
  case bitmapInUse(String)
  /// Clusters without an owner hold data.
  case leakedData(LeakedData)
  /// The file ends before clusters that were there once.
  case cutShort(CutShort)
  /// What a repair would do about what was found.
  case repair(RepairForecast)
}

extension CheckedImage {
  /// What is to be said of the header and of these bitmaps.
  func notes(_ bitmaps: [BitmapDirectoryEntry]) -> [CheckNote] {
    var notes: [CheckNote] = []
    let header = header
    if header.incompatible.contains(.dirty) { notes.append(.dirty) }
    if header.incompatible.contains(.corrupt) { notes.append(.corrupt) }
    if header.headerLength % 8 != 0 { notes.append(.headerLengthUnaligned(header.headerLength)) }
    if header.autoclear.contains(.bitmaps) && opened.extensions.bitmaps == nil {
      notes.append(.bitmapsBitWithoutExtension)
    }
    let unknown = header.autoclear.subtracting(.known).rawValue
    if unknown != 0 { notes.append(.unknownAutoclearBits(unknown)) }
    for bitmap in bitmaps where bitmap.isInUse { notes.append(.bitmapInUse(bitmap.name)) }
    return notes
  }
}
