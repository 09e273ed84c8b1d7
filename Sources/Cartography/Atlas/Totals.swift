// The numbers beside the maps: what there is of each state, what the file takes, what is free and
// where. All of them are kept up to date by the scan and by single operations.

import Qcow
import QcowFormat
import Storage

/// Why refcounts say less than the owners do without being damaged.
package enum Staleness: Equatable, Sendable {
  /// The image was not closed cleanly, with lazy refcounts.
  case dirty
  /// There is no refcount block.
  case empty

  /// What follows from it, in words.
  package var text: String {
    switch self {
    case .dirty: "refcounts are rebuilt at the next writing open"
    case .empty: "there are no refcounts: a repair has to rebuild them before anything is written"
    }
  }
}

/// Totals of an image, as far as the scan has come.
package struct Totals: Equatable, Sendable {
  /// Subclusters of the virtual disk per state.
  package var guest = StateCounts<GuestState>()
  /// Clusters of the file per state.
  package var host = StateCounts<HostState>()
  /// Bytes of the file.
  package var fileLength: UInt64 = 0
  /// Clusters of the file, the last one possibly cut.
  package var fileClusters: UInt64 = 0
  /// Bytes the host file system keeps for the file.
  package var hostBlocks: UInt64 = 0
  /// Bytes of the guest that are in this file, uncompressed.
  package var guestData: UInt64 = 0
  /// Bytes of host clusters that hold guest data, compressed data and saved machine state.
  package var dataClusterBytes: UInt64 = 0
  /// Bytes of clusters with tables and headers.
  package var metadata: UInt64 = 0
  /// Clusters of the file that nobody uses.
  package var freeClusters: UInt64 = 0
  /// Free clusters behind the last one in use.
  package var freeAtTail: UInt64 = 0
  /// The longest row of free clusters, in clusters, and its first cluster.
  package var largestFreeRun: UInt64 = 0
  /// The first cluster of that run.
  package var largestFreeRunStart: UInt64 = 0
  /// First byte behind the last cluster in use.
  package var imageEnd: UInt64 = 0
  /// Clusters whose refcount counts more owners than there are.
  package var leaked: UInt64 = 0
  /// Clusters in conflict, those behind the end of the file included.
  package var wrong: UInt64 = 0
  /// Clusters whose refcount is too low in an image whose refcounts are not kept up.
  package var uncounted: UInt64 = 0
  /// Clusters with content that the disk shares with snapshots.
  package var sharedClusters: UInt64 = 0
  /// Clusters with content that only snapshots have, saved VM state included.
  package var snapshotClusters: UInt64 = 0
  /// Clusters with content that only the disk as it is now has, left over VM state not included.
  package var diskClusters: UInt64 {
    let content = HostState.allCases.reduce(0) { $0 + ($1.isContent ? host[$1] : 0) }
    return content - min(content, sharedClusters + snapshotClusters + leftOverState)
  }
  /// Clusters of saved VM state that no snapshot has any more.
  package var leftOverState: UInt64 = 0
  /// Why the refcounts are not worth much; nil if they should be right.
  package var staleness: Staleness?
  /// Subclusters of the disk whose entries are bad.
  package var bad: UInt64 = 0

  package init() {}

  /// What the entries and the refcounts of a survey say in numbers.
  init(_ survey: Survey, _ staleness: Staleness?) {
    let image = survey.image
    let geometry = image.geometry
    guest = survey.guest.counts.root
    host = survey.host.counts.root
    fileLength = image.storage.length
    fileClusters = survey.fileClusters
    hostBlocks = image.storage.allocatedBytes
    func bytes(_ clusters: UInt64) -> UInt64 { clusters << UInt64(geometry.clusterBits) }
    for state in GuestState.allCases where state.isFilled {
      guestData &+= guest[state] << UInt64(geometry.subclusterBits)
    }
    for state in HostState.allCases where state.isMetadata { metadata &+= bytes(host[state]) }
    for state in HostState.allCases where state.isContent { dataClusterBytes &+= bytes(host[state]) }
    freeClusters = host[.free]
    let runs = survey.host.freeRuns.root
    freeAtTail = runs.suffix
    largestFreeRun = runs.best
    largestFreeRunStart = runs.bestStart
    imageEnd = bytes(fileClusters - min(fileClusters, runs.suffix))
    leaked = host[.leaked] + host[mark: .leaked]
    wrong = host[.wrong] + host[mark: .conflict]
    uncounted = host[mark: .uncounted]
    sharedClusters = host[mark: .shared]
    snapshotClusters = host[mark: .snapshots]
    leftOverState = host[mark: .leftOver]
    bad = guest[.bad]
    self.staleness = staleness
  }
}
