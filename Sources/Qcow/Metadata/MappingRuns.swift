// Runs of equal state: what the guest's bytes from an offset on are, as far as one slice of the L2 table tells.

import QcowFormat
import Storage

extension L2Tables {
  /// The run of equal state that starts at `guest`, at most `limit` bytes of it.
  ///
  /// Without a look at the end of the disk: a copy on write also takes over what lies behind the end in the
  /// last cluster. Throws ``ImageError/Code/corrupt`` for an entry that cannot be used, and what the host says.
  func run(at guest: GuestOffset, limit: ByteCount) throws(ImageError) -> Mapping {
    guard limit > 0 else { return Mapping(guest: guest, length: 0, state: .unallocated) }
    guard let slice = try slice(at: guest) else {
      // No table: unallocated up to the end of what it would map.
      let span = geometry.bytesPerL2Table - guest.value % geometry.bytesPerL2Table
      return Mapping(guest: guest, length: min(limit, ByteCount(span)), state: .unallocated)
    }
    let first = entry(slice, slice.index)
    let inCluster = geometry.offsetInCluster(guest.value)
    let subcluster = geometry.subcluster(of: guest)
    let state = geometry.state(of: first, subcluster, version: tables.header.version)
    switch state {
    case .invalid:
      throw invalidEntry(first, slice.table, guest)
    case .compressed:
      guard !hasExternalData else {
        throw ImageError(
          .corrupt,
          "Compressed cluster entry found in image with external data file \(place(slice.table, guest))",
          at: .l2Table, index: UInt64(geometry.l2Index(of: guest)), slice.table)
      }
      let length = min(limit, ByteCount(geometry.clusterSize - inCluster))
      return Mapping(
        guest: guest, length: length, state: .compressed,
        compressed: geometry.compressedExtent(of: first.descriptor))
    default:
      guard !hasExternalData || !state.hasHost || first.offsetBits == geometry.roundDown(guest.value) else {
        throw ImageError(
          .corrupt,
          "External data file host cluster offset \(hex(first.offsetBits)) does not match guest cluster offset: \(hex(geometry.roundDown(guest.value))), L2 index: \(hex(UInt64(geometry.l2Index(of: guest))))",
          at: .l2Table, index: UInt64(geometry.l2Index(of: guest)), slice.table)
      }
      let host = state.hasHost ? HostOffset(first.offsetBits + inCluster) : nil
      let length = try runLength(slice, first, state, limit, guest)
      return Mapping(guest: guest, length: min(limit, length), state: state, host: host)
    }
  }

  /// Bytes from `guest` on that share the state, over following subclusters and clusters.
  private func runLength(
    _ slice: L2Slice, _ first: L2Entry, _ state: SubclusterState, _ limit: ByteCount, _ guest: GuestOffset
  ) throws(ImageError) -> ByteCount {
    let inCluster = geometry.offsetInCluster(guest.value)
    let start = geometry.subcluster(of: guest).value
    let count = sameStates(first.bitmap, from: start, state)
    var length = geometry.byteCount(ofSubclusters: UInt64(count)) - inCluster & geometry.subclusterMask
    guard start + count == geometry.subclustersPerCluster, length < limit.value else {
      return ByteCount(length)
    }
    // Following clusters that are wholly in the state and continue on the host.
    let entries = sliceEntries
    let wanted = Int(min(UInt64(entries), geometry.clustersCovering(limit.value - length)))
    let room = min(wanted, entries - slice.index - 1)
    let next = state.hasHost ? first.offsetBits &+ geometry.clusterSize : 0
    let table = unsafe UnsafeRawPointer(slice.memory) + geometry.l2EntryOffset(slice.index + 1)
    let whole =
      unsafe geometry.hasExtendedL2
      ? wholeExtended(table, room, state, HostOffset(next))
      : wholeStandard(table, room, state, HostOffset(next))
    length += geometry.byteCount(ofClusters: UInt64(whole))
    guard geometry.hasExtendedL2, whole < room else { return ByteCount(length) }
    // The first subclusters of the next cluster may still belong to the run.
    let following = entry(slice, slice.index + 1 + whole)
    let expected = state.hasHost ? next &+ geometry.byteCount(ofClusters: UInt64(whole)) : 0
    guard !following.isCompressed, following.offsetBits == expected,
      geometry.state(of: following, SubclusterIndex(0), version: tables.header.version) == state
    else { return ByteCount(length) }
    let more = sameStates(following.bitmap, from: 0, state)
    return ByteCount(length + geometry.byteCount(ofSubclusters: UInt64(more)))
  }

