// What an image holds, counted before anything moves. The lists are all the memory that grows with the
// image: 4 bytes for each standard data cluster (8 if guest clusters need more than 32 bits; none with a
// shift), and 4 bytes for each compressed cluster, 20 while they are counted.

import QcowFormat
import Storage

/// Guest clusters in rising order.
struct GuestList {
  private var narrow: [UInt32] = []
  private var wide: [UInt64] = []
  private let isWide: Bool

  init(wide: Bool) { isWide = wide }

  var count: ClusterCount { ClusterCount(isWide ? wide.count : narrow.count) }

  mutating func append(_ guest: GuestCluster) {
    if isWide { wide.append(guest.value) } else { narrow.append(UInt32(truncatingIfNeeded: guest.value)) }
  }

  /// The cluster with so many in front of it; nil if there are not that many.
  subscript(rank: ClusterCount) -> GuestCluster? {
    guard rank < count else { return nil }
    let index = Int(rank.value)
    return GuestCluster(isWide ? wide[index] : UInt64(narrow[index]))
  }
}

/// Counts of one image.
struct Inventory {
  /// Standard clusters that are mapped, and the first and last of them.
  var dataClusters: ClusterCount = 0
  var firstGuest = GuestCluster(0)
  var lastGuest = GuestCluster(0)
  /// By rank; empty if the layout has no use for it.
  var guests: GuestList
  /// Bytes of the streams in guest order.
  var streamLengths: [UInt32] = []
  var l2Tables: ClusterCount = 0
  /// What is mapped, whatever lies where.
  var mapping: RelocationExtension

  /// Throws if a stream cannot be read: its length is then unknown, and moving a part of it would lose
  /// the rest. `packed`: the layout needs to know which guest cluster has a rank.
  init(_ image: Image, packed: Bool) throws(ImageError) {
    let streams = StreamReader(image.tables)
    let tables = image.tables.l1.lazy.filter { $0 & L1Entry.offsetMask != 0 }
    l2Tables = ClusterCount(tables.count)
    let last = image.geometry.firstCluster(ofTable: UInt64(image.tables.l1.count)).value
    guests = GuestList(wide: last > UInt64(UInt32.max))
    var list = guests
    var lengths: [UInt32] = []
    var starts: [(start: HostOffset, length: UInt32)] = []
    var mapping = RelocationExtension(l2Tables: l2Tables.value)
    var (count, first, behind): (ClusterCount, GuestCluster, GuestCluster) = (0, firstGuest, lastGuest)
    try image.l2.walkEntries { (guest, entry) throws(ImageError) in
      switch entry {
      case .data:
        mapping.add(guest.value, isStream: false)
        if count == 0 { first = guest }
        behind = guest
        count += 1
        if packed { list.append(guest) }
      case .stream(let descriptor):
        let extent = image.geometry.compressedExtent(of: descriptor)
        mapping.add(guest.value, isStream: true)
        guard let length = try streams.length(of: extent) else {
          throw ImageError(
            .corrupt,
            "the compressed cluster of guest offset \(hex(image.geometry.start(of: guest).value)) at host "
              + "offset \(hex(extent.offset.value)) cannot be read; moving it could lose what is left of it",
            at: .compressedData, extent.offset)
        }
        lengths.append(UInt32(clamping: length.bytes))
        starts.append((extent.offset, length.isExact ? UInt32(clamping: length.bytes) : 1))
      }
    }
    try Self.checkApart(&starts)
    self.mapping = mapping
    (guests, streamLengths) = (list, lengths)
    (dataClusters, firstGuest, lastGuest) = (count, first, behind)
  }

  /// Streams that overlap say that an entry points to the wrong one; the right one then has no owner.
  private static func checkApart(_ streams: inout [(start: HostOffset, length: UInt32)]) throws(ImageError) {
    streams.sort { $0.start < $1.start }
    for (a, b) in zip(streams, streams.dropFirst()) where a.start + UInt64(a.length) > b.start {
      throw ImageError(
        .corrupt, "two entries point into the compressed data at host offset \(hex(b.start.value))",
        at: .compressedData, b.start)
    }
  }
}

/// Hands out places for streams, packed: each begins where the last one ended.
///
/// Whoever gives the same lengths from the same start gets the same places, so that a run that goes on
/// after an interruption finds what is in place already.
struct StreamPlaces {
  /// The next byte.
  private var offset: UInt64
  /// Streams in the cluster of the next byte.
  private var users: UInt64 = 0
  private let geometry: Geometry

  init(_ geometry: Geometry, from cluster: HostCluster) {
    self.geometry = geometry
    offset = geometry.start(of: cluster).value
  }

  /// The place of the next stream.
  mutating func next(_ size: ByteCount) -> HostOffset {
    let length = size.value
    // As many references as the refcount of a cluster can count.
    if users >= geometry.maximumRefcount { startCluster() }
    // A descriptor holds so many sectors.
    let sectors = (offset + length - 1) / 512 - offset / 512 + 1
    if sectors > geometry.compressedSectorLimit {
      let aligned = (offset + 511) & ~511
      if geometry.isAligned(aligned) { startCluster() } else { offset = aligned }
    }
    let place = HostOffset(offset)
    let last = place + (length - 1)
    users = geometry.cluster(of: place) == geometry.cluster(of: last) ? users + 1 : 1
    offset += length
    if geometry.isAligned(offset) { users = 0 }
    return place
  }

  /// Behind the last byte handed out.
  var end: HostOffset { HostOffset(offset) }

  /// Behind the last cluster handed out.
  var endCluster: HostCluster { HostCluster(geometry.clustersCovering(offset)) }

  private mutating func startCluster() {
    offset = geometry.roundUp(offset)
    users = 0
  }
}

extension L2Tables {
  /// What the disk maps, whatever lies where. Throws as ``walkEntries(_:)``.
  func mappingNow() throws(ImageError) -> RelocationExtension {
    var mapping = RelocationExtension(
      l2Tables: UInt64(tables.l1.lazy.filter { $0 & L1Entry.offsetMask != 0 }.count))
    try walkEntries { (guest, entry) throws(ImageError) in
      if case .data = entry {
        mapping.add(guest.value, isStream: false)
      } else {
        mapping.add(guest.value, isStream: true)
      }
    }
    return mapping
  }
}
