// An open image: its header, its tables, and the state that lives from open to close. Each verb has
// a file of its own under `Operations`; this one holds what they share.

package import QcowFormat
package import Storage

/// A qcow2 image on some storage.
///
/// Not safe for use from two threads at once. ``close()`` must be called after writing; an image
/// that is dropped without it is as if the program had crashed: correct, with leaks at most.
package final class Image {
  /// When writes reach the disk.
  package enum CacheMode: Sendable { case writeback, writethrough }
  /// What guest discards do.
  package enum DiscardMode: Sendable { case unmap, ignore }

  /// What happens to write requests that hold nothing but zero bytes.
  package enum DetectZeroes: Sendable {
    case off
    /// They become zero-writes that keep their host clusters.
    case on
    /// They become zero-writes that may free them; needs ``DiscardMode/unmap``.
    case unmap
  }

  /// How an image is opened.
  package struct Options {
    /// The image is opened for changes.
    package var writable = false
    /// With writethrough every write request ends with a flush.
    package var cache = CacheMode.writethrough
    /// What becomes of discards.
    package var discard = DiscardMode.unmap
    /// Which frees give their bytes back to the host.
    package var passDiscardRequest = true
    /// Clusters that a snapshot loses are given back to the host.
    package var passDiscardSnapshot = true
    /// Other clusters that are freed are given back to the host.
    package var passDiscardOther = false
    /// Discards and unmapping zero-writes keep the host cluster mapped, whatever the policy.
    package var discardNoUnref = false
    /// Who may change where clusters lie, and what discards do.
    package var policies = Policies()
    /// Bytes of memory for L2 tables; the default is enough for the disk, 32 MiB at most.
    package var l2CacheSize: UInt64?
    /// Bytes of an L2 slice. Requests are never handled across a slice boundary in one step, so
    /// this changes where clusters go.
    package var l2CacheEntrySize: UInt64?

    /// Postpone refcounts while the dirty bit is set; the default is what the image asks for.
    package var lazyRefcounts: Bool?

    /// Damage that is met marks the image in its header; without it requests only fail.
    package var marksCorruption = true
    /// An image that was not closed cleanly is repaired when it is opened for writing; without it
    /// such an image is only read.
    package var repairsDirty = true
    /// Takes what such a repair finds and does.
    package var tellsRepair: ((RepairStep) -> Void)?
    /// For looking only: snapshots and bitmaps that cannot be read are left out
    /// (``Image/damagedParts``) instead of keeping the image shut.
    package var leavesOutDamage = false
    /// Which tables a write is kept away from.
    package var overlapChecks = OverlapChecks.cached
    /// The passphrase of an encrypted image. Without it everything but the guest's data can be read.
    /// An open image keeps only what it made of it.
    package var secret: Secret?

    /// The layer below, opened by the caller; without it a named backing file stays closed.
    package var backing: (any GuestLayer)?
    /// The image stands for itself, whatever backing file it names.
    package var standsAlone = false
    /// The external data file, opened by the caller; without it only the tables can be read.
    package var dataFile: (any Storage)?
    /// Opens both by their names in the image, if they are not given.
    package var layers: (any LayerOpener)?
    /// What a write request of zero bytes becomes.
    package var detectZeroes = DetectZeroes.off

    package init() {}
  }

  /// What was left out when the image was opened, and why, as "the snapshot table: ...".
  package let damagedParts: [String]
  /// The image file.
  package let storage: any Storage
  /// Where guest data lies: ``storage``, or the external data file; nil if that is not open.
  package let dataStorage: (any Storage)?
  /// What it was opened with.
  package let options: Options
  /// Who may change the mapping now.
  package internal(set) var policy = MappingPolicy.qemu
  /// What discards act on.
  package var discardGranularity = DiscardGranularity.cluster
  /// What discarded ranges show.
  package var discardReads = DiscardReads.zero
  /// The shift that all clusters were found to have, for a pinned policy that the image does not ask for.
  var measuredPin: PinExtension?
  /// The size that the disk is about to have, while it grows.
  var plannedSize: UInt64 = 0
  /// Header and tables, and the only way to change them in the file.
  let tables: TableWriter
  /// The header as it is in the file.
  package var header: Header { tables.header }
  /// Its extensions.
  package var extensions: HeaderExtensions { tables.extensions }
  /// The name of the backing file as the image has it.
  package var backingFileName: String? { tables.backingFileName }
  /// A layer below answers where this image says nothing.
  var hasBacking: Bool { backingFileName != nil && !options.standsAlone }
  /// Cluster size and what follows from it.
  package var geometry: Geometry { tables.geometry }
  /// The internal snapshots in the order of their table.
  package var snapshots: [SnapshotEntry] { tables.snapshots }
  /// The layer that answers where this image says nothing.
  package private(set) var backing: (any GuestLayer)?
  /// Why the image is not written although that was asked for; nil if it may be.
  package internal(set) var readOnlyReason: String?

  var l1: [UInt64] { tables.l1 }
  var refcountTable: [UInt64] { tables.refcountTable }
  var l2Cache: TableCache
  var refcountCache: TableCache
  var codec: RefcountCodec

  /// Decrypts and encrypts guest data; nil for images that are not encrypted or not unlocked.
  let dataCipher: DataCipher?

  /// The guest's data can be read: it is not encrypted, or the passphrase was given.
  package var isUnlocked: Bool { header.cryptMethod == 0 || dataCipher != nil }

  /// Where the search for free clusters begins.
  var cursor: UInt64 = 0
  /// Where the next compressed cluster may go; 0 for nowhere.
  var byteCursor: UInt64 = 0
  /// Frees that wait to be given back to the host.
  var discardQueue: [Range<UInt64>] = []
  var collectsDiscards = false
  /// Damage was met and the image marked: no request is served any more.
  var isOutOfService = false
  var hasToldCorruption = false
  /// Takes lines about damage, complete sentences.
  package var report: ((String) -> Void)?
  /// One cluster of decompressed bytes and where it came from. It goes with the next change of the
  /// tables, because the place may be given to another stream from then on.
  var decompressed: (extent: CompressedExtent, bytes: [UInt8])?

  package var isWritable: Bool { options.writable && readOnlyReason == nil && storage.isWritable }
  /// Guest data lies in a file of its own, at its guest offset.
  package var hasExternalData: Bool { header.incompatible.contains(.externalDataFile) }

  /// Opens an image, checking everything that can be checked without reading all tables.
  ///
  /// - Throws: ``ImageError`` for bytes that are no image, damage, a layer that cannot be opened, and a wrong
  ///   passphrase.
  package init(_ storage: any Storage, options: Options = Options()) throws(ImageError) {
    self.storage = storage
    var kept = options
    kept.secret = nil
    kept.tellsRepair = nil
    self.options = kept
    var opened = try OpenedTables(
      storage, writable: options.writable, leavesOutDamage: options.leavesOutDamage && !options.writable)
    damagedParts = opened.damagedParts
    if options.writable && options.repairsDirty && storage.isWritable && opened.canBeRepaired {
      try ImageRepair(storage, options.tellsRepair).clearDirty()
      opened = try OpenedTables(storage, writable: true)
    }
    tables = TableWriter(storage, opened, checks: options.overlapChecks)
    codec = RefcountCodec(order: opened.header.geometry.refcountOrder)
    let isExternal = opened.header.incompatible.contains(.externalDataFile)
    dataStorage = isExternal ? try options.dataFile(of: opened, storage.name) : storage
    (l2Cache, refcountCache) = try Self.makeCaches(tables, options)
    if isExternal { l2Cache.dataFile = dataStorage }
    if let secret = options.secret, opened.header.cryptMethod != 0 {
      dataCipher = try DataCipher(opened, storage, secret)
    } else {
      dataCipher = nil
    }
    backing = try options.backing(of: opened, storage.name)
    readOnlyReason =
      options.writable
      ? opened.unsupportedForWriting(backing, dataStorage, dataCipher, standsAlone: options.standsAlone) : nil
    if !isExternal && options.dataFile != nil {
      throw ImageError(.option, "'data-file' can only be set for images with an external data file")
    }
    if options.lazyRefcounts == true && header.version < 3 {
      throw ImageError(
        .option, "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level")
    }
    if options.discardNoUnref && header.version < 3 {
      throw ImageError(.option, "discard-no-unref is only supported since qcow2 version 3")
    }
    discardGranularity = options.policies.discardGranularity
    discardReads = options.policies.discardReads
    try choosePolicy(options.policies.mapping)
    let known = pin == nil ? AutoclearFeatures.known : [.known, .pinned]
    if isWritable && !header.autoclear.subtracting(known).isEmpty {
      try tables.rewriteHeader { $0.header.autoclear.formIntersection(known) }
    }
  }

  private static func makeCaches(
    _ tables: TableWriter, _ options: Options
  ) throws(ImageError) -> (l2: TableCache, refcounts: TableCache) {
    let geometry = tables.geometry
    let clusterSize = geometry.clusterSize
    // All L2 tables of the disk, whole ones.
    let wanted = max(1, geometry.l1Entries(for: geometry.virtualSize)).multipliedReportingOverflow(
      by: clusterSize)
    let everything = wanted.overflow ? UInt64.max : wanted.partialValue
    let size = min(options.l2CacheSize ?? 32 << 20, max(everything, 2 * clusterSize))
    var entry = options.l2CacheEntrySize ?? (size < everything ? min(clusterSize, 4096) : clusterSize)
    if options.l2CacheEntrySize != nil {
      guard entry >= 512, entry <= clusterSize, entry & (entry - 1) == 0 else {
        throw ImageError(
          .option,
          "L2 cache entry size must be a power of two between 512 and the cluster size (\(clusterSize))")
      }
    }
    entry = min(entry, clusterSize)
    let l2 = TableCache(
      tables, structure: .l2Table, tableSize: Int(entry), capacity: Int(clamping: max(2, size / entry)))
    let refcounts = TableCache(
      tables, structure: .refcountBlock, tableSize: Int(clusterSize),
      capacity: Int(max(4, (1 << 20) / clusterSize)))
    return (l2, refcounts)
  }

  /// Allocator state that lives from open to close and decides where the next clusters go.
  package struct SessionState: Equatable, Sendable {
    var cursor: UInt64 = 0
    var byteCursor: UInt64 = 0
  }

  /// What changes with the image and is not in its file.
  package var session: SessionState {
    get { SessionState(cursor: cursor, byteCursor: byteCursor) }
    set {
      cursor = newValue.cursor
      byteCursor = newValue.byteCursor
    }
  }

  /// Drops every cache and reads header and tables again, as after an undo in the storage below.
  ///
  /// - Throws: ``ImageError`` for a file that is no sound image any more.
  package func reload() throws(ImageError) {
    l2Cache.dropAll()
    refcountCache.dropAll()
    discardQueue = []
    decompressed = nil
    let opened = try OpenedTables(
      storage, writable: options.writable, leavesOutDamage: options.leavesOutDamage && !options.writable)
    tables.adopt(opened)
    try rebuildCaches()
    if policy == .pinned && pin == nil { policy = .qemu }
    session = SessionState()
  }

  /// Replaces both caches by empty ones of the sizes that fit the disk.
  func rebuildCaches() throws(ImageError) {
    (l2Cache, refcountCache) = try Self.makeCaches(tables, options)
    if hasExternalData { l2Cache.dataFile = dataStorage }
  }

  /// Brings all changed tables to disk in a safe order. While the dirty bit is set refcounts wait.
  ///
  /// - Throws: ``ImageError`` if the host could not keep the bytes.
  package func flush() throws(ImageError) {
    guard isWritable && !isOutOfService else { return }
    try guarded { () throws(ImageError) in
      try l2Cache.write()
      if !isDirty { try refcountCache.write() }
      try flushStorage()
    }
  }

  /// Waits until all that was written is on disk, guest data included.
  func flushStorage() throws(ImageError) {
    try io { () throws(StorageError) in
      if hasExternalData, let dataStorage { try dataStorage.flush() }
      try storage.flush()
    }
  }

  /// Where guest data lies, for reading or writing it.
  func openData() throws(ImageError) -> any Storage {
    if let dataStorage { return dataStorage }
    throw ImageError(
      .storage,
      "the data is in the external data file '\(extensions.dataFileName ?? "")', which is not open")
  }

  /// Flushes, and clears the dirty bit if this session set it. The image must not be used
  /// afterwards.
  ///
  /// - Throws: ``ImageError`` if the host could not keep the bytes.
  package func close() throws(ImageError) {
    guard isWritable && !isOutOfService else { return }
    try guarded { () throws(ImageError) in
      try l2Cache.flush()
      try refcountCache.flush()
    }
    guard isDirty else { return }
    try tables.rewriteHeader { $0.header.incompatible.remove(.dirty) }
    try tables.flush()
  }

  // MARK: Lazy refcounts

  /// Refcounts on disk may be too low, and the header says so.
  var isDirty: Bool { header.incompatible.contains(.dirty) }

  /// With lazy refcounts, says in the header that refcounts will lag behind, before they do.
  func announceLazyRefcounts() throws(ImageError) {
    guard options.lazyRefcounts ?? header.compatible.contains(.lazyRefcounts), header.version >= 3, !isDirty
    else {
      return
    }
    try tables.setIncompatible(header.incompatible.union(.dirty), .lazyRefcounts)
  }

  // MARK: Helpers of the operations

  /// Runs calls on the storage and turns their errors into those of the engine.
  func io<T>(_ body: () throws(StorageError) -> T) throws(ImageError) -> T {
    do throws(StorageError) { return try body() } catch { throw ImageError(error) }
  }

  func requireWritable() throws(ImageError) {
    guard !isWritable else { return }
    throw ImageError(.readOnly, readOnlyReason ?? "the image is open read-only")
  }

  func requireOnDisk(_ guest: GuestOffset, _ count: UInt64) throws(ImageError) {
    let (end, overflow) = guest.value.addingReportingOverflow(count)
    guard !overflow, end <= geometry.virtualSize else {
      throw ImageError(
        .invalidRequest,
        "the request of \(count) bytes at guest offset \(hex(guest.value)) reaches behind the end of the disk (\(geometry.virtualSize) bytes)"
      )
    }
  }
}

/// A number as messages write addresses; zero has no prefix.
func hex(_ value: UInt64) -> String { value == 0 ? "0" : "0x" + String(value, radix: 16) }
