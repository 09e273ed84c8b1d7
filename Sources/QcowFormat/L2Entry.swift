// L2 table entries, standard and extended, decoded once into a sum that has exactly the cases that
// exist. Invalid combinations are a case with the reason, so that nothing downstream has to guess.

/// An L2 table entry as stored: the descriptor, and the bitmap of an extended entry.
package struct L2Entry: Equatable, Hashable, Sendable {
  /// The first 8 bytes: flags and offset, or the descriptor of a compressed cluster.
  package var descriptor: UInt64
  /// Allocation bits in the low half, zero bits in the high half; 0 without extended L2 entries.
  package var bitmap: SubclusterBitmap

  package init(descriptor: UInt64, bitmap: SubclusterBitmap = SubclusterBitmap(raw: 0)) {
    self.descriptor = descriptor
    self.bitmap = bitmap
  }

  /// Maps nothing.
  package static let empty = L2Entry(descriptor: 0)

  /// Bits 9 to 55.
  package static let offsetMask: UInt64 = 0x00ff_ffff_ffff_fe00
  /// Bits of a standard descriptor that must be 0; with extended L2 entries bit 0 as well.
  package static let reservedMask: UInt64 = 0x3f00_0000_0000_01fe
  /// Bit 0 of a standard descriptor: reads as zeroes (version 3, without subclusters).
  package static let zeroFlag: UInt64 = 1
  /// Bit 62: the descriptor is that of a compressed cluster.
  package static let compressedFlag: UInt64 = 1 << 62
  /// Bit 63 (COPIED): the refcount of the host cluster is 1, so it may be written in place.
  package static let copiedFlag: UInt64 = 1 << 63

  /// Bit 62 is set.
  package var isCompressed: Bool { descriptor & Self.compressedFlag != 0 }
  /// Bit 63 is set.
  package var isCopied: Bool { descriptor & Self.copiedFlag != 0 }
  /// Offset bits of a standard descriptor; 0 means no host cluster.
  package var offsetBits: UInt64 { descriptor & Self.offsetMask }
}

/// The bitmap of an extended L2 entry ("Extended L2 entry").
package struct SubclusterBitmap: Equatable, Hashable, Sendable {
  /// The field as stored: zero bits in the upper half, allocation bits in the lower one.
  package var raw: UInt64
  package init(raw: UInt64) { self.raw = raw }
  /// Both halves, bit 0 for the first subcluster.
  package init(allocated: UInt32, zero: UInt32) { raw = UInt64(zero) << 32 | UInt64(allocated) }

  /// Every subcluster reads as zero.
  package static let allZero = SubclusterBitmap(allocated: 0, zero: .max)

  /// Bit i: subcluster i has its bytes in the host cluster.
  package var allocated: UInt32 { UInt32(truncatingIfNeeded: raw) }
  /// Bit i: subcluster i reads as zero.
  package var zero: UInt32 { UInt32(truncatingIfNeeded: raw >> 32) }

  /// Subcluster `index`, 0 ... 31, has its bytes in the host cluster.
  package func isAllocated(_ index: Int) -> Bool { allocated >> UInt32(index) & 1 != 0 }

  /// The bits of subclusters `first` to `last`, 0 ... 31.
  package static func mask(_ first: Int, _ last: Int) -> UInt32 {
    guard first <= last, first < 32, last >= 0 else { return 0 }
    let low = UInt32.max << UInt32(max(0, first))
    let high = UInt32.max >> UInt32(31 - min(31, last))
    return low & high
  }
}

/// What one subcluster is. Without extended L2 entries the cluster is its only subcluster.
package enum SubclusterState: UInt8, Sendable, CaseIterable {
  /// No host cluster: the backing file answers, or zeroes.
  case unallocated
  /// A host cluster is reserved, but the backing file still answers, or zeroes.
  case unallocatedMapped
  /// Reads as zeroes, no host cluster.
  case zero
  /// Reads as zeroes, a host cluster is kept.
  case zeroMapped
  /// The bytes are in the host cluster.
  case data
  case compressed
  case invalid

  /// A standard host cluster belongs to it.
  package var hasHost: Bool { self == .unallocatedMapped || self == .zeroMapped || self == .data }
  /// The entry itself says that all of the cluster is zeroes.
  package var readsAsZero: Bool { self == .zero || self == .zeroMapped }
  /// The layer below is asked.
  package var isUnallocated: Bool { self == .unallocated || self == .unallocatedMapped }
}

