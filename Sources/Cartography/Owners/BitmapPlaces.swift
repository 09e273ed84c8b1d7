// Where persistent bitmaps lie in the file: the directory, and for every bitmap its table and its bits ("Bitmaps
// extension"). The maps, the owners of a cluster and the names of bytes look here.

package import Qcow
package import QcowFormat
import Storage

/// What a cluster of the bitmaps holds.
package enum BitmapPart: Hashable, Sendable {
  case directory
  /// The table of a bitmap, by the number of its entry in the directory.
  case table(Int)
  /// Bits of a bitmap, by the index of the entry of its table that leads there.
  case bits(Int, entry: Int)
}

/// The bitmaps that the directory of an image names, as far as it can be read.
package struct BitmapPlaces: Sendable {
  /// An entry of the directory and where it begins.
  package struct Place: Sendable {
    package let entry: BitmapDirectoryEntry
    package let offset: HostOffset
  }

  /// Bytes of a directory that are read at most, and entries of all tables together.
  private static let maximumDirectory: UInt64 = 1 << 22
  private static let maximumEntries = 1 << 17

  /// In the order of the directory.
  package private(set) var places: [Place] = []
  /// The bytes of the directory; nil for an image without bitmaps.
  package let directory: Range<HostOffset>?
  private let geometry: Geometry

  /// Reads the directory, 4 MiB of it at most.
  package init(_ image: Image) {
    geometry = image.geometry
    guard let bitmaps = image.extensions.bitmaps, bitmaps.directoryOffset < Geometry.hostOffsetLimit else {
      directory = nil
      return
    }
    let start = HostOffset(bitmaps.directoryOffset)
    let size = min(bitmaps.directorySize, Self.maximumDirectory)
    directory = start..<start + size
    guard let bytes = try? image.storage.bytes(at: start.value, count: Int(size)) else { return }
    var at = 0
    while places.count < Int(bitmaps.count), let entry = BitmapDirectoryEntry(parsing: bytes, at: at) {
      places.append(Place(entry: entry, offset: start + UInt64(at)))
      at += max(BitmapDirectoryEntry.fixedSize, entry.entrySize)
    }
  }

  /// The name of a bitmap as it may be shown, in quotes.
  package func name(_ number: Int) -> String {
    places.indices.contains(number) ? "\"\(Escaping.human(places[number].entry.name))\"" : "\(number)"
  }

  /// Calls `body` for every entry of all tables that leads to a cluster; false if there are more than are read.
  package func forEachCluster(in image: Image, _ body: (_ bitmap: Int, _ entry: Int, HostOffset) -> Void)
    -> Bool
  {
    var budget = Self.maximumEntries
    var isComplete = true
    for (number, place) in places.enumerated() {
      let table = place.entry.tableOffset.value
      let count = table < Geometry.hostOffsetLimit ? min(Int(place.entry.tableSize), budget) : 0
      budget -= count
      isComplete = isComplete && count == Int(place.entry.tableSize)
      guard count > 0, let bytes = try? image.storage.bytes(at: table, count: count * 8) else { continue }
      for entry in 0..<count {
        if let cluster = BitmapTableEntry(BigEndian.u64(bytes, entry * 8)).cluster {
          body(number, entry, cluster)
        }
      }
    }
    return isComplete
  }

  /// What a host cluster of the bitmaps is; nil if none of them leads there. `bits` are ``bits(in:)``.
  func part(at cluster: HostCluster, bits: [HostCluster: BitmapPart]) -> BitmapPart? {
    let range = geometry.start(of: cluster)..<geometry.start(of: cluster) + geometry.clusterSize
    if let directory, directory.overlaps(range) { return .directory }
    for (number, place) in places.enumerated() {
      let table = place.entry.tableOffset
      let end = table.value.addingReportingOverflow(UInt64(place.entry.tableSize) * 8)
      if !end.overflow, (table..<HostOffset(end.partialValue)).overlaps(range) { return .table(number) }
    }
    return bits[cluster]
  }

  /// Where the bits of all bitmaps lie.
  func bits(in image: Image) -> [HostCluster: BitmapPart] {
    var bits: [HostCluster: BitmapPart] = [:]
    _ = forEachCluster(in: image) { number, entry, place in
      bits[geometry.cluster(of: place)] = .bits(number, entry: entry)
    }
    return bits
  }

  /// The guest bytes that an entry of a bitmap's table tells of; nil where they lie behind the disk.
  package func guest(_ number: Int, entry: Int) -> Range<GuestOffset>? {
    guard places.indices.contains(number), places[number].entry.granularityBits <= 31 else { return nil }
    // A cluster has at most 2^21 bytes: 2^24 bits of at most 2^31 bytes.
    let each = geometry.clusterSize * 8 * places[number].entry.granularity
    let (start, overflow) = UInt64(max(0, entry)).multipliedReportingOverflow(by: each)
    guard !overflow, start < geometry.virtualSize else { return nil }
    return GuestOffset(start)..<GuestOffset(min(geometry.virtualSize, start &+ each))
  }
}
