// From a guest offset to its entry: the L1 entry, the slice of the L2 table that the cache holds, the entry in
// it, and the way to change it.

import QcowFormat
import Storage

/// The cached part of an L2 table that holds one entry.
@safe struct L2Slice {
  /// Host offset of the slice.
  var offset: HostOffset
  /// Host offset of the table it is part of.
  var table: HostOffset
  var memory: UnsafeMutableRawPointer
  /// The entry's index in the slice.
  var index: Int
}

/// The L2 tables of the active disk, and of snapshots where somebody walks those.
final class L2Tables {
  let tables: TableWriter
  private(set) var cache: TableCache
  /// Guest data lies in a file of its own, at its guest offset.
  let hasExternalData: Bool

  init(_ tables: TableWriter, _ cache: TableCache, hasExternalData: Bool) {
    self.tables = tables
    self.cache = cache
    self.hasExternalData = hasExternalData
  }

  /// Goes on with an empty cache; what the old one holds is lost.
  func replaceCache(by cache: TableCache) {
    self.cache.isReplaced = true
    self.cache = cache
  }

  @inline(__always)
  var geometry: Geometry { tables.geometry }

  /// Entries of a slice, which is a whole table or a part of one.
  var sliceEntries: Int { geometry.l2Entries(in: cache.tableSize) }

  // MARK: Reading

  /// Host offset of the L2 table of an L1 entry; nil if there is none. Throws ``ImageError/Code/corrupt`` if it
  /// is not aligned.
  func table(l1Index: Int) throws(ImageError) -> HostOffset? {
    guard tables.l1.indices.contains(l1Index) else { return nil }
    let offset = tables.l1[l1Index] & L1Entry.offsetMask
    guard offset != 0 else { return nil }
    guard geometry.isAligned(offset) else { throw Self.unaligned(HostOffset(offset), l1Index) }
    return HostOffset(offset)
  }

  static func unaligned(_ table: HostOffset, _ l1Index: Int) -> ImageError {
    ImageError(
      .corrupt, "L2 table offset \(hex(table.value)) unaligned (L1 index: \(hex(UInt64(l1Index))))",
      at: .l1Table, index: UInt64(l1Index))
  }

  /// The slice for reading; nil without an L2 table. Throws as ``slice(of:at:)``.
  func slice(at guest: GuestOffset) throws(ImageError) -> L2Slice? {
    guard let table = try table(l1Index: geometry.l1Index(of: guest)) else { return nil }
    return try slice(of: table, at: guest)
  }

  /// The slice of a table that holds the entry of a guest offset. Throws what the host says, also when the
  /// cache has to write another table back first.
  func slice(of table: HostOffset, at guest: GuestOffset) throws(ImageError) -> L2Slice {
    let l2Index = geometry.l2Index(of: guest)
    let first = l2Index & ~(sliceEntries - 1)
    let offset = table + ByteCount(geometry.l2EntryOffset(first))
    return unsafe L2Slice(
      offset: offset, table: table, memory: try cache.table(at: offset), index: l2Index - first)
  }

  @inline(__always)
  func entry(_ memory: UnsafeMutableRawPointer, _ index: Int) -> L2Entry {
    let at = geometry.l2EntryOffset(index)
    if geometry.hasExtendedL2 {
      return unsafe L2Entry(
        descriptor: UInt64(bigEndian: memory.load(fromByteOffset: at, as: UInt64.self)),
        bitmap: SubclusterBitmap(raw: UInt64(bigEndian: memory.load(fromByteOffset: at + 8, as: UInt64.self)))
      )
    }
    return unsafe L2Entry(descriptor: UInt64(bigEndian: memory.load(fromByteOffset: at, as: UInt64.self)))
  }

  /// An entry of a slice.
  @inline(__always)
  func entry(_ slice: L2Slice, _ index: Int) -> L2Entry { unsafe entry(slice.memory, index) }

  /// The entry that maps the cluster at `guest`; empty without an L2 table. Throws as ``slice(of:at:)``.
  func entry(at guest: GuestOffset) throws(ImageError) -> L2Entry {
    guard let slice = try slice(at: guest) else { return .empty }
    return entry(slice, slice.index)
  }

