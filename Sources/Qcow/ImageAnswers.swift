// What an open image says of itself without changing anything: header, tables, where the guest's bytes are.

package import QcowFormat
import Storage

extension Image {
  /// The header as it is in the file.
  package var header: Header { tables.header }
  /// The header extensions.
  package var extensions: HeaderExtensions { tables.extensions }
  /// The backing file as the header names it.
  package var backingFileName: String? { tables.backingFileName }
  /// The sizes that follow from the header.
  package var geometry: Geometry { tables.geometry }
  /// The internal snapshots, in the order of their table.
  package var snapshots: [SnapshotEntry] { tables.snapshots }
  /// The layer that answers where this image says nothing.
  package var backing: (any GuestLayer)? { reader.backing }
  /// The guest's data can be read: it is not encrypted, or the passphrase was given.
  package var isUnlocked: Bool { header.cryptMethod == 0 || reader.cipher != nil }

  /// Takes lines about damage, complete sentences.
  package var report: ((String) -> Void)? {
    get { health.report }
    set { health.report = newValue }
  }

  // MARK: Policies

  /// Who may change the mapping now.
  package var policy: MappingPolicy { rules.policy }
  /// The smallest part of a cluster that a discard acts on.
  package var discardGranularity: DiscardGranularity {
    get { rules.discardGranularity }
    set { rules.discardGranularity = newValue }
  }
  /// What discarded subclusters read as.
  package var discardReads: DiscardReads {
    get { rules.discardReads }
    set { rules.discardReads = newValue }
  }
  /// Host clusters that belong to guest clusters; nil if nothing is pinned.
  package var pinnedClusters: Range<HostCluster>? { rules.pinnedClusters }
  /// What the image says of its mapping.
  package var pinState: PinState { pinning.state }
  /// Where the clusters have their places: as the image says, or as it was found to be mapped.
  package var pin: PinExtension? { rules.pin }
  var pinning: Pinning { Pinning(rules, l2, refcounts) }

  /// Changes who may change the mapping; nil for what the image asks for.
  ///
  /// - Throws: ``ImageError/Code/option`` if the image cannot have it, and as ``places(shift:)``.
  package func choosePolicy(_ wanted: MappingPolicy?) throws(ImageError) {
    try pinning.choosePolicy(wanted)
  }

  /// Looks at all clusters of a pinned image, or of one that could be pinned. Writes nothing.
  ///
  /// - Throws: ``ImageError/Code/option`` if it could not, and as ``places(shift:)``.
  package func checkPin() throws(ImageError) -> PlacesReport { try pinning.knownOrMeasured().report }

  /// Compares where every cluster is with where it would be at guest + `shift`.
  ///
  /// - Throws: ``ImageError/Code/corrupt`` for tables that cannot be followed, and what the host says.
  package func places(shift: ByteCount) throws(ImageError) -> PlacesReport {
    try pinning.places(shift: shift)
  }

  // MARK: Tables

  /// Entries of the active L1 table.
  package var l1Count: Int { tables.l1.count }

  /// An entry of the active L1 table; an empty one outside of it.
  package func l1Entry(_ index: Int) -> L1Entry {
    L1Entry(raw: tables.l1.indices.contains(index) ? tables.l1[index] : 0)
  }

  /// Clusters' worth of entries of the refcount table.
  package var refcountTableCount: Int { tables.refcountTable.count }

  /// An entry of the refcount table; an empty one outside of it.
  package func refcountTableEntry(_ index: Int) -> RefcountTableEntry {
    RefcountTableEntry(raw: tables.refcountTable.indices.contains(index) ? tables.refcountTable[index] : 0)
  }

  /// The entry that maps the cluster at `guest`; empty without an L2 table.
  ///
  /// - Throws: ``ImageError/Code/corrupt`` for a misplaced table, and what the host says.
  package func l2Entry(at guest: GuestOffset) throws(ImageError) -> L2Entry { try l2.entry(at: guest) }

  /// The L2 table of an L1 entry as it is now, a cluster of bytes; nil if there is none.
  ///
  /// - Throws: As ``l2Entry(at:)``.
  package func l2TableBytes(l1Index: Int) throws(ImageError) -> [UInt8]? { try l2.bytes(l1Index: l1Index) }

  /// How many users a host cluster has; 0 where no refcount block is.
  ///
  /// - Throws: ``ImageError/Code/corrupt`` for a misplaced block, and what the host says.
  package func refcount(of cluster: HostCluster) throws(ImageError) -> UInt64 {
    try refcounts.count(of: cluster)
  }

  /// The L1 table of a snapshot, its place and size checked.
  ///
  /// - Throws: ``ImageError/Code/corrupt`` for an impossible one, and what the host says.
  package func readL1(of snapshot: SnapshotEntry) throws(ImageError) -> [UInt64] {
    try tables.readL1(of: snapshot)
  }

  // MARK: Guest bytes

  /// The run of equal state that starts at `guest`: at most `limit` bytes, never across the end of the disk.
  /// Runs with a host place are contiguous there.
  ///
  /// Runs may be shorter than they could be: they end at the boundaries of L2 slices.
  ///
  /// - Throws: ``ImageError/Code/invalidRequest`` behind the end of the disk, ``ImageError/Code/corrupt`` for
  ///   an entry that cannot be used, and what the host says.
  package func mapping(at guest: GuestOffset, limit: ByteCount) throws(ImageError) -> Mapping {
    try requireOnDisk(guest, 0)
    return try l2.run(at: guest, limit: min(limit, ByteCount(geometry.virtualSize - guest.value)))
  }

  /// Reads guest bytes; the whole range must lie on the disk.
  ///
  /// - Throws: ``ImageError/Code/invalidRequest`` if it does not, and as ``GuestReader/read(at:into:)``.
  package func read(at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) {
    try requireOnDisk(guest, ByteCount(buffer.count))
    try health.guarded { () throws(ImageError) in unsafe try reader.read(at: guest, into: buffer) }
  }

  func requireOnDisk(_ guest: GuestOffset, _ count: ByteCount) throws(ImageError) {
    let (end, overflow) = guest.value.addingReportingOverflow(count.value)
    guard !overflow, end <= geometry.virtualSize else {
      throw ImageError(
        .invalidRequest,
        "the request of \(count.value) bytes at guest offset \(hex(guest.value)) reaches behind the end of the disk (\(geometry.virtualSize) bytes)"
      )
    }
  }
}
