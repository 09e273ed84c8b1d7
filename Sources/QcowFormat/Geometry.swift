// The one owner of shifts and masks: everything that follows from cluster size, entry size,
// refcount width and virtual size. No other place computes an index or a mask of its own. What other modules
// compute for every entry of a table is inlinable: a call would cost more than the shift.

/// The sizes of an image and what follows from them.
public struct Geometry: Equatable, Sendable {
  /// Cluster size as a power of two, 9 to 21.
  public let clusterBits: Int
  /// 16-byte L2 entries with a bitmap of 32 subclusters.
  public let hasExtendedL2: Bool
  /// Refcount width as a power of two, 0 to 6.
  public let refcountOrder: Int
  /// Bytes of the virtual disk, a multiple of 512.
  public let virtualSize: UInt64
  /// Guest data lies in an external data file, where host offset 0 is a place like any other.
  public let hasExternalData: Bool

  /// The caller has checked the ranges; a header that was parsed has them right.
  package init(
    clusterBits: Int, hasExtendedL2: Bool = false, refcountOrder: Int = 4, virtualSize: UInt64,
    hasExternalData: Bool = false
  ) {
    self.clusterBits = clusterBits
    self.hasExtendedL2 = hasExtendedL2
    self.refcountOrder = refcountOrder
    self.virtualSize = virtualSize
    self.hasExternalData = hasExternalData
  }

  // MARK: Clusters

  /// Bytes of a cluster.
  @inlinable
  package var clusterSize: UInt64 { 1 << UInt64(clusterBits) }
  @inlinable
  package var clusterMask: UInt64 { clusterSize - 1 }
  /// Clusters of the virtual disk, the last one possibly cut by its end.
  @inlinable
  package var clusterCount: UInt64 { clustersCovering(virtualSize) }

  /// Whole clusters that `bytes` need; never overflows.
  @inlinable
  package func clustersCovering(_ bytes: UInt64) -> UInt64 {
    (bytes >> UInt64(clusterBits)) + (bytes & clusterMask == 0 ? 0 : 1)
  }

  /// The start of the cluster that a byte lies in.
  @inlinable
  package func roundDown(_ value: UInt64) -> UInt64 { value & ~clusterMask }
  /// Saturates at the last cluster boundary below 2^64.
  @inlinable
  package func roundUp(_ value: UInt64) -> UInt64 {
    let (sum, overflow) = value.addingReportingOverflow(clusterMask)
    return overflow ? ~clusterMask : sum & ~clusterMask
  }
  /// Whether an offset is the start of a cluster.
  @inlinable
  package func isAligned(_ value: UInt64) -> Bool { value & clusterMask == 0 }

  /// The cluster of the disk that a byte lies in.
  @inlinable
  package func cluster(of offset: GuestOffset) -> GuestCluster {
    GuestCluster(offset.value >> UInt64(clusterBits))
  }
  /// The cluster of the file that a byte lies in.
  @inlinable
  package func cluster(of offset: HostOffset) -> HostCluster {
    HostCluster(offset.value >> UInt64(clusterBits))
  }
  /// The first byte of a cluster of the disk.
  @inlinable
  package func start(of cluster: GuestCluster) -> GuestOffset {
    GuestOffset(cluster.value << UInt64(clusterBits))
  }
  /// The first byte of a cluster of the file.
  @inlinable
  package func start(of cluster: HostCluster) -> HostOffset {
    HostOffset(cluster.value << UInt64(clusterBits))
  }
  /// Bytes of whole clusters.
  @inlinable
  package func bytes(_ count: ClusterCount) -> ByteCount {
    ByteCount(count.value << UInt64(clusterBits))
  }
  /// Bytes of whole clusters.
  @inlinable
  package func byteCount(ofClusters count: UInt64) -> UInt64 { count << UInt64(clusterBits) }
  /// Whole clusters in so many bytes, a remainder not counted.
  @inlinable
  package func wholeClusters(_ bytes: UInt64) -> UInt64 { bytes >> UInt64(clusterBits) }
  /// Host clusters below ``hostOffsetLimit``.
  package var hostClusterLimit: UInt64 { Self.hostOffsetLimit >> UInt64(clusterBits) }
  @inlinable
  package func offsetInCluster(_ value: UInt64) -> UInt64 { value & clusterMask }

