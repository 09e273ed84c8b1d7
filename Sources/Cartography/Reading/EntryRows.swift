// L2 entries as rows: clusters that follow each other on the disk and in the file at once. What looks at
// the order of clusters walks the tables here, once for all entries or for a part of the disk.

import QcowFormat
import Qcow
import Storage

/// Clusters in a row on both sides, or one compressed cluster.
struct EntryRow: Equatable {
  enum Kind: Equatable {
    case data
    /// Has host clusters and reads as zeroes, so that nobody reads them.
    case reserved
    case compressed
  }

  /// The first guest cluster.
  var guest: UInt64
  /// Clusters; 1 if compressed.
  var count: UInt64
  /// Bytes from the start of the file, of the stream if compressed.
  var host: UInt64
  /// Bytes, exclusive; of a compressed stream the end of its last sector.
  var end: UInt64
  var kind: Kind
}

/// Decodes pieces of L2 tables into rows.
struct EntryRowDecoder {
  let geometry: Geometry

  /// Calls `body` for the rows of `bytes`, whose first entry maps guest cluster `first`, and counts
  /// them as `qemu-img check` does.
  @inline(__always)
  func rows(
    _ bytes: UnsafeRawBufferPointer, first: UInt64, tally: inout AllocationTally, _ body: (EntryRow) -> Void
  ) {
    let step = geometry.hasExtendedL2 ? 2 : 1
    let isExtended = geometry.hasExtendedL2
    let words = bytes.count >> 3
    let size = geometry.clusterSize
    let copied = L2Entry.copiedFlag
    // Bits that no plain entry has.
    let special = ~(copied | L2Entry.offsetMask & ~geometry.clusterMask)
    // Counted by hand: this is too hot for calls into other modules.
    var (allocated, fragmented, following) = (UInt64(0), UInt64(0), tally.following.value)
    var guest = first
    @inline(__always) func word(_ index: Int) -> UInt64 {
      UInt64(bigEndian: unsafe bytes.loadUnaligned(fromByteOffset: index &* 8, as: UInt64.self))
    }
    var index = 0
    while index < words {
      let raw = word(index)
      let bitmap = isExtended ? word(index &+ 1) : 0
      if raw == 0 && bitmap == 0 {
        index &+= step
        guest &+= 1
        continue
      }
      let offset = raw & ~copied
      guard raw & special == 0, offset != 0 else {
        tally.add(
          allocated: ClusterCount(allocated), fragmented: ClusterCount(fragmented),
          next: HostOffset(following))
        other(raw, bitmap, guest, &tally, body)
        (allocated, fragmented, following) = (0, 0, tally.following.value)
        index &+= step
        guest &+= 1
        continue
      }
      let isRead = !isExtended || bitmap & 0xffff_ffff != 0
      var expected = offset &+ size
      var count: UInt64 = 1
      index &+= step
      while index < words {
        // What is not plain is no offset of a cluster.
        guard word(index) & ~copied == expected, expected & special == 0 else { break }
        if isExtended, (word(index &+ 1) & 0xffff_ffff != 0) != isRead { break }
        expected &+= size
        count &+= 1
        index &+= step
      }
      allocated &+= count
      if following != 0 && offset != following { fragmented &+= 1 }
      following = expected
      body(
        EntryRow(guest: guest, count: count, host: offset, end: expected, kind: isRead ? .data : .reserved))
      guest &+= count
    }
    tally.add(
      allocated: ClusterCount(allocated), fragmented: ClusterCount(fragmented), next: HostOffset(following))
  }

