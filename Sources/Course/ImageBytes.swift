// The tables of an image as its bytes have them, without opening it: damaged images have facts as well.

import Qcow
import QcowFormat
import Storage

/// Looks at the tables of a file, whatever state they are in. Entries that cannot be reached are 0.
struct ImageBytes {
  let storage: any Storage
  let header: Header
  var geometry: Geometry { header.geometry }

  /// Nil for a file whose header is none of an image.
  init?(_ storage: any Storage) {
    self.storage = storage
    guard let bytes = try? storage.bytes(at: 0, count: 4096), let header = try? Header(parsing: bytes) else {
      return nil
    }
    self.header = header
  }

  /// Bytes of the file; behind its end it reads as zeroes.
  func bytes(_ offset: UInt64, _ count: Int) -> [UInt8] {
    guard count > 0, offset < storage.length else { return [UInt8](repeating: 0, count: max(0, count)) }
    let there = Int(min(UInt64(count), storage.length - offset))
    let read = (try? storage.bytes(at: offset, count: there)) ?? [UInt8](repeating: 0, count: there)
    return read + [UInt8](repeating: 0, count: count - there)
  }

  func word(_ offset: UInt64) -> UInt64 { bytes(offset, 8).reduce(0) { $0 << 8 | UInt64($1) } }

  /// The L1 table of the disk, or of a snapshot.
  struct L1 {
    var offset: UInt64
    var count: UInt64
  }

  var active: L1 { L1(offset: header.l1TableOffset, count: UInt64(header.l1Size)) }

  func l1Entry(_ index: UInt64, _ l1: L1) -> L1Entry {
    index < l1.count ? L1Entry(raw: word(l1.offset &+ index &* 8)) : L1Entry(raw: 0)
  }

  /// Where the L2 entry of a cluster lies; nil without a table.
  func entryOffset(_ cluster: GuestCluster, _ l1: L1) -> UInt64? {
    guard let table = l1Entry(geometry.l1Index(of: cluster), l1).table else { return nil }
    return table.value &+ UInt64(geometry.l2EntryOffset(geometry.l2Index(of: geometry.start(of: cluster))))
  }

  func entry(_ cluster: GuestCluster, _ l1: L1) -> L2Entry {
    guard let offset = entryOffset(cluster, l1) else { return .empty }
    return L2Entry(
      descriptor: word(offset),
      bitmap: SubclusterBitmap(raw: geometry.hasExtendedL2 ? word(offset &+ 8) : 0))
  }

  /// Where the refcount of a cluster lies; nil without a block.
  func refcountOffset(_ cluster: HostCluster) -> UInt64? {
    let index = UInt64(geometry.refcountTableIndex(of: cluster))
    guard index < UInt64(header.refcountTableClusters) &* geometry.tableEntriesPerCluster,
      let block = RefcountTableEntry(raw: word(header.refcountTableOffset &+ index &* 8)).block
    else { return nil }
    return block.value &+ UInt64(geometry.refcountBytes(geometry.refcountBlockIndex(of: cluster)))
  }

  func refcount(_ cluster: HostCluster) -> UInt64 {
    let index = UInt64(geometry.refcountTableIndex(of: cluster))
    guard index < UInt64(header.refcountTableClusters) &* geometry.tableEntriesPerCluster,
      let block = RefcountTableEntry(raw: word(header.refcountTableOffset &+ index &* 8)).block
    else { return 0 }
    let bytes = bytes(block.value, Int(geometry.clusterSize))
    let codec = RefcountCodec(order: geometry.refcountOrder)
    return unsafe bytes.withUnsafeBytes {
      unsafe codec.value(in: $0, at: geometry.refcountBlockIndex(of: cluster))
    }
  }

  /// The snapshots as far as the table can be read.
  var snapshots: [SnapshotEntry] {
    var result: [SnapshotEntry] = []
    var offset = header.snapshotsOffset
    for index in 0..<min(Int(header.snapshotCount), 64) {
      let fixed = bytes(offset, SnapshotEntry.fixedSize)
      let size = SnapshotEntry.size(fixed: fixed)
      guard size > 0, size < 1 << 18,
        let entry = try? SnapshotEntry(parsing: bytes(offset, size), index: index)
      else { break }
      result.append(entry)
      offset = (offset &+ UInt64(entry.entrySize) &+ 7) & ~7
    }
    return result
  }

  /// What a cluster is, or one of its subclusters: the words that lessons use.
  func kind(_ entry: L2Entry, subcluster: Int? = nil) -> String {
    guard !entry.isCompressed else { return "compressed" }
    let hasHost =
      entry.offsetBits != 0
      || header.incompatible.contains(.externalDataFile) && entry.isCopied
    guard geometry.hasExtendedL2 else {
      if entry.descriptor & L2Entry.zeroFlag != 0 {
        return entry.offsetBits != 0 ? "zero-alloc" : "zero-plain"
      }
      return hasHost ? "normal" : "unallocated"
    }
    func one(_ index: Int) -> String {
      let zero = entry.bitmap.zero >> UInt32(index) & 1 != 0
      if entry.bitmap.isAllocated(index) { return zero || !hasHost ? "invalid" : "normal" }
      if zero { return hasHost ? "zero-alloc" : "zero-plain" }
      return hasHost ? "unallocated-alloc" : "unallocated"
    }
    if let subcluster { return one(min(31, max(0, subcluster))) }
    let kinds = Set((0..<32).map(one))
    return kinds.count == 1 ? kinds.first ?? "" : "mixed"
  }
}
