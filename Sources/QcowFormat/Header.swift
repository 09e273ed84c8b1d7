// The header of an image, versions 2 and 3: bytes to values with every check that needs nothing
// but the header itself, and values to the whole of cluster 0.

/// The fixed fields of the header ("Header"). All offsets are host bytes.
public struct Header: Equatable, Sendable {
  /// The first four bytes of every image: "QFI" and 0xfb.
  package static let magic: UInt32 = 0x5146_49fb
  /// Bytes of a version 2 header.
  package static let version2Length = 72
  /// Bytes of the header that this program writes in version 3, unknown fields not counted.
  package static let version3Length = 112

  /// 2 or 3.
  public package(set) var version: UInt32 = 3
  /// Where the name of the backing file begins; 0 without one.
  package var backingFileOffset: UInt64 = 0
  /// Bytes of that name, at most 1023.
  package var backingFileSize: UInt32 = 0
  /// Cluster size as a power of two, 9 to 21.
  public package(set) var clusterBits: UInt32 = 16
  /// Virtual size in bytes, as stored.
  public package(set) var size: UInt64 = 0
  /// 0 none, 1 AES (legacy), 2 LUKS.
  public package(set) var cryptMethod: UInt32 = 0
  /// Entries of the active L1 table.
  public package(set) var l1Size: UInt32 = 0
  /// Where the active L1 table begins.
  public package(set) var l1TableOffset: UInt64 = 0
  /// Where the refcount table begins.
  public package(set) var refcountTableOffset: UInt64 = 0
  /// Clusters of the refcount table.
  package var refcountTableClusters: UInt32 = 0
  /// Internal snapshots.
  public package(set) var snapshotCount: UInt32 = 0
  /// Where the snapshot table begins; 0 without one.
  package var snapshotsOffset: UInt64 = 0
  /// What a program must understand to read the image.
  package var incompatible: IncompatibleFeatures = []
  /// What a program may ignore.
  package var compatible: CompatibleFeatures = []
  /// What a program that does not know it clears when it writes.
  package var autoclear: AutoclearFeatures = []
  /// Refcount width as a power of two, 0 to 6; 4 in version 2.
  public package(set) var refcountOrder: UInt32 = 4
  /// Bytes of the header as stored.
  package var headerLength: UInt32 = 112
  /// 0 zlib, 1 zstd.
  public package(set) var compressionType: UInt8 = 0
  /// Header bytes behind offset 112 that this program does not know and keeps.
  package var unknownFields: [UInt8] = []

  package init() {}

  /// What follows from the sizes in the header. The size is cut down to whole sectors.
  package var geometry: Geometry {
    Geometry(
      clusterBits: Int(clusterBits), hasExtendedL2: incompatible.contains(.extendedL2),
      refcountOrder: Int(refcountOrder), virtualSize: size & ~511,
      hasExternalData: incompatible.contains(.externalDataFile))
  }

  /// Where the header extensions start.
  package var extensionsStart: UInt64 { version < 3 ? UInt64(Self.version2Length) : UInt64(headerLength) }
  /// Where the header extensions must have ended.
  package var extensionsEnd: UInt64 { backingFileOffset != 0 ? backingFileOffset : 1 << UInt64(clusterBits) }
}