  /// An entry that is not plain.
  private func other(
    _ raw: UInt64, _ bitmap: UInt64, _ guest: UInt64, _ tally: inout AllocationTally,
    _ body: (EntryRow) -> Void
  ) {
    let size = geometry.clusterSize
    if raw & L2Entry.compressedFlag != 0 {
      // Neither exists, and the check does not count them.
      guard !geometry.hasExternalData, bitmap == 0 else { return }
      let extent = geometry.compressedExtent(of: raw & ~L2Entry.copiedFlag)
      tally.addCompressed()
      body(
        EntryRow(
          guest: guest, count: 1, host: extent.offset.value, end: extent.offset.value &+ extent.byteCount,
          kind: .compressed))
      return
    }
    let offset = raw & L2Entry.offsetMask
    let isZero = raw & L2Entry.zeroFlag != 0 && !geometry.hasExtendedL2
    guard offset != 0 || geometry.hasExternalData && !isZero && raw & L2Entry.copiedFlag != 0 else { return }
    tally.addRow(at: HostOffset(offset), count: 1, end: HostOffset(offset &+ size))
    guard geometry.isAligned(offset) else { return }
    let isRead = geometry.hasExtendedL2 ? bitmap & 0xffff_ffff != 0 : !isZero
    body(
      EntryRow(guest: guest, count: 1, host: offset, end: offset &+ size, kind: isRead ? .data : .reserved))
  }
}

/// A walk over the active L2 tables, or those of a part of the disk, in strides.
struct EntryWalk {
  /// Bytes of L2 tables that a walk reads at most.
  static let maximumBytes: UInt64 = 16 << 30

  private let image: Image
  private let tables: TableReader
  private let decoder: EntryRowDecoder
  private let clusters: Range<UInt64>
  private(set) var position: UInt64
  private(set) var tally = AllocationTally()
  /// Tables that could not be read, or lie where no table can.
  private(set) var unreadable = 0
  private(set) var isCutOff = false

  /// Guest clusters `clusters`, or all that the L1 table maps, which may be more than the disk has.
  init(_ image: Image, _ clusters: Range<UInt64>? = nil) {
    self.image = image
    tables = TableReader(of: image)
    decoder = EntryRowDecoder(geometry: image.geometry)
    let all = 0..<UInt64(image.l1Count) << UInt64(image.geometry.l2Bits)
    self.clusters = clusters.map { $0.clamped(to: all) } ?? all
    position = self.clusters.lowerBound
  }

  var isDone: Bool { position >= clusters.upperBound || isCutOff }
  var progress: Double {
    isDone ? 1 : Double(position - clusters.lowerBound) / Double(max(1, clusters.count))
  }

  /// Goes on by a piece of a table, or over a stretch without tables.
  @inline(__always)
  mutating func stride(_ body: (EntryRow) -> Void) {
    guard !isDone else { return }
    guard tables.bytesRead < Self.maximumBytes else {
      isCutOff = true
      return
    }
    let geometry = image.geometry
    let perTable = UInt64(geometry.l2EntriesPerTable)
    let size = UInt64(geometry.l2EntrySize)
    guard let table = image.l1Entry(Int(position / perTable)).table else {
      skipEmptyTables(perTable)
      return
    }
    let inTable = position % perTable
    if inTable == 0 { tally.beginTable() }
    let count = min(
      perTable - inTable, clusters.upperBound - position, UInt64(TableReader.pieceSize) / size)
    defer { position += count }
    // Behind the end of the file are zeroes.
    guard table.value < image.storage.length else {
      if inTable == 0 { unreadable += 1 }
      return
    }
    guard let bytes = unsafe tables.bytes(at: table.value + inTable * size, count: Int(count * size)) else {
      unreadable += 1
      return
    }
    if geometry.isAligned(table.value) {
      unsafe decoder.rows(bytes, first: position, tally: &tally, body)
    } else {
      // Counted as the check counts it, but no place that can be read.
      if inTable == 0 { unreadable += 1 }
      unsafe decoder.rows(bytes, first: position, tally: &tally) { _ in }
    }
  }

  private mutating func skipEmptyTables(_ perTable: UInt64) {
    var next = (position / perTable + 1) * perTable
    var steps = 0
    while next < clusters.upperBound, steps < 1 << 16, image.l1Entry(Int(next / perTable)).table == nil {
      next += perTable
      steps += 1
    }
    position = min(next, clusters.upperBound)
  }
}