  // MARK: Subclusters ("L2 table entry, extended")

  /// 32 with extended L2 entries, 1 without.
  @inlinable
  package var subclustersPerCluster: Int { hasExtendedL2 ? 32 : 1 }
  @inlinable
  package var subclusterBits: Int { hasExtendedL2 ? clusterBits - 5 : clusterBits }
  /// Bytes of a subcluster; the cluster size without extended L2 entries.
  @inlinable
  package var subclusterSize: UInt64 { 1 << UInt64(subclusterBits) }
  @inlinable
  package var subclusterMask: UInt64 { subclusterSize - 1 }
  @inlinable
  package func subcluster(of offset: GuestOffset) -> SubclusterIndex {
    SubclusterIndex(Int(offsetInCluster(offset.value) >> UInt64(subclusterBits)))
  }

  /// Bytes of so many subclusters.
  @inlinable
  package func byteCount(ofSubclusters count: UInt64) -> UInt64 { count << UInt64(subclusterBits) }
  /// Whole subclusters in so many bytes, a remainder not counted.
  @inlinable
  package func wholeSubclusters(_ bytes: UInt64) -> Int { Int(bytes >> UInt64(subclusterBits)) }
  /// Rounds to subcluster boundaries; ``roundUpToSubcluster(_:)`` must not pass 2^64.
  @inlinable
  package func roundDownToSubcluster(_ value: UInt64) -> UInt64 { value & ~subclusterMask }
  @inlinable
  package func roundUpToSubcluster(_ value: UInt64) -> UInt64 {
    (value + subclusterMask) & ~subclusterMask
  }

  // MARK: Mapping tables

  /// Bytes of an L2 entry, 8 or 16.
  @inlinable
  package var l2EntrySize: Int { hasExtendedL2 ? 16 : 8 }
  @inlinable
  package var l2EntryBits: Int { hasExtendedL2 ? 4 : 3 }
  /// Entries of an L2 table as a power of two.
  @inlinable
  package var l2Bits: Int { clusterBits - l2EntryBits }
  @inlinable
  package var l2EntriesPerTable: Int { 1 << l2Bits }
  /// Where an entry lies in its L2 table, in bytes from the start.
  @inlinable
  package func l2EntryOffset(_ index: Int) -> Int { index << l2EntryBits }
  /// Entries of an L2 table, or of a part of one, of so many bytes.
  @inlinable
  package func l2Entries(in bytes: Int) -> Int { bytes >> l2EntryBits }
  /// The L1 entry whose table maps a guest cluster.
  @inlinable
  package func l1Index(of cluster: GuestCluster) -> UInt64 { cluster.value >> UInt64(l2Bits) }
  /// The first guest cluster that the table of an L1 entry maps.
  @inlinable
  package func firstCluster(ofTable l1Index: UInt64) -> GuestCluster {
    GuestCluster(l1Index << UInt64(l2Bits))
  }
  /// Guest bytes one L2 table maps.
  @inlinable
  package var bytesPerL2Table: UInt64 { 1 << UInt64(clusterBits + l2Bits) }
  /// L1 entries that `size` bytes need.
  @inlinable
  package func l1Entries(for size: UInt64) -> UInt64 {
    let shift = UInt64(clusterBits + l2Bits)
    return (size >> shift) + (size & ((1 << shift) - 1) == 0 ? 0 : 1)
  }
  /// Where saved machine state is mapped: at the first L1 entry that the disk does not need. Nil if that is behind
  /// what can be addressed.
  @inlinable
  package var stateStart: GuestOffset? {
    let (start, overflow) = l1Entries(for: virtualSize).multipliedReportingOverflow(by: bytesPerL2Table)
    return overflow ? nil : GuestOffset(start)
  }
  /// The L1 entry that a byte of the disk belongs to; it may lie behind the table.
  @inlinable
  package func l1Index(of offset: GuestOffset) -> Int {
    Int(offset.value >> UInt64(clusterBits + l2Bits))
  }
  /// The entry of its L2 table that a byte of the disk belongs to.
  @inlinable
  package func l2Index(of offset: GuestOffset) -> Int {
    Int((offset.value >> UInt64(clusterBits)) & UInt64(l2EntriesPerTable - 1))
  }
  /// The part of the disk that the table of an L1 entry maps.
  @inlinable
  package func guestRange(l1Index: Int) -> Range<GuestOffset> {
    let shift = UInt64(clusterBits + l2Bits)
    return GuestOffset(UInt64(l1Index) << shift)..<GuestOffset(UInt64(l1Index + 1) << shift)
  }
  /// The part of the disk that an entry maps.
  @inlinable
  package func guestRange(l1Index: Int, l2Index: Int) -> Range<GuestOffset> {
    let start = guestOffset(l1Index: l1Index, l2Index: l2Index)
    return start..<start + clusterSize
  }
  /// Guest position of the cluster that an entry maps.
  @inlinable
  package func guestOffset(l1Index: Int, l2Index: Int) -> GuestOffset {
    GuestOffset(UInt64(l1Index) << UInt64(clusterBits + l2Bits) &+ UInt64(l2Index) << UInt64(clusterBits))
  }

