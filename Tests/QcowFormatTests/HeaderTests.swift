// The header both ways: bytes of genuine images to values and back to the same bytes, values to the
// bytes that are expected, and every check with its code.

import QcowFormat
import TestSupport
import Testing

@Suite(.tags(.fast)) struct HeaderTests {
  /// Fields and extensions of a whole cluster 0.
  private func parse(_ cluster: [UInt8]) throws -> (header: Header, extensions: HeaderExtensions) {
    let header = try Header(parsing: cluster)
    try header.checkCompression()
    try header.checkIncompatible(names: [])
    try header.checkTables()
    let area = Array(cluster[Int(header.extensionsStart)..<Int(header.extensionsEnd)])
    return (header, try HeaderExtensions(parsing: area, header: header))
  }

  @Test("genuine headers give the same bytes again", arguments: 0..<HeaderVector.all.count)
  func roundTrip(_ index: Int) throws {
    let vector = HeaderVector.all[index]
    var (header, extensions) = try parse(vector.cluster)
    let before = header
    #expect(
      header.encodedFields() == Array(vector.bytes.prefix(header.version == 2 ? 72 : 112)), "\(vector.name)")
    let again = try header.encodeCluster(extensions: extensions, backingName: vector.backing)
    #expect(hex(again.prefix(600)) == hex(vector.cluster.prefix(600)), "\(vector.name)")
    #expect(again == vector.cluster, "\(vector.name)")
    #expect(header == before, "\(vector.name)")
  }

  @Test("what genuine headers say")
  func fields() throws {
    let plain = try parse(HeaderVector.plain.cluster)
    #expect(plain.header.version == 3 && plain.header.size == 64 << 20 && plain.header.clusterBits == 16)
    #expect(plain.header.l1Size == 1 && plain.header.l1TableOffset == 0x30000)
    #expect(plain.header.refcountTableOffset == 0x10000 && plain.header.refcountTableClusters == 1)
    #expect(plain.header.refcountOrder == 4 && plain.header.headerLength == 112)
    #expect(plain.extensions.list == [.featureNames(FeatureName.standard)])

    let old = try parse(HeaderVector.version2.cluster)
    #expect(old.header.version == 2 && old.header.headerLength == 72 && old.header.refcountOrder == 4)
    #expect(old.header.backingFileOffset == 0x60 && old.header.backingFileSize == 8)
    #expect(old.extensions.list == [.backingFormat("raw")])
    #expect(old.header.extensionsStart == 72 && old.header.extensionsEnd == 0x60)

    let options = try parse(HeaderVector.options.cluster).header
    #expect(options.incompatible == .compressionType && options.compressionType == 1)
    #expect(options.compatible == .lazyRefcounts && options.refcountOrder == 0)

    let external = try parse(HeaderVector.dataFile.cluster)
    #expect(
      external.header.incompatible == .externalDataFile && external.header.autoclear == .rawExternalData)
    #expect(external.extensions.dataFileName == "d.raw" && external.header.geometry.hasExternalData)

    let luks = try parse(HeaderVector.encrypted.cluster)
    #expect(luks.header.cryptMethod == 2)
    #expect(luks.extensions.encryption == EncryptionExtension(offset: 0x4000, length: 0x1f9000))

    let bitmaps = try parse(HeaderVector.bitmaps.cluster)
    #expect(bitmaps.header.autoclear == .bitmaps)
    #expect(
      bitmaps.extensions.bitmaps == BitmapsExtension(count: 2, directorySize: 64, directoryOffset: 0xc000))
  }

  @Test("a value in every field comes out at its place")
  func encode() throws {
    var header = Header()
    header.backingFileOffset = 0x0102_0304_0506_0708
    header.backingFileSize = 0x090a_0b0c
    header.clusterBits = 12
    header.size = 0x1112_1314_1516_1718
    header.cryptMethod = 2
    header.l1Size = 0x1a1b_1c1d
    header.l1TableOffset = 0x2122_2324_2526_2728
    header.refcountTableOffset = 0x3132_3334_3536_3738
    header.refcountTableClusters = 0x3a3b_3c3d
    header.snapshotCount = 0x4142_4344
    header.snapshotsOffset = 0x5152_5354_5556_5758
    header.incompatible = IncompatibleFeatures(rawValue: 0x6162_6364_6566_6768)
    header.compatible = CompatibleFeatures(rawValue: 0x7172_7374_7576_7778)
    header.autoclear = AutoclearFeatures(rawValue: 0x8182_8384_8586_8788)
    header.refcountOrder = 6
    header.compressionType = 1
    header.unknownFields = [0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8]
    let fixed = """
      514649fb 00000003 0102030405060708 090a0b0c 0000000c 1112131415161718 00000002 1a1b1c1d
      2122232425262728 3132333435363738 3a3b3c3d 41424344 5152535455565758
      """
    #expect(
      hex(header.encodedFields())
        == hex(
          bytes(
            fixed + """
              6162636465666768 7172737475767778 8182838485868788 00000006 00000078 01 00000000000000
              a1a2a3a4a5a6a7a8
              """)))
    header.version = 2
    #expect(
      hex(header.encodedFields())
        == hex(bytes(fixed.replacing("00000003", with: "00000002", maxReplacements: 1))))
  }

  @Test("fields behind the known ones are kept, whatever their length", arguments: [1, 7, 8, 24, 500])
  func unknownFields(_ count: Int) throws {
    var vector = HeaderVector.options.cluster
    let unknown = (0..<count).map { UInt8(truncatingIfNeeded: $0 + 1) }
    vector.replaceSubrange(
      100..<104, with: bytes("0000") + [UInt8((112 + count) >> 8), UInt8((112 + count) & 255)])
    vector.replaceSubrange(112..<(112 + count), with: unknown)
    // The backing name, which has moved, plays no part here.
    vector.replaceSubrange(8..<20, with: [UInt8](repeating: 0, count: 12))
    var header = try Header(parsing: vector)
    #expect(header.unknownFields == unknown && header.headerLength == UInt32(112 + count))
    let again = try header.encodeCluster(extensions: HeaderExtensions(), backingName: nil)
    #expect(Array(again.prefix(112 + count)) == Array(vector.prefix(112 + count)))
    #expect(header.headerLength == UInt32(112 + count))
  }

  @Test("a short header has no compression type")
  func shortHeader() throws {
    var vector = HeaderVector.options.cluster
    vector[103] = 104
    let header = try Header(parsing: vector)
    #expect(header.compressionType == 0 && header.unknownFields.isEmpty && header.extensionsStart == 104)
    #expect(code { try header.checkCompression() } == .compressionBitMismatch)
  }

  /// A field of the plain header, what is put there, and what the checks say.
  struct Fault: CustomTestStringConvertible {
    var offset: Int
    var value: String
    var code: FormatError.Code?
    var testDescription: String { "\(value) at \(offset): \(code.map { "\($0)" } ?? "no error")" }
    init(_ offset: Int, _ value: String, _ code: FormatError.Code?) {
      self.offset = offset
      self.value = value
      self.code = code
    }
  }

  static let faults = [
    Fault(0, "514649fa", .notQcow2), Fault(4, "00000001", .unsupportedVersion),
    Fault(4, "00000004", .unsupportedVersion), Fault(4, "ffffffff", .unsupportedVersion),
    Fault(20, "00000008", .unsupportedClusterSize), Fault(20, "00000016", .unsupportedClusterSize),
    Fault(20, "ffffffff", .unsupportedClusterSize), Fault(100, "00000067", .headerTooShort),
    Fault(100, "00000000", .headerTooShort), Fault(100, "00010001", .headerTooLong),
    Fault(100, "ffffffff", .headerTooLong), Fault(8, "0000000000010001", .invalidBackingOffset),
    Fault(8, "ffffffffffffffff", .invalidBackingOffset), Fault(104, "02", .unknownCompressionType),
    Fault(104, "01", .compressionBitMismatch), Fault(72, "0000000000000008", .compressionBitMismatch),
    Fault(72, "0000000000000020", .unsupportedFeatures), Fault(72, "8000000000000000", .unsupportedFeatures),
    Fault(96, "00000007", .refcountWidthTooLarge), Fault(96, "ffffffff", .refcountWidthTooLarge),
    Fault(56, "00000000", .noRefcountTable), Fault(56, "00000081", .refcountTableTooLarge),
    Fault(56, "ffffffff", .refcountTableTooLarge), Fault(48, "0000000000010200", .refcountTableMisaligned),
    Fault(48, "ffffffffffff0000", .refcountTableMisaligned), Fault(60, "00010001", .snapshotTableTooLarge),
    Fault(64, "0000000000000008", .snapshotTableMisaligned),
    Fault(64, "ffffffffffff0001", .snapshotTableMisaligned),
    Fault(36, "00400001", .l1TooLarge), Fault(36, "ffffffff", .l1TooLarge),
    Fault(40, "0000000000030001", .l1Misaligned), Fault(40, "7fffffffffffffff", .l1Misaligned),
    Fault(36, "00000000", .l1TooSmall), Fault(24, "0000000080000000", .l1TooSmall),
    Fault(24, "ffffffffffffffff", .imageTooBig), Fault(24, "4000000000000000", .imageTooBig),
    // What looks odd and is allowed.
    Fault(8, "0000000000010000", nil), Fault(56, "00000080", nil), Fault(36, "00400000", nil),
    Fault(80, "ffffffffffffffff", nil), Fault(88, "ffffffffffffffff", nil),
    Fault(24, "0000000020000000", nil),
    Fault(24, "00000000000001ff", nil), Fault(100, "00000069", nil),
  ]

  @Test("each check has its code", arguments: faults)
  func check(_ fault: Fault) {
    var vector = HeaderVector.plain.cluster
    let value = bytes(fault.value)
    vector.replaceSubrange(fault.offset..<(fault.offset + value.count), with: value)
    let found = code {
      let header = try Header(parsing: vector)
      try header.checkCompression()
      try header.checkIncompatible(names: [])
      try header.checkTables()
    }
    #expect(found == fault.code)
  }

  @Test("extended L2 entries need subclusters of 512 bytes")
  func subclusters() {
    for bits in UInt8(9)...21 {
      var vector = HeaderVector.options.cluster
      vector[23] = bits
      vector[79] |= 0x10
      let expected: FormatError.Code? = bits < 14 ? .unsupportedSubclusterSize : nil
      let found = code { try Header(parsing: vector).checkTables() }
      // Tables at 4 KiB boundaries are misaligned for larger clusters, which is said later.
      #expect(found == expected ?? .refcountTableMisaligned, "cluster bits \(bits)")
    }
  }

  @Test("unknown features are named by the image's own table")
  func featureNames() {
    var header = Header()
    header.incompatible = IncompatibleFeatures(rawValue: 1 << 5 | 1 << 40 | 1 << 63 | 1)
    let names = [
      FeatureName(.compatible, 5, "wrong set"), FeatureName(.incompatible, 5, "time travel"),
      FeatureName(.incompatible, 200, "no bit"), FeatureName(.incompatible, 0, "known"),
    ]
    #expect(
      throws: FormatError(
        .unsupportedFeatures,
        "Unsupported qcow2 feature(s): time travel, Unknown incompatible feature: 8000010000000000")
    ) {
      try header.checkIncompatible(names: names)
    }
  }

  @Test("cut, filled and random headers give a value or an error")
  func hostile() {
    for vector in HeaderVector.all {
      for count in 0...vector.bytes.count { touch(Array(vector.bytes.prefix(count))) }
      for offset in 0..<120 {
        for value: UInt8 in [0, 1, 0x7f, 0x80, 0xff] {
          var damaged = vector.cluster
          damaged.replaceSubrange(offset..<(offset + 1), with: [value])
          touch(damaged)
          damaged.replaceSubrange(offset..<(offset + 8), with: [UInt8](repeating: value, count: 8))
          touch(damaged)
        }
      }
    }
  }

  /// Everything that can be asked of a header, in spite of errors.
  private func touch(_ bytes: [UInt8]) {
    guard let header = try? Header(parsing: bytes) else { return }
    try? header.checkCompression()
    try? header.checkIncompatible(names: HeaderExtensions.names(in: bytes))
    try? header.checkTables()
    _ = header.encodedFields()
    #expect(header.extensionsStart <= 1 << 21 && header.extensionsEnd <= 1 << 21)
    let geometry = header.geometry
    _ = geometry.l1Entries(for: geometry.virtualSize)
    _ = geometry.clusterCount
    if let extensions = try? HeaderExtensions(parsing: bytes, header: header) {
      var copy = header
      _ = try? copy.encodeCluster(extensions: extensions, backingName: "x")
    }
  }
}
