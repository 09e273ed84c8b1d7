// The owners of some clusters: references are counted without their owners, because nearly all clusters are
// sound, and who wants to name the owners of a few goes over all references once more.

import QcowFormat

/// The visitor that remembers owners; what is wrong has been told before.
final class OwnerSearch: ReferenceVisitor {
  /// A handful says enough.
  private static let maximumOwners = 8

  let end: HostCluster
  /// In rising order.
  private let sought: [HostCluster]
  /// The first owners of each cluster in the order of the walk.
  private(set) var found: [HostCluster: [CheckOwner]] = [:]

  /// Looks for the owners of clusters in rising order; `end` is what ``ReferenceCounter`` found.
  init(of clusters: [HostCluster], end: HostCluster) {
    sought = clusters
    self.end = end
  }

  func claim(
    _ first: HostCluster, _ count: ClusterCount, _ sharing: ReferenceSharing, _ guest: Range<GuestOffset>?,
    _ owner: (ClusterCount) -> CheckOwner
  ) throws(CheckStop) {
    var low = 0
    var high = sought.count
    while low < high {
      let middle = (low + high) / 2
      if sought[middle] < first { low = middle + 1 } else { high = middle }
    }
    while low < sought.count, sought[low] < first + count {
      if found[sought[low], default: []].count < Self.maximumOwners {
        found[sought[low], default: []].append(owner(sought[low] - first))
      }
      low += 1
    }
  }

  func passEnd(_ offset: HostOffset, _ size: ByteCount, _ owner: CheckOwner, _ guest: Range<GuestOffset>?) {}
  func visitBlock(_ index: Int, _ cluster: HostCluster, at place: HostOffset) {}
  func tell(_ finding: CheckFinding) {}
  func isCopiedRight(_ isCopied: Bool, _ clusters: Range<HostCluster>) -> Bool { true }
  func finishTable(l1Index: Int, _ facts: TableFacts) {}
}