  // MARK: Refcounts

  /// Bits of one refcount, 1 to 64.
  @inlinable
  package var refcountBits: Int { 1 << refcountOrder }
  @inlinable
  package var maximumRefcount: UInt64 {
    refcountOrder == 6 ? .max : (1 << UInt64(refcountBits)) - 1
  }
  /// Refcounts in one refcount block, as a power of two.
  @inlinable
  package var refcountBlockBits: Int { clusterBits + 3 - refcountOrder }
  @inlinable
  package var refcountsPerBlock: UInt64 { 1 << UInt64(refcountBlockBits) }
  /// The entry of the refcount table whose block counts a cluster; it may lie behind the table.
  @inlinable
  package func refcountTableIndex(of cluster: HostCluster) -> Int {
    Int(cluster.value >> UInt64(refcountBlockBits))
  }
  /// The place of a cluster's refcount in its block.
  @inlinable
  package func refcountBlockIndex(of cluster: HostCluster) -> Int {
    Int(cluster.value & (refcountsPerBlock - 1))
  }
  /// The first cluster behind those that the refcount block of `cluster` counts.
  @inlinable
  package func endOfBlock(_ cluster: HostCluster) -> HostCluster {
    HostCluster((cluster.value >> UInt64(refcountBlockBits) + 1) << UInt64(refcountBlockBits))
  }
  /// Where a refcount lies in its block, in bits from the start of the block.
  @inlinable
  package func refcountBitOffset(of cluster: HostCluster) -> Int {
    refcountBlockIndex(of: cluster) << refcountOrder
  }
  /// Bytes that the refcounts of so many clusters in a row take, rounded up.
  @inlinable
  package func refcountBytes(_ count: Int) -> Int { (count << refcountOrder + 7) >> 3 }
  /// The first cluster that a refcount block counts; `index` is that of its entry in the refcount table.
  @inlinable
  package func firstCluster(ofBlock index: Int) -> HostCluster {
    HostCluster(UInt64(index) << UInt64(refcountBlockBits))
  }
  /// 8-byte entries in one cluster of the refcount table or the L1 table.
  @inlinable
  package var tableEntriesPerCluster: UInt64 { clusterSize / 8 }

  // MARK: Compressed clusters ("Compressed cluster descriptor")

  /// Bits 0 ..< x of a compressed descriptor hold the offset, x ..< 62 the sector count.
  @inlinable
  package var compressedOffsetBits: Int { 62 - (clusterBits - 8) }
  /// A compressed descriptor can hold so many sectors.
  @inlinable
  package var compressedSectorLimit: UInt64 { 1 << UInt64(clusterBits - 8) }
  /// Host offsets that a compressed descriptor can hold lie below this.
  @inlinable
  package var compressedOffsetLimit: UInt64 { 1 << UInt64(min(56, compressedOffsetBits)) }

  /// All host offsets lie below 2^56.
  package static let hostOffsetLimit: UInt64 = 1 << 56
}
