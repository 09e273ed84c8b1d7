// Reading what an open needs: header, extensions, L1, refcount table, snapshot table, with every
// check in the order in which users of QEMU see the messages.

import QcowFormat
import Storage

/// Header and tables as read from an image.
struct OpenedTables {
  var header: Header
  var extensions: HeaderExtensions
  var backingFileName: String?
  var l1: [UInt64]
  var refcountTable: [UInt64]
  var snapshots: SnapshotTable
  /// What was left out although the header names it, and why.
  var damagedParts: [String] = []

  /// With `forCheck` the checks are left out that a check of the image makes itself, and the
  /// snapshot table is not read. With `leavesOutDamage` snapshots and bitmaps that cannot be read are left
  /// out: the disk itself can be looked at without them. A repair brings its own idea of the `snapshots`.
  init(
    _ storage: any Storage, writable: Bool, forCheck: Bool = false, leavesOutDamage: Bool = false,
    snapshots known: SnapshotTable? = nil
  ) throws(ImageError) {
    header = try Self.readHeader(storage)
    let area = try Self.extensionArea(storage, header)
    // The check's own opening does without the snapshot table.
    try Self.check(
      header, area, writable: writable, forCheck: forCheck || leavesOutDamage || known != nil)
    storage.willRead(at: header.l1TableOffset, count: UInt64(header.l1Size) * 8)
    storage.willRead(
      at: header.refcountTableOffset,
      count: UInt64(header.refcountTableClusters) &* header.geometry.clusterSize)
    if header.snapshotCount > 0 {
      storage.willRead(at: header.snapshotsOffset, count: header.geometry.clusterSize)
    }
    let l1 = try Self.words(
      storage, HostOffset(header.l1TableOffset), Int(header.l1Size), "Could not read L1 table")
    self.l1 = l1
    storage.reach(Moment.reftableLoad.rawValue)
    let refcountTable = try Self.words(
      storage, HostOffset(header.refcountTableOffset),
      Int(UInt64(header.refcountTableClusters) * header.geometry.tableEntriesPerCluster),
      "Could not initialize refcount handling")
    self.refcountTable = refcountTable
    let clusterSize = header.geometry.clusterSize
    storage.willRead(.mapping, size: clusterSize) { l1.map { $0 & L1Entry.offsetMask } }
    storage.willRead(.references, size: clusterSize) {
      refcountTable.map { RefcountTableEntry(raw: $0).block?.value ?? 0 }
    }
    do throws(ImageError) { extensions = try Self.readExtensions(area, header) } catch {
      guard leavesOutDamage, error.code == .format(.invalidBitmapsExtension) else { throw error }
      damagedParts.append("the bitmaps: " + error.description)
      var without = header
      without.autoclear.remove(.bitmaps)
      extensions = try Self.readExtensions(area, without)
    }
    backingFileName = try Self.backingName(storage, header)
    do throws(ImageError) {
      if let known {
        snapshots = known
      } else if forCheck {
        snapshots = SnapshotTable()
      } else {
        snapshots = try Self.readSnapshots(storage, header, checksPlace: leavesOutDamage)
      }
    } catch {
      guard leavesOutDamage else { throw error }
      damagedParts.append("the snapshot table: " + error.description)
      snapshots = SnapshotTable()
    }
  }

  /// Refcounts lag behind and can be set right.
  var canBeRepaired: Bool {
    header.incompatible.contains(.dirty)
  }

  /// Why this program will not write such an image; nil if it may.
  func unsupportedForWriting(
    _ backing: (any GuestLayer)?, _ data: (any Storage)?, _ cipher: DataCipher?, standsAlone: Bool
  ) -> String? {
    if backingFileName != nil && backing == nil && !standsAlone {
      return "the image has a backing file, which is not open; a write could need its bytes"
    }
    var layer = backing
    while let this = layer {
      if this.isMissing {
        return "the layer '\(this.layerName)' below the image is missing; a write could need its bytes"
      }
      layer = this.layerBelow
    }
    if let refusal = DataCipher.refusal(header, cipher) { return refusal }
    guard let data else { return "the image has an external data file, which is not open" }
    guard data.isWritable else { return "the external data file is only open for reading" }
    if header.incompatible.contains(.dirty) {
      return "the image was not closed cleanly: its refcounts may be too low, and a write could land on data"
    }
    return nil
  }

  private static func read(
    _ storage: any Storage, _ offset: HostOffset, _ count: Int, _ failure: String
  ) throws(ImageError) -> [UInt8] {
    do throws(StorageError) { return try storage.bytes(at: offset.value, count: count) } catch {
      throw ImageError(error, failure)
    }
  }

  private static func format<T>(_ body: () throws(FormatError) -> T) throws(ImageError) -> T {
    do throws(FormatError) { return try body() } catch { throw ImageError(error) }
  }