/// Why an L2 entry cannot be used.
package enum L2Fault: UInt8, Sendable, CaseIterable {
  case unalignedOffset, zeroFlagInVersion2, allocatedAndZero, allocatedWithoutHost
}

/// Where the stream of a compressed cluster lies ("Compressed cluster descriptor").
package struct CompressedExtent: Equatable, Sendable {
  /// First byte of the stream, not aligned.
  package var offset: HostOffset
  /// Bytes that may belong to it, up to the end of its last sector.
  package var byteCount: UInt64

  package init(offset: HostOffset, byteCount: UInt64) {
    self.offset = offset
    self.byteCount = byteCount
  }
}

/// A decoded L2 entry.
package enum ClusterMapping: Equatable, Sendable {
  case unallocated
  case data(HostOffset)
  case zero
  /// Reads as zeroes and keeps a host cluster.
  case zeroMapped(HostOffset)
  case compressed(CompressedExtent)
  /// An extended entry whose subclusters differ, or that is mapped and not allocated.
  case subclusters(host: HostOffset?, SubclusterBitmap)
  case invalid(L2Fault)
}

extension Geometry {
  /// Whether a standard descriptor names a host cluster.
  ///
  /// Offset 0 does so only in an external data file, where the COPIED bit tells it from no place.
  @inline(__always)
  package func hasHost(_ entry: L2Entry) -> Bool {
    entry.offsetBits != 0
      || hasExternalData && entry.isCopied && (hasExtendedL2 || entry.descriptor & L2Entry.zeroFlag == 0)
  }

  /// Decodes an entry. `version` matters because version 2 has no zero flag.
  package func mapping(of entry: L2Entry, version: UInt32 = 3) -> ClusterMapping {
    if entry.isCompressed { return .compressed(compressedExtent(of: entry.descriptor)) }
    let offset = entry.offsetBits
    guard isAligned(offset) else { return .invalid(.unalignedOffset) }
    let host = HostOffset(offset)
    let isMapped = hasHost(entry)
    if hasExtendedL2 {
      let bitmap = entry.bitmap
      if !isMapped {
        if bitmap.allocated != 0 { return .invalid(.allocatedWithoutHost) }
        if bitmap.raw == 0 { return .unallocated }
        return bitmap == .allZero ? .zero : .subclusters(host: nil, bitmap)
      }
      if bitmap.allocated & bitmap.zero != 0 { return .invalid(.allocatedAndZero) }
      if bitmap.allocated == .max { return .data(host) }
      return bitmap.zero == .max ? .zeroMapped(host) : .subclusters(host: host, bitmap)
    }
    if entry.descriptor & L2Entry.zeroFlag != 0 {
      guard version >= 3 else { return .invalid(.zeroFlagInVersion2) }
      return isMapped ? .zeroMapped(host) : .zero
    }
    return isMapped ? .data(host) : .unallocated
  }

  /// The state of one subcluster. Validity is judged for the whole entry.
  package func state(of entry: L2Entry, _ subcluster: SubclusterIndex, version: UInt32 = 3) -> SubclusterState
  {
    switch mapping(of: entry, version: version) {
    case .unallocated: return .unallocated
    case .data: return .data
    case .zero: return .zero
    case .zeroMapped: return .zeroMapped
    case .compressed: return .compressed
    case .invalid: return .invalid
    case .subclusters(let host, let bitmap):
      let bit: UInt32 = 1 << UInt32(subcluster.value & 31)
      if bitmap.allocated & bit != 0 { return .data }
      if bitmap.zero & bit != 0 { return host == nil ? .zero : .zeroMapped }
      return host == nil ? .unallocated : .unallocatedMapped
    }
  }

  /// The place of a compressed stream.
  package func compressedExtent(of descriptor: UInt64) -> CompressedExtent {
    let x = UInt64(compressedOffsetBits)
    let offset = descriptor & ((1 << x) - 1)
    let sectors = (descriptor >> x) & ((1 << UInt64(clusterBits - 8)) - 1) + 1
    return CompressedExtent(offset: HostOffset(offset), byteCount: sectors * 512 - offset % 512)
  }

  /// The descriptor of a stream of `length` bytes at `offset`; both must fit the limits.
  package func compressedDescriptor(offset: HostOffset, length: UInt64) -> UInt64 {
    let sectors = (offset.value &+ length &- 1) / 512 - offset.value / 512
    return offset.value | sectors << UInt64(compressedOffsetBits) | L2Entry.compressedFlag
  }
}
