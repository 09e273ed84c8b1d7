// The host clusters in conflict that a scan has met, and the regions they lie in, so that the guest map
// can be brought up to date by reading again only the tables that may lead there.

/// A growing set of host clusters, met in ascending order.
struct ConflictSet {
  /// More rows of clusters than this are not kept.
  static let maximumRanges = 1 << 16

  private(set) var ranges: [Range<UInt64>] = []
  private(set) var signature = HostSignature()
  /// Some could not be kept.
  private(set) var isIncomplete = false

  var isEmpty: Bool { ranges.isEmpty }

  mutating func add(_ clusters: Range<UInt64>, regionBits: UInt64) {
    guard !clusters.isEmpty else { return }
    if let last = ranges.last, last.upperBound >= clusters.lowerBound {
      ranges[ranges.count - 1] = last.lowerBound..<max(last.upperBound, clusters.upperBound)
    } else if ranges.count < Self.maximumRanges {
      ranges.append(clusters)
    } else {
      isIncomplete = true
      return
    }
    // There are 256 classes of regions.
    let first = clusters.lowerBound >> regionBits
    for region in first...min((clusters.upperBound - 1) >> regionBits, first + 255) {
      signature.insert(region)
    }
  }

  /// Entries with this signature may lead to one of them.
  func mayContain(_ other: HostSignature) -> Bool {
    !ranges.isEmpty && signature.bits & other.bits != SIMD4<UInt64>(repeating: 0)
  }
}
