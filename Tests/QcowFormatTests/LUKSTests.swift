// The header of a LUKS area: the fields of a genuine one, and what a hostile one may ask for.

import QcowFormat
import TestSupport
import Testing

@Suite(.tags(.fast)) struct LUKSTests {
  /// Cluster 4 of an image of the genuine tool.
  static let vector = bytes(
    """
    4c554b53babe0001616573000000000000000000000000000000000000000000
    00000000000000007874732d706c61696e363400000000000000000000000000
    0000000000000000736861323536000000000000000000000000000000000000
    000000000000000000000fc80000004032c45c1305d3125d17125f73b08f0216
    79cf016ec1642e861cd68e886801a432fd6cb35f8fa0934cbabac124f3259855
    4d4ad4f500002a0435313531666337382d663232322d343338302d383835652d
    6162323332623365326531650000000000ac71f30000a60424a83e7597b2b702
    1bf69fd8598f70ef57dce5deb5354b57f7ceeffbc489e2b20000000800000fa0
    0000dead00000000 0000000000000000000000000000000000000000000000000000000000000000 0000020000000fa0
    0000dead00000000 0000000000000000000000000000000000000000000000000000000000000000 000003f800000fa0
    0000dead00000000 0000000000000000000000000000000000000000000000000000000000000000 000005f000000fa0
    0000dead00000000 0000000000000000000000000000000000000000000000000000000000000000 000007e800000fa0
    0000dead00000000 0000000000000000000000000000000000000000000000000000000000000000 000009e000000fa0
    0000dead00000000 0000000000000000000000000000000000000000000000000000000000000000 00000bd800000fa0
    0000dead00000000 0000000000000000000000000000000000000000000000000000000000000000 00000dd000000fa0
    """)

  @Test("the fields of a genuine header")
  func fields() throws {
    let header = try LUKSHeader(parsing: Self.vector)
    #expect(header.cipherName == "aes" && header.cipherMode == "xts-plain64" && header.hash == "sha256")
    #expect(header.payloadOffset == 2_068_480 && header.keyBytes == 64 && header.digestIterations == 10756)
    #expect(hex(header.digest) == "32c45c1305d3125d17125f73b08f021679cf016e")
    #expect(hex(header.digestSalt) == "c1642e861cd68e886801a432fd6cb35f8fa0934cbabac124f32598554d4ad4f5")
    #expect(header.uuid == "5151fc78-f222-4380-885e-ab232b3e2e1e")
    #expect(header.slots.map(\.isActive) == [true] + Array(repeating: false, count: 7))
    #expect(header.slots.map(\.keyOffset) == (0..<8).map { 4096 + 258_048 * $0 })
    #expect(header.slots.allSatisfy { $0.stripes == 4000 })
    #expect(
      header.slots[0].iterations == 42500
        && hex(header.slots[0].salt) == "24a83e7597b2b7021bf69fd8598f70ef57dce5deb5354b57f7ceeffbc489e2b2")
    #expect(header.keyMaterialSize == 256_000)
    // The last slot that is used ends at the end of what it needs.
    try header.check(areaLength: 4096 + 256_000)
    #expect(code { try header.check(areaLength: 4096 + 255_999) } == .invalidLUKSHeader)
  }

  @Test("what is no LUKS header of version 1")
  func foreign() {
    for (at, byte) in [(0, 0), (5, 0xbf), (6, 1), (7, 2), (7, 0)] {
      var changed = Self.vector
      changed[at] = UInt8(byte)
      #expect(code { _ = try LUKSHeader(parsing: changed) } == .invalidLUKSHeader, "byte \(at)")
    }
    #expect(code { _ = try LUKSHeader(parsing: Array(Self.vector.dropLast())) } == .invalidLUKSHeader)
    #expect(code { _ = try LUKSHeader(parsing: []) } == .invalidLUKSHeader)
  }

  @Test(
    "numbers that would make unlocking read or compute without bounds",
    arguments: [
      ("key of no bytes", 108, 0), ("key of 4 GiB", 108, UInt32.max), ("key of 3 bytes", 108, 3),
      ("key of 516 bytes", 108, 516), ("no digest iterations", 164, 0), ("no iterations", 212, 0),
      ("key inside the header", 248, 1), ("key behind the area", 248, UInt32.max), ("one stripe", 252, 1),
      ("stripes without end", 252, UInt32.max),
    ] as [(String, Int, UInt32)])
  func bounds(name: String, at: Int, value: UInt32) throws {
    var changed = Self.vector
    BigEndian.put(UInt64(value), width: 4, into: &changed, at: at)
    let header = try LUKSHeader(parsing: changed)
    #expect(code { try header.check(areaLength: 2_068_480) } == .invalidLUKSHeader, "\(name)")
  }

  @Test("random bytes behind the magic never trap")
  func random() throws {
    var random = SplitMix64(seed: 41)
    for _ in 0..<2000 {
      var changed = Self.vector
      for _ in 0..<(1 + random.below(40)) {
        changed[8 + Int(random.below(584))] = UInt8(truncatingIfNeeded: random.next())
      }
      let header = try LUKSHeader(parsing: changed)
      let length = random.next() >> random.below(64)
      guard code({ try header.check(areaLength: length) }) == nil else { continue }
      #expect(header.keyMaterialSize <= 2 << 20)
      #expect(header.slots.allSatisfy { !$0.isActive || $0.keyOffset + header.keyMaterialSize <= length })
    }
  }
}