  private static func readHeader(_ storage: any Storage) throws(ImageError) -> Header {
    let first = try read(storage, HostOffset(0), Header.version3Length, "Could not read qcow2 header")
    let header = try format { () throws(FormatError) in try Header(parsing: first) }
    guard Int(header.headerLength) > Header.version3Length else { return header }
    // Unknown fields behind the known ones are kept; the length has been checked against the cluster.
    let all = try read(
      storage, HostOffset(0), Int(header.headerLength), "Could not read unknown header fields")
    return try format { () throws(FormatError) in try Header(parsing: all) }
  }

  /// The bytes between the header and the backing file name or the end of cluster 0.
  private static func extensionArea(_ storage: any Storage, _ header: Header) throws(ImageError) -> [UInt8] {
    guard header.extensionsStart < header.extensionsEnd else { return [] }
    return try read(
      storage, HostOffset(header.extensionsStart), Int(header.extensionsEnd - header.extensionsStart),
      "Could not read the header extensions")
  }

  private static func check(_ header: Header, _ area: [UInt8], writable: Bool, forCheck: Bool)
    throws(ImageError)
  {
    try format { () throws(FormatError) in
      try header.checkCompression()
      try header.checkIncompatible(names: HeaderExtensions.names(in: area))
    }
    if writable && !forCheck && header.incompatible.contains(.corrupt) {
      throw ImageError(
        .corrupt, "qcow2: Image is corrupt; cannot be opened read/write", at: .header, HostOffset(0))
    }
    try format { () throws(FormatError) in try header.checkTables(forCheck: forCheck) }
    guard header.cryptMethod <= 2 else {
      throw ImageError(
        .format(.unsupportedEncryption), "Unsupported encryption method \(header.cryptMethod)")
    }
  }

  private static func readExtensions(_ area: [UInt8], _ header: Header) throws(ImageError) -> HeaderExtensions
  {
    let extensions = try format { () throws(FormatError) in
      try HeaderExtensions(parsing: area, header: header)
    }
    if header.autoclear.contains(.rawExternalData) && !header.incompatible.contains(.externalDataFile) {
      throw ImageError(.format(.rawDataFileWithoutDataFile), "data-file-raw requires a data file")
    }
    if header.cryptMethod == 2 && extensions.encryption == nil {
      throw ImageError(.format(.missingEncryptionHeader), "Missing CRYPTO header for crypt method 2")
    }
    return extensions
  }

  private static func backingName(_ storage: any Storage, _ header: Header) throws(ImageError) -> String? {
    guard header.backingFileOffset != 0 else { return nil }
    let room = header.geometry.clusterSize - header.backingFileOffset
    guard UInt64(header.backingFileSize) <= min(1023, room) else {
      throw ImageError(.format(.backingNameTooLong), "Backing file name too long")
    }
    let bytes = try read(
      storage, HostOffset(header.backingFileOffset), Int(header.backingFileSize),
      "Could not read backing file name")
    // For QEMU a zero byte ends the name, and an empty one is none.
    let name = bytes.prefix { $0 != 0 }
    return name.isEmpty ? nil : ByteText.text(name)
  }

  /// Big-endian words of a table; the caller has bounded `count`.
  private static func words(
    _ storage: any Storage, _ offset: HostOffset, _ count: Int, _ failure: String
  ) throws(ImageError) -> [UInt64] {
    guard count > 0 else { return [] }
    var table = [UInt64](repeating: 0, count: count)
    var problem: StorageError?
    unsafe table.withUnsafeMutableBytes { buffer in
      do throws(StorageError) { try unsafe storage.read(at: offset.value, into: buffer) } catch {
        problem = error
      }
    }
    if let problem { throw ImageError(problem, failure) }
    for i in table.indices { table[i] = UInt64(bigEndian: table[i]) }
    return table
  }

  private static func readSnapshots(
    _ storage: any Storage, _ header: Header, checksPlace: Bool
  ) throws(ImageError) -> SnapshotTable {
    if checksPlace { try format { () throws(FormatError) in try header.checkSnapshotTable() } }
    var result = SnapshotTable()
    let table = HostOffset(header.snapshotsOffset)
    var offset = table
    for index in 0..<Int(header.snapshotCount) {
      // Entries behind the end of the file read as zeroes and name nothing: a count that is too large keeps
      // nobody from the disk. Who only looks is told of the damage.
      guard offset - table <= UInt64(SnapshotEntry.maximumTableSize),
        !checksPlace || offset.value < storage.length
      else {
        throw ImageError(.format(.snapshotTableTooLarge), "Snapshot table is too big")
      }
      let fixed = try read(storage, offset, SnapshotEntry.fixedSize, "Failed to read snapshot table")
      guard BigEndian.u32(fixed, 36) <= UInt32(SnapshotEntry.maximumExtraData) else {
        throw ImageError(
          .format(.snapshotExtraDataTooLarge), "Too much extra metadata in snapshot table entry \(index)")
      }
      let bytes = try read(storage, offset, SnapshotEntry.size(fixed: fixed), "Failed to read snapshot table")
      let entry = try format { () throws(FormatError) in try SnapshotEntry(parsing: bytes, index: index) }
      result.entries.append(entry)
      result.size = ByteCount(offset - table) + ByteCount(entry.sizeInFile)
      offset = offset + ByteCount(entry.entrySize)
    }
    return result
  }
}