  /// How many standard entries are in the state and continue at `next`. The hot loop of `map`.
  private func wholeStandard(
    _ table: UnsafeRawPointer, _ room: Int, _ state: SubclusterState, _ next: HostOffset
  )
    -> Int
  {
    let mask = L2Entry.offsetMask | L2Entry.compressedFlag | L2Entry.zeroFlag
    var expected = next.value | (state.readsAsZero ? L2Entry.zeroFlag : 0)
    let step = state.hasHost ? geometry.clusterSize : 0
    var count = 0
    // Four at a time, for as long as all of them go on; the loop behind finds the one that does not.
    while count <= room - 4 {
      let four = unsafe table + count * 8
      let first = unsafe UInt64(bigEndian: four.load(as: UInt64.self)) & mask
      let second = unsafe UInt64(bigEndian: four.load(fromByteOffset: 8, as: UInt64.self)) & mask
      let third = unsafe UInt64(bigEndian: four.load(fromByteOffset: 16, as: UInt64.self)) & mask
      let fourth = unsafe UInt64(bigEndian: four.load(fromByteOffset: 24, as: UInt64.self)) & mask
      let differs =
        (first ^ expected) | (second ^ (expected &+ step)) | (third ^ (expected &+ 2 &* step))
        | (fourth ^ (expected &+ 3 &* step))
      guard differs == 0 else { break }
      expected &+= 4 &* step
      count &+= 4
    }
    while count < room {
      let raw = unsafe UInt64(bigEndian: table.load(fromByteOffset: count * 8, as: UInt64.self))
      guard raw & mask == expected else { break }
      expected &+= step
      count += 1
    }
    return count
  }

  /// The same for extended entries whose 32 subclusters are all in the state.
  private func wholeExtended(
    _ table: UnsafeRawPointer, _ room: Int, _ state: SubclusterState, _ next: HostOffset
  )
    -> Int
  {
    let mask = L2Entry.offsetMask | L2Entry.compressedFlag
    let bitmap: UInt64 = state == .data ? 0xffff_ffff : state.readsAsZero ? SubclusterBitmap.allZero.raw : 0
    var expected = next.value
    let step = state.hasHost ? geometry.clusterSize : 0
    var count = 0
    while count < room {
      let raw = unsafe UInt64(bigEndian: table.load(fromByteOffset: count * 16, as: UInt64.self))
      let bits = unsafe UInt64(bigEndian: table.load(fromByteOffset: count * 16 + 8, as: UInt64.self))
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

  private func place(_ table: HostOffset, _ guest: GuestOffset) -> String {
    "(L2 offset: \(hex(table.value)), L2 index: \(hex(UInt64(geometry.l2Index(of: guest)))))"
  }

  /// The error of an entry that cannot be used.
  func invalidEntry(_ entry: L2Entry, _ table: HostOffset, _ guest: GuestOffset) -> ImageError {
    let place = place(table, guest)
    let text: String
    if case .invalid(let fault) = geometry.mapping(of: entry, version: tables.header.version) {
      switch fault {
      case .unalignedOffset: text = "Cluster allocation offset \(hex(entry.offsetBits)) unaligned \(place)"
      case .zeroFlagInVersion2: text = "Zero cluster entry found in pre-v3 image \(place)"
      case .allocatedAndZero, .allocatedWithoutHost: text = "Invalid cluster entry found \(place)"
      }
    } else {
      text = "Invalid cluster entry found \(place)"
    }
    return ImageError(.corrupt, text, at: .l2Table, index: UInt64(geometry.l2Index(of: guest)), table)
  }
}
