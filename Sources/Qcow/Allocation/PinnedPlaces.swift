// The places of a pinned image: every guest cluster has one, at guest offset + shift. Whoever needs a
// cluster for something else looks elsewhere.

import QcowFormat
import Storage

extension Image {
  /// The pin, if the policy in force gives every guest cluster its own place.
  var activePin: PinExtension? { policy == .pinned ? pin : nil }

  /// Guest bytes that have a place: the disk, what it is about to grow to, or the reserve.
  private var pinnedBytes: UInt64 {
    geometry.roundUp(max(geometry.virtualSize, plannedSize, pin?.reserve ?? 0))
  }

  /// Host clusters that belong to guest clusters; nil if nothing is pinned.
  var pinnedClusters: Range<UInt64>? {
    guard let pin = activePin else { return nil }
    let first = pin.shift >> UInt64(geometry.clusterBits)
    return first..<(first + pinnedBytes >> UInt64(geometry.clusterBits))
  }

  /// Where new clusters for a stretch of the guest's disk may go under the pinned policy.
  private enum PinnedPlace {
    /// At their own places from this host offset on, which are free for so many clusters.
    case own(UInt64, UInt64)
    /// Somebody else is at the places of so many clusters.
    case taken(UInt64)
  }

  /// Looks at the places of up to `count` clusters from `guest` on, which is aligned.
  private func place(of guest: UInt64, _ count: UInt64, _ pin: PinExtension) throws(ImageError) -> PinnedPlace
  {
    let (own, overflow) = guest.addingReportingOverflow(pin.shift)
    guard !overflow, own < Geometry.hostOffsetLimit else { return .taken(count) }
    let first = own >> UInt64(geometry.clusterBits)
    let isFree = try refcount(of: HostCluster(first)) == 0
    var same: UInt64 = 1
    while same < count, try (refcount(of: HostCluster(first + same)) == 0) == isFree { same += 1 }
    return isFree ? .own(own, same) : .taken(same)
  }

  /// Takes new clusters for a stretch of the guest's disk: `next` is where the piece would continue.
  ///
  /// - Returns: the host offset and how many; nil if the piece must end here.
  func allocatePinned(
    _ guest: UInt64, _ count: UInt64, _ pin: PinExtension, next: UInt64?
  ) throws(ImageError) -> (host: UInt64, count: UInt64)? {
    switch try place(of: guest, count, pin) {
    case .own(let own, let free):
      if let next, next != own { return nil }
      // Making a refcount block takes no place of a guest cluster, so what was free still is.
      let taken = try allocate(at: own, free)
      return taken > 0 ? (own, taken) : nil
    case .taken(let displaced):
      guard let next else { return (try allocate(displaced), displaced) }
      if let places = pinnedClusters, places.contains(next >> UInt64(geometry.clusterBits)) { return nil }
      let taken = try allocate(at: next, displaced)
      return taken > 0 ? (next, taken) : nil
    }
  }

  /// A writer that does not honour the pin says so before its first change, as any other program
  /// would by clearing the bit it does not know.
  func announceUnpinnedWrite() throws(ImageError) {
    guard header.autoclear.contains(.pinned), policy != .pinned else { return }
    try tables.setAutoclear(header.autoclear.subtracting(.pinned), .pin)
  }
}
