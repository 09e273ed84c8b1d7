// What every internal snapshot holds by itself and what it shares: the space that comes back with its deletion.

package import QcowFormat
import Storage

/// The host clusters of one internal snapshot: its L1 table, its L2 tables and what they map.
package struct SnapshotShare: Equatable, Sendable {
  /// The index of ``Image/snapshots``.
  package let index: Int
  /// Rows of clusters that nobody else refers to, in rising order, as many as are kept; deleting the snapshot gives
  /// them back.
  package internal(set) var alone: [Range<HostCluster>] = []
  /// Clusters that others refer to as well, each counted once.
  package internal(set) var shared = ClusterCount(0)
  /// How many such clusters there are, those of rows that are not kept included.
  package internal(set) var aloneCount = ClusterCount(0)
}

extension ImageCheck {
  /// Rows of clusters that are kept of all snapshots together.
  private static let maximumRows = 1 << 20
  /// Snapshots whose tables are gone through at most.
  package static let maximumShares = 1024

  /// What each of the first ``maximumShares`` snapshots holds. After ``run()``, which must have come to its end.
  ///
  /// Every snapshot's tables are read once more; the memory is that of one more count of owners.
  /// - Throws: ``CheckStop`` for tables that cannot be read, or that name each other too often.
  package func snapshotShares() throws(CheckStop) -> [SnapshotShare] {
    var rows = Self.maximumRows
    var shares: [SnapshotShare] = []
    for index in snapshotEntries.indices.prefix(Self.maximumShares) {
      let visitor = ShareVisitor(self)
      try walk(snapshot: index, visitor)
      shares.append(visitor.share(index, among: references.tally, rows: &rows))
    }
    return shares
  }
}

/// Counts the references of one snapshot.
private final class ShareVisitor: ReferenceVisitor {
  let end: HostCluster
  private let tally: HostTally

  init(_ check: ImageCheck) {
    end = check.references.end
    tally = HostTally(
      clusters: ClusterCount(end.value + 1), maximum: check.references.tally.maximum,
      memory: CheckMemory(allocated: ByteCount(check.storage.allocatedBytes)))
  }

  func claim(
    _ first: HostCluster, _ count: ClusterCount, _ sharing: ReferenceSharing, _ guest: Range<GuestOffset>?,
    _ owner: (ClusterCount) -> CheckOwner
  ) throws(CheckStop) {
    var wasOwned = false
    var at = first
    let behind = first + count
    while at < behind {
      at = at + (try tally.add(at, behind - at, wasOwned: &wasOwned))
      // A count that is full stays so.
      if at < behind { at = at + 1 }
    }
  }

  func passEnd(_ offset: HostOffset, _ size: ByteCount, _ owner: CheckOwner, _ guest: Range<GuestOffset>?) {}
  func visitBlock(_ index: Int, _ cluster: HostCluster, at place: HostOffset) {}
  func tell(_ finding: CheckFinding) {}
  func isCopiedRight(_ isCopied: Bool, _ clusters: Range<HostCluster>) -> Bool { true }
  func finishTable(l1Index: Int, _ facts: TableFacts) {}

  func share(_ index: Int, among all: HostTally, rows: inout Int) -> SnapshotShare {
    var share = SnapshotShare(index: index)
    var start: HostCluster?
    func close(at cluster: HostCluster) {
      if let first = start, rows > 0 {
        share.alone.append(first..<cluster)
        rows -= 1
      }
      start = nil
    }
    for number in 0...HostTally.chunkNumber(end) {
      guard let chunk = tally.chunk(number) else {
        close(at: HostTally.firstCluster(ofChunk: number))
        continue
      }
      let whole = all.chunk(number)
      for place in 0..<HostTally.chunkClusters {
        let own = HostTally.value(chunk, place)
        let isAlone = own > 0 && own == whole.map { HostTally.value($0, place) } ?? own
        let cluster = HostTally.firstCluster(ofChunk: number) + ClusterCount(UInt64(place))
        if isAlone {
          share.aloneCount = share.aloneCount + ClusterCount(1)
          if start == nil { start = cluster }
        } else {
          if start != nil { close(at: cluster) }
          if own > 0 { share.shared = share.shared + ClusterCount(1) }
        }
      }
    }
    close(at: end)
    return share
  }
}
