// What alignment leaves of a discard.

extension Geometry {
  /// Bytes of a request that a discard acts on when it acts on whole clusters, or on whole subclusters; empty if
  /// there are none. The last one of the disk counts as whole when the request reaches the disk's end.
  ///
  /// `guest` lies on the disk.
  package func discardable(_ guest: Range<UInt64>, bySubclusters: Bool) -> Range<UInt64> {
    let mask = bySubclusters ? subclusterMask : clusterMask
    let (sum, overflow) = guest.lowerBound.addingReportingOverflow(mask)
    guard !overflow else { return guest.lowerBound..<guest.lowerBound }
    let start = sum & ~mask
    let end = guest.upperBound == virtualSize ? guest.upperBound : guest.upperBound & ~mask
    return start < end ? start..<end : guest.lowerBound..<guest.lowerBound
  }
}
