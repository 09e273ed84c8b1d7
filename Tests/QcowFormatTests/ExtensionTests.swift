// Header extensions: every known type with its checks, unknown ones kept, the one order in which they
// are written, and lists that lie about their lengths.

import QcowFormat
import TestSupport
import Testing

@Suite(.tags(.fast)) struct ExtensionTests {
  private func header(_ change: (inout Header) -> Void = { _ in }) -> Header {
    var header = Header()
    header.clusterBits = 12
    header.autoclear = .bitmaps
    change(&header)
    return header
  }

  @Test("unknown extensions are kept, and turn their order at every rewrite")
  func unknown() throws {
    let first: HeaderExtension = .unknown(type: 0x1111_1111, data: [1, 2, 3])
    let second: HeaderExtension = .unknown(type: 0x2222_2222, data: [])
    let third: HeaderExtension = .unknown(type: 0xffff_ffff, data: Array(0..<16))
    let area = bytes(
      """
      11111111 00000003 0102030000000000  e2792aca 00000005 7163 6f77 32 000000
      22222222 00000000  ffffffff 00000010 000102030405060708090a0b0c0d0e0f  00000000 00000000
      """)
    var header = header()
    let extensions = try HeaderExtensions(parsing: area + bytes("deadbeef"), header: header)
    #expect(extensions.list == [first, .backingFormat("qcow2"), second, third])
    let cluster = try header.encodeCluster(extensions: extensions, backingName: "b")
    let written = bytes(
      """
      e2792aca 00000005 7163 6f77 32 000000  ffffffff 00000010 000102030405060708090a0b0c0d0e0f
      22222222 00000000  11111111 00000003 0102030000000000  00000000 00000000 62
      """)
    #expect(hex(cluster[112..<(112 + written.count)]) == hex(written))
    #expect(header.backingFileOffset == UInt64(112 + written.count - 1) && header.backingFileSize == 1)
    #expect(cluster.count == 4096 && cluster[(112 + written.count)...].allSatisfy { $0 == 0 })
    let again = try HeaderExtensions(
      parsing: Array(cluster[112..<Int(header.backingFileOffset)]), header: header)
    #expect(again.list == [.backingFormat("qcow2"), third, second, first])
    let twice = try header.encodeCluster(extensions: again, backingName: "b")
    let restored = try HeaderExtensions(
      parsing: Array(twice[112..<Int(header.backingFileOffset)]), header: header)
    #expect(restored.list == [.backingFormat("qcow2"), first, second, third])
  }

  @Test("of two extensions of one type the last counts, and one is written")
  func twice() throws {
    let area = bytes(
      """
      e2792aca 00000003 72617700 00000000  e2792aca 00000005 71636f77 32000000  44415441 00000001 6100000000000000
      44415441 00000001 6200000000000000  00000000 00000000
      """)
    var header = header()
    let extensions = try HeaderExtensions(parsing: area, header: header)
    #expect(extensions.backingFormat == "qcow2" && extensions.dataFileName == "b")
    let cluster = try header.encodeCluster(extensions: extensions, backingName: nil)
    let again = try HeaderExtensions(parsing: Array(cluster[112...]), header: header)
    #expect(again.list.filter { if case .featureNames = $0 { false } else { true } }.count == 2)
    #expect(again.backingFormat == "qcow2" && again.dataFileName == "b")
  }

  @Test("an extension that the backing file name cuts short is refused", arguments: [1, 4, 7])
  func cut(left: Int) throws {
    let area = bytes("11111111 00000008 0102030405060708") + [UInt8](repeating: 0, count: left)
    #expect(throws: FormatError.self) { try HeaderExtensions(parsing: area, header: header()) }
    #expect(throws: Never.self) {
      try HeaderExtensions(parsing: Array(area.dropLast(left)), header: header())
    }
  }

  @Test("all known types in the order of the format")
  func order() throws {
    var extensions = HeaderExtensions()
    extensions.list = [
      .unknown(type: 5, data: [9]),
      .bitmaps(BitmapsExtension(count: 3, directorySize: 96, directoryOffset: 0x30000)),
      .encryption(EncryptionExtension(offset: 0x40000, length: 0x1f9000)), .dataFileName("d"),
      .backingFormat("raw"),
    ]
    var header = header {
      $0.cryptMethod = 2
      $0.version = 3
    }
    let expected = """
      e2792aca 00000003 7261770000000000  44415441 00000001 6400000000000000
      0537be77 00000010 0000000000040000 00000000001f9000
      """
    let bitmaps = "23852875 00000018 00000003 00000000 0000000000000060 0000000000030000"
    let end = "00000005 00000001 0900000000000000  0000000000000000"
    let small = try header.encodeCluster(extensions: extensions, backingName: nil)
    let tail = bytes(expected + bitmaps + end)
    #expect(hex(small[112..<(112 + tail.count)]) == hex(tail))
    #expect(header.backingFileOffset == 0 && header.backingFileSize == 0)
    // Clusters above 4 KiB have room for the names.
    header.clusterBits = 13
    let large = try header.encodeCluster(extensions: extensions, backingName: nil)
    let table = HeaderVector.plain.bytes[112..<504]
    let whole = bytes(expected) + table + bytes(bitmaps + end)
    #expect(hex(large[112..<(112 + whole.count)]) == hex(whole))
    header.version = 2
    let old = try header.encodeCluster(extensions: extensions, backingName: nil)
    #expect(hex(old[72..<(72 + tail.count)]) == hex(tail))
  }

  @Test("feature names both ways")
  func names() {
    let table = Array(HeaderVector.plain.bytes[120..<504])
    #expect(FeatureName.parse(table) == FeatureName.standard)
    #expect(FeatureName.encode(FeatureName.standard) == table)
    // A name may fill its field; a set that is not known is kept; a cut entry is none.
    var line: [UInt8] = [7, 63] + [UInt8](repeating: 0x61, count: 46)
    let parsed = FeatureName.parse(line + [1, 2, 3])
    #expect(parsed.count == 1 && parsed[0].kind == 7 && parsed[0].bit == 63)
    #expect(parsed[0].name == String(repeating: "a", count: 46))
    #expect(FeatureName.encode(parsed) == line)
    line[2] = 0
    #expect(FeatureName.parse(line)[0].name == "")
    #expect(FeatureName.parse([]).isEmpty && FeatureName.parse([1]).isEmpty)
    let long = FeatureName.encode([FeatureName(.autoclear, 1, String(repeating: "x", count: 99))])
    #expect(long.count == 48 && long.prefix(2) == [2, 1])
  }

  /// A list, changes to the header, and the code of the error.
  struct Fault: Sendable {
    var area: String
    var code: FormatError.Code?
    var cryptMethod: UInt32 = 0
    var autoclear: UInt64 = 1
  }

  static let faults = [
    Fault(area: "e2792aca 00000010 61616161616161616161616161616161", code: .backingFormatTooLong),
    Fault(area: "e2792aca 0000000f 61616161616161616161616161616100", code: nil),
    Fault(area: "e2792aca 00000001", code: .extensionTooLarge),
    Fault(area: "e2792aca ffffffff 00", code: .extensionTooLarge),
    Fault(area: "12345678 7fffffff 00", code: .extensionTooLarge),
    Fault(area: "12345678 00000009 0000000000000000", code: .extensionTooLarge),
    // The padding of the last one may be missing.
    Fault(area: "12345678 00000001 aa", code: nil), Fault(area: "12345678", code: .extensionTooLarge),
    Fault(area: "", code: nil),
    Fault(area: "0537be77 00000010 0000000000004000 0000000000001000", code: .invalidEncryptionExtension),
    Fault(area: "0537be77 00000010 0000000000004000 0000000000001000", code: nil, cryptMethod: 2),
    Fault(area: "0537be77 00000008 0000000000004000", code: .invalidEncryptionExtension, cryptMethod: 2),
    Fault(
      area: "0537be77 00000010 0000000000004200 0000000000001000", code: .invalidEncryptionExtension,
      cryptMethod: 2),
    Fault(area: "23852875 00000018 00000001 00000000 0000000000000020 0000000000003000", code: nil),
    Fault(area: "23852875 00000010 00000001 00000000 0000000000000020", code: .invalidBitmapsExtension),
    Fault(
      area: "23852875 00000018 00000000 00000000 0000000000000020 0000000000003000",
      code: .invalidBitmapsExtension),
    Fault(
      area: "23852875 00000018 00010000 00000000 0000000000000020 0000000000003000",
      code: .invalidBitmapsExtension),
    Fault(
      area: "23852875 00000018 00000001 00000001 0000000000000020 0000000000003000",
      code: .invalidBitmapsExtension),
    Fault(
      area: "23852875 00000018 00000001 00000000 0000000000000020 0000000000003001",
      code: .invalidBitmapsExtension),
    Fault(
      area: "23852875 00000018 00000001 00000000 ffffffffffffffff 0000000000003000",
      code: .invalidBitmapsExtension),
    // Without its autoclear bit the extension is stale and only its length counts.
    Fault(
      area: "23852875 00000018 00000000 ffffffff ffffffffffffffff 0000000000003001", code: nil, autoclear: 0),
  ]

  @Test("each check has its code", arguments: 0..<faults.count)
  func check(_ index: Int) {
    let fault = Self.faults[index]
    let header = header {
      $0.cryptMethod = fault.cryptMethod
      $0.autoclear = AutoclearFeatures(rawValue: fault.autoclear)
    }
    let found = code {
      let parsed = try HeaderExtensions(parsing: bytes(fault.area), header: header)
      #expect(parsed.hasStaleBitmaps == (fault.autoclear == 0))
    }
    #expect(found == fault.code, "\(fault.area)")
  }

  @Test("what does not fit into cluster 0 is refused")
  func full() throws {
    var header = header { $0.clusterBits = 9 }
    var extensions = HeaderExtensions()
    extensions.list = [.unknown(type: 1, data: [UInt8](repeating: 1, count: 512 - 112 - 16))]
    #expect(try header.encodeCluster(extensions: extensions, backingName: nil).count == 512)
    #expect(code { _ = try header.encodeCluster(extensions: extensions, backingName: "b") } == .headerFull)
    header.clusterBits = 16
    let longest = String(repeating: "n", count: 1023)
    #expect(try header.encodeCluster(extensions: extensions, backingName: longest).count == 65536)
    #expect(
      code { _ = try header.encodeCluster(extensions: extensions, backingName: longest + "n") } == .headerFull
    )
  }

  @Test("random lists give a value or an error", arguments: 0..<20)
  func hostile(_ seed: Int) {
    var random = SplitMix64(seed: UInt64(seed))
    let types: [UInt32] = [0, 0xe279_2aca, 0x6803_f857, 0x2385_2875, 0x0537_be77, 0x4441_5441, 0x1234_5678]
    for _ in 0..<500 {
      var area: [UInt8] = []
      while area.count < 200, random.below(6) > 0 {
        BigEndian.append(UInt64(types[Int(random.below(7))]), width: 4, to: &area)
        let claimed = random.below(8) == 0 ? random.next() : random.below(40)
        BigEndian.append(claimed, width: 4, to: &area)
        area += (0..<Int(random.below(40))).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      }
      let header = header { $0.cryptMethod = UInt32(random.below(3)) }
      _ = HeaderExtensions.names(in: area)
      guard let parsed = try? HeaderExtensions(parsing: area, header: header) else { continue }
      // Every extension takes eight bytes of the list at least.
      #expect(parsed.list.count * 8 <= area.count, "seed \(seed): \(hex(area))")
    }
  }
}
