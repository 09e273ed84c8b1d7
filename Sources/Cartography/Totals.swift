// The numbers beside the maps: what there is of each state, what the file takes, what is free and
// where. All of them are kept up to date by the scan and by single operations.

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
  package var freeClusters: UInt64 = 0
  /// Free clusters behind the last one in use.
  package var freeAtTail: UInt64 = 0
  /// The longest row of free clusters, in clusters, and its first cluster.
  package var largestFreeRun: UInt64 = 0
  package var largestFreeRunStart: UInt64 = 0
  /// First byte behind the last cluster in use.
  package var imageEnd: UInt64 = 0
  package var leaked: UInt64 = 0
  /// Wrong clusters of the file, those behind its end included.
  package var wrong: UInt64 = 0
  /// Subclusters of the disk whose entries are bad.
  package var bad: UInt64 = 0

  package init() {}
}
