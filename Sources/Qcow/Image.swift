// An open image: its header, its tables, and the state that lives from open to close. Requests of
// the guest are under `Guest`, verbs under `Operations`; this one holds what they share.

import QcowFormat
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
    /// The disk is walked once from its start to its end: few parts of L2 tables are kept, and larger ones.
    package var readsInOrder = false

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
    /// Takes what could not be brought to a file with faults when it was closed, complete sentences.
    package var tellsLoss: ((String) -> Void)?
    /// The snapshot table as a repair has read it, where the one in the file keeps the image shut.
    package var snapshots: SnapshotTable?
    /// Which tables a write is kept away from.
    package var overlapChecks = OverlapChecks.cached
    /// The passphrase of an encrypted image. Without it everything but the guest's data can be read.
    /// An open image keeps only what it made of it.
    package var secret: Secret?
    /// What an open image has made of it already.
    var cipher: DataCipher?

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
  /// Header and tables, and the only way to change them in the file.
  let tables: TableWriter
  let l2: L2Tables
  let refcounts: RefcountBlocks
  let rules: MappingRules
  let health: Health
  let reader: GuestReader
  private let tellsLoss: ((String) -> Void)?
  /// Changes tables and guest data; nil for an image that is only read.
  private let writer: GuestWriter?
  /// Why the image is not written although that was asked for; nil if it may be.
  package private(set) var readOnlyReason: String?
  /// Guest data lies in a file of its own, at its guest offset.
  package let hasExternalData: Bool
  /// Hears how much of a long change is done, 0 ... 1.
  package var hearsProgress: ((Double) -> Void)?

  package var isWritable: Bool { writer != nil && readOnlyReason == nil && storage.isWritable }

  /// Opens an image, checking everything that can be checked without reading all tables.
  ///
  /// - Throws: ``ImageError/Code/format(_:)`` for what is no image that this program can open,
  ///   ``ImageError/Code/corrupt`` for damage that keeps it shut, ``ImageError/Code/option`` for options that
  ///   do not fit it, ``ImageError/Code/encrypted`` for a wrong passphrase, and what the host says.
  package init(_ storage: any Storage, options: Options = Options()) throws(ImageError) {
    self.storage = storage
    tellsLoss = storage.followsMoments ? options.tellsLoss : nil
    var kept = options
    kept.secret = nil
    kept.cipher = nil
    kept.tellsRepair = nil
    kept.tellsLoss = nil
    kept.snapshots = nil
    self.options = kept
    var opened = try OpenedTables(
      storage, writable: options.writable, leavesOutDamage: options.leavesOutDamage && !options.writable,
      snapshots: options.snapshots)
    damagedParts = opened.damagedParts
    if options.writable && options.repairsDirty && storage.isWritable && opened.canBeRepaired {
      try ImageRepair(storage, options.tellsRepair).clearDirty()
      opened = try OpenedTables(storage, writable: true)
    }
    if opened.extensions.hasStaleBitmaps { options.tellsRepair?(.staleBitmaps) }
    hasExternalData = opened.header.incompatible.contains(.externalDataFile)
    dataStorage = hasExternalData ? try options.dataFile(of: opened, storage.name) : storage
    let dataFile = hasExternalData ? dataStorage : nil
    tables = TableWriter(storage, opened, checks: options.overlapChecks)
    let caches = try TableCaches(tables, options, dataFile: dataFile)
    l2 = L2Tables(tables, caches.l2, hasExternalData: hasExternalData)
    refcounts = RefcountBlocks(tables, caches.refcounts)
    rules = MappingRules(tables, kept, hasExternalData: hasExternalData)
    let made = try options.secret.flatMap { (secret) throws(ImageError) -> DataCipher? in
      opened.header.cryptMethod == 0 ? nil : try DataCipher(opened, storage, secret)
    }
    let cipher = options.cipher ?? made
    let backing = try options.backing(of: opened, storage.name)
    let reason =
      options.writable
      ? opened.unsupportedForWriting(backing, dataStorage, cipher, standsAlone: options.standsAlone) : nil
    readOnlyReason = reason
    health = Health(
      tables, dataFile: dataFile,
      marksDamage: options.writable && reason == nil && storage.isWritable && options.marksCorruption)
    let streams = StreamReader(tables)
    reader = GuestReader(l2, data: dataStorage, cipher, rules, backing: backing, streams)
    writer =
      options.writable && storage.isWritable
      ? GuestWriter(reader, Self.makeEditor(l2, refcounts, rules, health, kept, streams), kept) : nil
    if !hasExternalData && options.dataFile != nil {
      throw ImageError(.option, "'data-file' can only be set for images with an external data file")
    }
    if options.lazyRefcounts == true && opened.header.version < 3 {
      throw ImageError(
        .option, "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level")
    }
    if options.discardNoUnref && opened.header.version < 3 {
      throw ImageError(.option, "discard-no-unref is only supported since qcow2 version 3")
    }
    try pinning.choosePolicy(options.policies.mapping)
    guard isWritable else { return }
    writer?.bitmaps = try PersistentBitmaps(opened, storage)
    // Bits that were set by who knows more go; so do bitmaps that were not kept up to date.
    let known = pin == nil ? AutoclearFeatures.known : [.known, .pinned]
    if extensions.hasStaleBitmaps || !header.autoclear.subtracting(known).isEmpty {
      try tables.rewriteHeader {
        $0.header.autoclear.formIntersection(known)
        $0.extensions.hasStaleBitmaps = false
      }
    }
  }

  private static func makeEditor(
    _ l2: L2Tables, _ refcounts: RefcountBlocks, _ rules: MappingRules, _ health: Health,
    _ options: Options, _ streams: StreamReader
  ) -> TableEditor {
    let discards = DiscardQueue(l2.tables.storage, options, rules)
    return TableEditor(l2, Allocator(refcounts, l2, rules, health, discards), rules, options, streams)
  }

  /// Changes tables; an image that is only read gets one that nobody may use but to plan.
  var editor: TableEditor {
    writer?.editor ?? Self.makeEditor(l2, refcounts, rules, health, options, reader.streams)
  }

  /// What changes the image. Throws ``ImageError/Code/readOnly`` if it may not be changed.
  func changing() throws(ImageError) -> GuestWriter {
    guard isWritable, let writer else {
      throw ImageError(.readOnly, readOnlyReason ?? "the image is open read-only")
    }
    return writer
  }

  /// See ``ImageSessionState``.
  package typealias SessionState = ImageSessionState

  /// What changes with the image and is not in its file.
  package var session: SessionState {
    get {
      guard let writer else { return SessionState(backing: LayerReference(backing)) }
      return SessionState(
        cursor: writer.allocator.cursor, byteCursor: writer.allocator.byteCursor, bitmaps: writer.bitmaps,
        backing: LayerReference(backing))
    }
    set {
      reader.read(through: newValue.backing.layer)
      writer?.allocator.cursor = newValue.cursor
      writer?.allocator.byteCursor = newValue.byteCursor
      writer?.bitmaps = newValue.bitmaps
    }
  }

  /// Drops every cache and reads header and tables again, as after an undo in the storage below; a repair
  /// brings its own idea of the `snapshots`.
  ///
  /// - Throws: As ``init(_:options:)``.
  package func reload(snapshots: SnapshotTable? = nil) throws(ImageError) {
    l2.cache.dropAll()
    refcounts.cache.dropAll()
    writer?.allocator.discards.forget()
    reader.streams.forget()
    let opened = try OpenedTables(
      storage, writable: options.writable, leavesOutDamage: options.leavesOutDamage && !options.writable,
      snapshots: snapshots)
    tables.adopt(opened)
    readOnlyReason =
      options.writable
      ? opened.unsupportedForWriting(backing, dataStorage, reader.cipher, standsAlone: options.standsAlone)
      : nil
    let caches = try TableCaches(tables, options, dataFile: l2.cache.dataFile)
    l2.replaceCache(by: caches.l2)
    refcounts.replaceCache(by: caches.refcounts)
    if policy == .pinned && pin == nil { rules.policy = .qemu }
    session = SessionState(
      bitmaps: isWritable ? try PersistentBitmaps(opened, storage) : nil,
      backing: LayerReference(backing))
  }

  /// Brings all changed tables to disk in a safe order. While the dirty bit is set refcounts wait.
  ///
  /// - Throws: ``ImageError/Code/overlap`` for a table that is something else, and what the host says.
  package func flush() throws(ImageError) {
    if isWritable { try writer?.editor.flush() }
  }

  /// Flushes, and clears the dirty bit if this session set it. The image must not be used afterwards.
  ///
  /// - Throws: As ``flush()``.
  package func close() throws(ImageError) {
    guard isWritable, !health.isOutOfService, let writer else { return }
    try Closing.run(self, writer, tellsLoss)
  }
}

/// A number as messages write addresses; zero has no prefix.
func hex(_ value: UInt64) -> String { value == 0 ? "0" : "0x" + String(value, radix: 16) }