extension Header {
  /// Reads the fixed fields and makes the checks that come first: magic, version, cluster size,
  /// header length, place of the backing file name.
  ///
  /// `bytes` are the first bytes of the file, at least 112; what the file lacks is zero. Fields
  /// behind offset 112 are taken from `bytes` as far as it reaches.
  ///
  /// - Throws: ``FormatError`` for bytes that are no image of version 2 or 3, or sizes no image may have.
  package init(parsing bytes: [UInt8]) throws(FormatError) {
    guard BigEndian.u32(bytes, 0) == Self.magic else {
      throw FormatError(.notQcow2, "Image is not in qcow2 format")
    }
    version = BigEndian.u32(bytes, 4)
    guard version == 2 || version == 3 else {
      throw FormatError(.unsupportedVersion, "Unsupported qcow2 version \(version)")
    }
    backingFileOffset = BigEndian.u64(bytes, 8)
    backingFileSize = BigEndian.u32(bytes, 16)
    clusterBits = BigEndian.u32(bytes, 20)
    guard (9...21).contains(clusterBits) else {
      throw FormatError(.unsupportedClusterSize, "Unsupported cluster size: 2^\(clusterBits)")
    }
    size = BigEndian.u64(bytes, 24)
    cryptMethod = BigEndian.u32(bytes, 32)
    l1Size = BigEndian.u32(bytes, 36)
    l1TableOffset = BigEndian.u64(bytes, 40)
    refcountTableOffset = BigEndian.u64(bytes, 48)
    refcountTableClusters = BigEndian.u32(bytes, 56)
    snapshotCount = BigEndian.u32(bytes, 60)
    snapshotsOffset = BigEndian.u64(bytes, 64)
    if version == 2 {
      headerLength = UInt32(Self.version2Length)
    } else {
      incompatible = IncompatibleFeatures(rawValue: BigEndian.u64(bytes, 72))
      compatible = CompatibleFeatures(rawValue: BigEndian.u64(bytes, 80))
      autoclear = AutoclearFeatures(rawValue: BigEndian.u64(bytes, 88))
      refcountOrder = BigEndian.u32(bytes, 96)
      headerLength = BigEndian.u32(bytes, 100)
      guard headerLength >= 104 else { throw FormatError(.headerTooShort, "qcow2 header too short") }
    }
    guard UInt64(headerLength) <= 1 << UInt64(clusterBits) else {
      throw FormatError(.headerTooLong, "qcow2 header exceeds cluster size")
    }
    if headerLength > 104 { compressionType = bytes.count > 104 ? bytes[104] : 0 }
    let end = Swift.min(Int(headerLength), bytes.count)
    if end > Self.version3Length { unknownFields = Array(bytes[Self.version3Length..<end]) }
    guard backingFileOffset <= 1 << UInt64(clusterBits) else {
      throw FormatError(.invalidBackingOffset, "Invalid backing file offset")
    }
  }

  /// Checks that the compression type is known and announced by its feature bit.
  ///
  /// - Throws: ``FormatError`` for a compression type that is unknown or contradicts its feature bit.
  package func checkCompression() throws(FormatError) {
    guard compressionType <= 1 else {
      throw FormatError(.unknownCompressionType, "qcow2: unknown compression type: \(compressionType)")
    }
    guard incompatible.contains(.compressionType) == (compressionType != 0) else {
      let verb = compressionType == 0 ? "must not be set" : "must be set"
      throw FormatError(
        .compressionBitMismatch, "qcow2: Compression type incompatible feature bit \(verb)")
    }
  }

  /// Refuses unknown incompatible bits, by the names the image itself has for them.
  ///
  /// - Throws: ``FormatError`` that names the unknown features.
  package func checkIncompatible(names: [FeatureName]) throws(FormatError) {
    var unknown = incompatible.subtracting(.known).rawValue
    guard unknown != 0 else { return }
    var words: [String] = []
    for entry in names where entry.kind == FeatureName.Kind.incompatible.rawValue && entry.bit < 64 {
      let bit: UInt64 = 1 << UInt64(entry.bit)
      if unknown & bit != 0 {
        words.append(entry.name)
        unknown &= ~bit
      }
    }
    if unknown != 0 { words.append("Unknown incompatible feature: \(String(unknown, radix: 16))") }
    throw FormatError(
      .unsupportedFeatures, "Unsupported qcow2 feature(s): \(words.joined(separator: ", "))")
  }

