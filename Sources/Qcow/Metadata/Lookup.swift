// From a guest offset to its entry and its mapping: the L1 table, the slice of the L2 table, and
// runs of entries in the same state.

package import QcowFormat
import Storage

extension Image {
  /// Entries of the active L1 table.
  package var l1Count: Int { l1.count }

  /// An entry of the active L1 table; an empty one outside of it.
  package func l1Entry(_ index: Int) -> L1Entry {
    L1Entry(raw: l1.indices.contains(index) ? l1[index] : 0)
  }

  /// Clusters' worth of entries of the refcount table.
  package var refcountTableCount: Int { refcountTable.count }

  /// An entry of the refcount table; an empty one outside of it.
  package func refcountTableEntry(_ index: Int) -> RefcountTableEntry {
    RefcountTableEntry(raw: refcountTable.indices.contains(index) ? refcountTable[index] : 0)
  }

  /// The entry that maps the cluster at `guest`; empty without an L2 table.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  package func l2Entry(at guest: GuestOffset) throws(ImageError) -> L2Entry {
    guard let slice = try slice(at: guest) else { return .empty }
    return unsafe entry(slice.memory, slice.index)
  }

  /// The L2 table of an L1 entry as it is now, a cluster of bytes; nil if there is none.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  package func l2TableBytes(l1Index: Int) throws(ImageError) -> [UInt8]? {
    guard let table = try tableOffset(l1Index: l1Index) else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Int(geometry.clusterSize))
    let step = UInt64(l2Cache.tableSize)
    var done: UInt64 = 0
    while done < geometry.clusterSize {
      let memory = unsafe try l2Cache.table(at: table + done)
      unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(start: memory, count: l2Cache.tableSize))
      done += step
    }
    return bytes
  }

  /// Host offset of the L2 table of an L1 entry, checked; nil if there is none.
  func tableOffset(l1Index: Int) throws(ImageError) -> UInt64? {
    guard l1.indices.contains(l1Index) else { return nil }
    let offset = l1[l1Index] & L1Entry.offsetMask
    guard offset != 0 else { return nil }
    guard geometry.isAligned(offset) else {
      throw ImageError(
        .corrupt, "L2 table offset \(hex(offset)) unaligned (L1 index: \(hex(UInt64(l1Index))))")
    }
    return offset
  }

  /// Entries of an L2 slice; a slice is a whole table or a part of one.
  var sliceEntries: Int { l2Cache.tableSize >> geometry.l2EntryBits }

  /// The cached part of an L2 table that holds one entry.
  @safe struct Slice {
    /// Host offset of the slice.
    var offset: UInt64
    /// Host offset of the table it is part of.
    var table: UInt64
    var memory: UnsafeMutableRawPointer
    /// The entry's index in the slice.
    var index: Int
  }

  /// The slice for reading; nil without an L2 table.
  func slice(at guest: GuestOffset) throws(ImageError) -> Slice? {
    guard let table = try tableOffset(l1Index: geometry.l1Index(of: guest)) else { return nil }
    return try slice(of: table, at: guest)
  }

  func slice(of table: UInt64, at guest: GuestOffset) throws(ImageError) -> Slice {
    let l2Index = geometry.l2Index(of: guest)
    let first = l2Index & ~(sliceEntries - 1)
    let offset = table + UInt64(first << geometry.l2EntryBits)
    return unsafe Slice(
      offset: offset, table: table, memory: try l2Cache.table(at: offset), index: l2Index - first)
  }

  @inline(__always)
  func entry(_ memory: UnsafeMutableRawPointer, _ index: Int) -> L2Entry {
    if geometry.hasExtendedL2 {
      let at = index << 4
      return unsafe L2Entry(
        descriptor: UInt64(bigEndian: memory.load(fromByteOffset: at, as: UInt64.self)),
        bitmap: SubclusterBitmap(raw: UInt64(bigEndian: memory.load(fromByteOffset: at + 8, as: UInt64.self)))
      )
    }
    return unsafe L2Entry(
      descriptor: UInt64(bigEndian: memory.load(fromByteOffset: index << 3, as: UInt64.self)))
  }

  /// Changes an entry in memory, tells the event stream, and marks the slice for write-back.
  func setEntry(
    _ slice: Slice, _ index: Int, _ new: L2Entry, guestCluster: UInt64, _ reason: Reason,
    of structure: Structure = .l2Table
  ) {
    let old = unsafe entry(slice.memory, index)
    if geometry.hasExtendedL2 {
      unsafe slice.memory.storeBytes(of: new.descriptor.bigEndian, toByteOffset: index << 4, as: UInt64.self)
      unsafe slice.memory.storeBytes(
        of: new.bitmap.raw.bigEndian, toByteOffset: index << 4 + 8, as: UInt64.self)
    } else {
      unsafe slice.memory.storeBytes(of: new.descriptor.bigEndian, toByteOffset: index << 3, as: UInt64.self)
    }
    l2Cache.markDirty(slice.offset)
    tables.note(
      WriteTag(
        structure, reason, table: slice.table, index: guestCluster, before: (old.descriptor, old.bitmap.raw),
        after: (new.descriptor, new.bitmap.raw)))
  }

  // MARK: Mapping

  /// The run of equal state that starts at `guest`: at most `limit` bytes, never across the end of
  /// the disk. Runs with a host place are contiguous there.
  ///
  /// Runs may be shorter than they could be: they end at the boundaries of L2 slices.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  package func mapping(at guest: GuestOffset, limit: UInt64) throws(ImageError) -> Mapping {
    try requireOnDisk(guest, 0)
    return try run(at: guest, limit: min(limit, geometry.virtualSize - guest.value))
  }

  /// The same without a look at the end of the disk: a copy on write also takes over what lies
  /// behind the end in the last cluster.
  func run(at guest: GuestOffset, limit left: UInt64) throws(ImageError) -> Mapping {
    guard left > 0 else { return Mapping(guest: guest, length: 0, state: .unallocated) }
    guard let slice = try slice(at: guest) else {
      // No table: unallocated up to the end of what it would map.
      let span = geometry.bytesPerL2Table - guest.value % geometry.bytesPerL2Table
      return Mapping(guest: guest, length: min(left, span), state: .unallocated)
    }
    let first = unsafe entry(slice.memory, slice.index)
    let inCluster = geometry.offsetInCluster(guest.value)
    let subcluster = geometry.subcluster(of: guest)
    let state = geometry.state(of: first, subcluster, version: header.version)
    switch state {
    case .invalid:
      throw invalidEntry(first, slice.table, guest)
    case .compressed:
      guard !hasExternalData else {
        throw ImageError(
          .corrupt,
          "Compressed cluster entry found in image with external data file \(place(slice.table, guest))")
      }
      let length = min(left, geometry.clusterSize - inCluster)
      return Mapping(
        guest: guest, length: length, state: .compressed,
        compressed: geometry.compressedExtent(of: first.descriptor))
    default:
      guard !hasExternalData || !state.hasHost || first.offsetBits == geometry.roundDown(guest.value) else {
        throw ImageError(
          .corrupt,
          "External data file host cluster offset \(hex(first.offsetBits)) does not match guest cluster offset: \(hex(geometry.roundDown(guest.value))), L2 index: \(hex(UInt64(geometry.l2Index(of: guest))))"
        )
      }
      let host = state.hasHost ? HostOffset(first.offsetBits + inCluster) : nil
      let length = try runLength(slice, first, state, inCluster, left, guest)
      return Mapping(guest: guest, length: min(left, length), state: state, host: host)
    }
  }

  /// Bytes from `inCluster` on that share the state, over following subclusters and clusters.
  private func runLength(
    _ slice: Slice, _ first: L2Entry, _ state: SubclusterState, _ inCluster: UInt64, _ left: UInt64,
    _ guest: GuestOffset
  ) throws(ImageError) -> UInt64 {
    let start = geometry.subcluster(of: guest).value
    let count = sameStates(first.bitmap, from: start, state)
    var length = UInt64(count) << UInt64(geometry.subclusterBits) - inCluster & geometry.subclusterMask
    guard start + count == geometry.subclustersPerCluster, length < left else { return length }
    // Following clusters that are wholly in the state and continue on the host.
    let wanted = Int(min(UInt64(sliceEntries), geometry.clustersCovering(left - length)))
    let room = min(wanted, sliceEntries - slice.index - 1)
    let next = state.hasHost ? first.offsetBits &+ geometry.clusterSize : 0
    let table = unsafe UnsafeRawPointer(slice.memory) + (slice.index + 1) << geometry.l2EntryBits
    let whole =
      unsafe geometry.hasExtendedL2
      ? wholeExtended(table, room, state, next) : wholeStandard(table, room, state, next)
    length += UInt64(whole) << UInt64(geometry.clusterBits)
    guard geometry.hasExtendedL2, whole < room else { return length }
    // The first subclusters of the next cluster may still belong to the run.
    let following = unsafe entry(slice.memory, slice.index + 1 + whole)
    let expected = state.hasHost ? next &+ UInt64(whole) << UInt64(geometry.clusterBits) : 0
    guard !following.isCompressed, following.offsetBits == expected,
      geometry.state(of: following, SubclusterIndex(0), version: header.version) == state
    else { return length }
    return length + UInt64(sameStates(following.bitmap, from: 0, state)) << UInt64(geometry.subclusterBits)
  }

  /// How many standard entries are in the state and continue at `next`. The hot loop of `map`.
  private func wholeStandard(_ table: UnsafeRawPointer, _ room: Int, _ state: SubclusterState, _ next: UInt64)
    -> Int
  {
    let mask = L2Entry.offsetMask | L2Entry.compressedFlag | L2Entry.zeroFlag
    var expected = next | (state.readsAsZero ? L2Entry.zeroFlag : 0)
    let step = state.hasHost ? geometry.clusterSize : 0
    var count = 0
    while count < room {
      let raw = unsafe UInt64(bigEndian: table.load(fromByteOffset: count << 3, as: UInt64.self))
      guard raw & mask == expected else { break }
      expected &+= step
      count += 1
    }
    return count
  }

  /// The same for extended entries whose 32 subclusters are all in the state.
  private func wholeExtended(_ table: UnsafeRawPointer, _ room: Int, _ state: SubclusterState, _ next: UInt64)
    -> Int
  {
    let mask = L2Entry.offsetMask | L2Entry.compressedFlag
    let bitmap: UInt64 = state == .data ? 0xffff_ffff : state.readsAsZero ? SubclusterBitmap.allZero.raw : 0
    var expected = next
    let step = state.hasHost ? geometry.clusterSize : 0
    var count = 0
    while count < room {
      let raw = unsafe UInt64(bigEndian: table.load(fromByteOffset: count << 4, as: UInt64.self))
      let bits = unsafe UInt64(bigEndian: table.load(fromByteOffset: count << 4 + 8, as: UInt64.self))
      guard raw & mask == expected, bits == bitmap else { break }
      expected &+= step
      count += 1
    }
    return count
  }

  /// Subclusters from `start` on that are in the state, within one cluster.
  private func sameStates(_ bitmap: SubclusterBitmap, from start: Int, _ state: SubclusterState) -> Int {
    guard geometry.hasExtendedL2 else { return 1 }
    let same: UInt32
    switch state {
    case .data: same = bitmap.allocated
    case .zero, .zeroMapped: same = bitmap.zero
    default: same = ~(bitmap.allocated | bitmap.zero)
    }
    return min(32 - start, (~(same >> UInt32(start))).trailingZeroBitCount)
  }

  private func place(_ table: UInt64, _ guest: GuestOffset) -> String {
    "(L2 offset: \(hex(table)), L2 index: \(hex(UInt64(geometry.l2Index(of: guest)))))"
  }

  func invalidEntry(_ entry: L2Entry, _ table: UInt64, _ guest: GuestOffset) -> ImageError {
    let place = place(table, guest)
    guard case .invalid(let fault) = geometry.mapping(of: entry, version: header.version) else {
      return ImageError(.corrupt, "Invalid cluster entry found \(place)")
    }
    switch fault {
    case .unalignedOffset:
      return ImageError(.corrupt, "Cluster allocation offset \(hex(entry.offsetBits)) unaligned \(place)")
    case .zeroFlagInVersion2:
      return ImageError(.corrupt, "Zero cluster entry found in pre-v3 image \(place)")
    case .allocatedAndZero, .allocatedWithoutHost:
      return ImageError(.corrupt, "Invalid cluster entry found \(place)")
    }
  }
}
