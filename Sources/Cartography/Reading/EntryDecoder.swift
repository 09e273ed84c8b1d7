// What an L2 entry means for the maps: the state of its subclusters, and the host clusters it
// uses. The scan, the windows, the rows and the places all decode here, so that they agree.

import QcowFormat

/// Decodes L2 entries of one image, as it is now.
struct EntryDecoder: Sendable {
  let geometry: Geometry
  let version: UInt32
  /// Bytes of the file; entries that point behind its end are bad.
  let fileLength: UInt64
  /// What a place without an entry is, before ``belowEnd``.
  let unallocated: GuestState
  /// Where the layer below ends, in bytes of the disk; 0 without one, the largest number if that is
  /// not known.
  let belowEnd: UInt64
  /// Data lies in another file, so that nothing can be said about where it points.
  let hasExternalData: Bool

  /// The host clusters an entry uses.
  enum Reference: Equatable {
    case none
    case cluster(UInt64)
    case compressed(ClosedRange<UInt64>)
  }

  var fileClusters: UInt64 { geometry.clustersCovering(fileLength) }

  func reference(of descriptor: UInt64) -> Reference {
    if hasExternalData { return .none }
    if descriptor & L2Entry.compressedFlag != 0 {
      let extent = geometry.compressedExtent(of: descriptor)
      let bits = UInt64(geometry.clusterBits)
      let last = extent.offset.value &+ extent.byteCount &- 1
      return .compressed(extent.offset.value >> bits...max(extent.offset.value, last) >> bits)
    }
    let offset = descriptor & L2Entry.offsetMask
    guard offset != 0, geometry.isAligned(offset) else { return .none }
    return .cluster(offset >> UInt64(geometry.clusterBits))
  }

  /// What is known about the place an entry leads to.
  struct Target: Equatable, Sendable {
    /// Why it cannot be right; nil if nothing is known against it.
    var conflict: Conflict?
    /// Nil if the place has no refcount, or none that can be read.
    var refcount: UInt64?

    static let unknown = Target()
  }

  /// What a place without an entry is: behind the end of the layer below nobody answers.
  func unallocated(at guest: UInt64) -> GuestState { guest < belowEnd ? unallocated : .none }

  private func isBad(_ entry: L2Entry, _ mapping: ClusterMapping) -> Bool {
    switch mapping {
    case .invalid: return true
    case .unallocated, .zero: return false
    case .data(let host), .zeroMapped(let host): return !hasExternalData && host.value >= fileLength
    case .compressed(let extent): return extent.offset.value >= fileLength
    case .subclusters(let host, _):
      guard let host else { return false }
      return !hasExternalData && host.value >= fileLength
    }
  }

  /// Adds the states of an entry's subclusters to `counts`, but for those that are not allocated.
  func tally(_ entry: L2Entry, isShared: Bool, into counts: inout StateCounts<GuestState>) {
    let all = UInt64(geometry.subclustersPerCluster)
    let mapping = geometry.mapping(of: entry, version: version)
    if isBad(entry, mapping) {
      counts[.bad] += all
      return
    }
    switch mapping {
    case .unallocated: break
    case .data: counts[isShared ? .shared : .data] += all
    case .zero: counts[.zero] += all
    case .zeroMapped: counts[.zeroKept] += all
    case .compressed: counts[.compressed] += all
    case .invalid: counts[.bad] += all
    case .subclusters(let host, let bitmap):
      let data = UInt64(bitmap.allocated.nonzeroBitCount)
      let zero = UInt64(bitmap.zero.nonzeroBitCount)
      counts[isShared ? .shared : .data] += data
      counts[host == nil ? .zero : .zeroKept] += zero
      if host != nil && data == 0 { counts[.preallocated] += all - min(all, data + zero) }
    }
  }

  /// The entry leads to a cluster that somebody else uses too.
  func isShared(_ entry: L2Entry, _ target: Target) -> Bool {
    guard !hasExternalData else { return false }
    return !entry.isCopied && (target.refcount ?? 2) > 1
  }

  /// The state of one subcluster of the cluster at guest offset `guest`.
  func state(of entry: L2Entry, _ subcluster: Int, at guest: UInt64, _ target: Target) -> GuestState {
    let mapping = geometry.mapping(of: entry, version: version)
    if isBad(entry, mapping) { return .bad }
    if target.conflict != nil { return .bad }
    let none = unallocated(at: guest &+ UInt64(max(0, subcluster)) << UInt64(geometry.subclusterBits))
    let data: GuestState = isShared(entry, target) ? .shared : .data
    switch mapping {
    case .unallocated: return none
    case .data: return data
    case .zero: return .zero
    case .zeroMapped: return .zeroKept
    case .compressed: return .compressed
    case .invalid: return .bad
    case .subclusters(let host, let bitmap):
      let bit: UInt32 = 1 << UInt32(subcluster & 31)
      if bitmap.allocated & bit != 0 { return data }
      if bitmap.zero & bit != 0 { return host == nil ? .zero : .zeroKept }
      return host != nil && bitmap.allocated == 0 ? .preallocated : none
    }
  }

  func states(of entry: L2Entry, at guest: UInt64, _ target: Target) -> [GuestState] {
    (0..<geometry.subclustersPerCluster).map { state(of: entry, $0, at: guest, target) }
  }
}