  /// Checks subcluster size, refcount width, and size and place of the tables, in the order in
  /// which users of QEMU see the messages. With `forCheck` a missing refcount table and a misplaced
  /// snapshot table pass, because a check reports on them itself.
  ///
  /// - Throws: ``FormatError`` for a table that is not aligned, too large, or reaches behind 2^63.
  package func checkTables(forCheck: Bool = false) throws(FormatError) {
    let geometry = geometry
    if geometry.hasExtendedL2 && geometry.subclusterBits < 9 {
      throw FormatError(.unsupportedSubclusterSize, "Unsupported subcluster size: \(geometry.subclusterSize)")
    }
    guard refcountOrder <= 6 else {
      throw FormatError(
        .refcountWidthTooLarge, "Reference count entry width too large; may not exceed 64 bits")
    }
    guard refcountTableClusters != 0 || forCheck else {
      throw FormatError(.noRefcountTable, "Image does not contain a reference count table")
    }
    guard UInt64(refcountTableClusters) << UInt64(clusterBits) <= 8 << 20 else {
      throw FormatError(.refcountTableTooLarge, "Reference count table too large")
    }
    guard Self.isPlace(refcountTableOffset, UInt64(refcountTableClusters) << UInt64(clusterBits), geometry)
    else {
      throw FormatError(.refcountTableMisaligned, "Reference count table offset invalid")
    }
    if !forCheck { try checkSnapshotTable() }
    guard l1Size <= L1Entry.maximumCount else {
      throw FormatError(.l1TooLarge, "Active L1 table too large")
    }
    guard Self.isPlace(l1TableOffset, UInt64(l1Size) * 8, geometry) else {
      throw FormatError(.l1Misaligned, "Active L1 table offset invalid")
    }
    let needed = geometry.l1Entries(for: geometry.virtualSize)
    guard needed <= UInt64(Int32.max) else { throw FormatError(.imageTooBig, "Image is too big") }
    guard UInt64(l1Size) >= needed else { throw FormatError(.l1TooSmall, "L1 table is too small") }
  }

  /// Checks count and place of the snapshot table.
  ///
  /// - Throws: ``FormatError`` for a snapshot table that is not aligned or too large.
  package func checkSnapshotTable() throws(FormatError) {
    guard snapshotCount <= SnapshotEntry.maximumCount else {
      throw FormatError(.snapshotTableTooLarge, "Snapshot table too large")
    }
    guard Self.isPlace(snapshotsOffset, UInt64(snapshotCount) * 40, geometry) else {
      throw FormatError(.snapshotTableMisaligned, "Snapshot table offset invalid")
    }
  }

  /// A table starts on a cluster boundary and ends at an addressable byte.
  private static func isPlace(_ offset: UInt64, _ bytes: UInt64, _ geometry: Geometry) -> Bool {
    let (end, overflow) = offset.addingReportingOverflow(bytes)
    return geometry.isAligned(offset) && !overflow && end <= UInt64(Int64.max)
  }
}

extension Header {
  /// The fixed fields as bytes: 72 in version 2, 112 and the unknown fields in version 3.
  package func encodedFields() -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(128)
    func put(_ value: UInt64, _ width: Int) { BigEndian.append(value, width: width, to: &bytes) }
    put(UInt64(Self.magic), 4)
    put(UInt64(version), 4)
    put(backingFileOffset, 8)
    put(UInt64(backingFileSize), 4)
    put(UInt64(clusterBits), 4)
    put(size, 8)
    put(UInt64(cryptMethod), 4)
    put(UInt64(l1Size), 4)
    put(l1TableOffset, 8)
    put(refcountTableOffset, 8)
    put(UInt64(refcountTableClusters), 4)
    put(UInt64(snapshotCount), 4)
    put(snapshotsOffset, 8)
    guard version >= 3 else { return bytes }
    put(incompatible.rawValue, 8)
    put(compatible.rawValue, 8)
    put(autoclear.rawValue, 8)
    put(UInt64(refcountOrder), 4)
    put(UInt64(Self.version3Length + unknownFields.count), 4)
    put(UInt64(compressionType), 1)
    put(0, 7)
    return bytes + unknownFields
  }
}