  /// The L2 table of an L1 entry as it is now, a cluster of bytes; nil if there is none. Throws as
  /// ``slice(of:at:)``.
  func bytes(l1Index: Int) throws(ImageError) -> [UInt8]? {
    guard let table = try table(l1Index: l1Index) else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Int(geometry.clusterSize))
    for part in parts(of: table) {
      let memory = unsafe try cache.table(at: part)
      unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(start: memory, count: cache.tableSize))
    }
    return bytes
  }

  /// Where the slices of a table begin.
  private func parts(of table: HostOffset) -> some Sequence<HostOffset> {
    stride(from: 0, to: Int(geometry.clusterSize), by: cache.tableSize).lazy.map { table + ByteCount($0) }
  }

  // MARK: Changing

  /// Changes an entry in memory, tells the event stream, and marks the slice for write-back. `guest` is the
  /// cluster that the entry maps.
  func setEntry(
    _ slice: L2Slice, _ index: Int, _ new: L2Entry, of guest: GuestCluster, _ reason: Reason,
    in structure: Structure = .l2Table
  ) {
    let old = entry(slice, index)
    let at = geometry.l2EntryOffset(index)
    unsafe slice.memory.storeBytes(of: new.descriptor.bigEndian, toByteOffset: at, as: UInt64.self)
    if geometry.hasExtendedL2 {
      unsafe slice.memory.storeBytes(of: new.bitmap.raw.bigEndian, toByteOffset: at + 8, as: UInt64.self)
    }
    cache.markDirty(slice.offset)
    tables.note(
      WriteTag(
        structure, reason, table: slice.table.value, index: guest.value,
        before: (old.descriptor, old.bitmap.raw), after: (new.descriptor, new.bitmap.raw)))
  }

  /// Writes a new L2 table, empty or with the entries of another one, and waits for the disk. Nothing may name
  /// it yet. Throws ``ImageError/Code/overlap`` and what the host says.
  func fill(_ table: HostOffset, copyOf old: HostOffset?) throws(ImageError) {
    for part in parts(of: table) {
      if let old {
        tables.reach(.l2AllocCowRead)
        let source = unsafe try cache.table(at: old + ByteCount(part - table))
        let copy = unsafe [UInt8](UnsafeRawBufferPointer(start: source, count: cache.tableSize))
        let target = unsafe try cache.emptyTable(at: part)
        unsafe target.copyMemory(from: copy, byteCount: copy.count)
      } else {
        _ = unsafe try cache.emptyTable(at: part)
      }
      cache.markDirty(part)
    }
    tables.reach(.l2AllocWrite)
    try cache.flush()
  }

  /// A freed table that was changed in memory must never reach the disk.
  @inline(__always)
  func drop(_ table: HostOffset) { cache.drop(table) }

  // MARK: Walking

  /// Calls `body` with every guest cluster from `next` up to `limit` whose descriptor is not zero, until
  /// it returns false; `next` is then behind that cluster. False if the walk came to its end.
  ///
  /// `body` must not touch L2 tables. Throws what it throws, and as ``slice(of:at:)``.
  func walkDescriptors(
    _ next: inout GuestCluster, upTo limit: GuestCluster = GuestCluster(.max),
    _ body: (_ guest: GuestCluster, _ entry: L2Entry) throws(ImageError) -> Bool
  ) throws(ImageError) -> Bool {
    while true {
      let l1Index = geometry.l1Index(of: next)
      guard l1Index < UInt64(tables.l1.count), next < limit else { return false }
      guard let table = try table(l1Index: Int(l1Index)) else {
        next = geometry.firstCluster(ofTable: l1Index + 1)
        continue
      }
      let slice = try slice(of: table, at: geometry.start(of: next))
      let end = sliceEntries
      var index = slice.index
      while index < end {
        // Most entries of a sparse disk are empty.
        let empty = unsafe emptyEntries(slice.memory, from: index)
        index += empty
        next.value += UInt64(empty)
        guard index < end else { break }
        guard next < limit else { return false }
        let entry = entry(slice, index)
        let guest = next
        index += 1
        next.value += 1
        if try !body(guest, entry) { return true }
      }
    }
  }

  /// How many descriptors in a row are zero.
  private func emptyEntries(_ memory: UnsafeMutableRawPointer, from index: Int) -> Int {
    let step = geometry.l2EntrySize
    let end = cache.tableSize
    var at = geometry.l2EntryOffset(index)
    while at < end, unsafe memory.load(fromByteOffset: at, as: UInt64.self) == 0 { at += step }
    return geometry.l2Entries(in: at) - index
  }
}
