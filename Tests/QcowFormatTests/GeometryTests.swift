// What follows from the sizes of an image, at the ends of every range, and big-endian access that
// leaves its array.

import QcowFormat
import TestSupport
import Testing

@Suite(.tags(.fast)) struct GeometryTests {
  /// Cluster bits, extended entries, guest bytes per L2 table.
  static let reach: [(Int, Bool, UInt64)] = [
    (9, false, 32 << 10), (12, false, 2 << 20), (16, false, 512 << 20), (21, false, 512 << 30),
    (14, true, 16 << 20), (16, true, 256 << 20),
  ]

  @Test("what one L2 table maps", arguments: 0..<reach.count)
  func l2(_ index: Int) {
    let (bits, extended, bytes) = Self.reach[index]
    let geometry = Geometry(clusterBits: bits, hasExtendedL2: extended, virtualSize: 1 << 40)
    #expect(geometry.bytesPerL2Table == bytes)
    #expect(
      geometry.l1Entries(for: bytes) == 1 && geometry.l1Entries(for: bytes + 1) == 2
        && geometry.l1Entries(for: 0) == 0)
    let offset = GuestOffset(bytes * 3 + geometry.clusterSize * 5 + 7)
    #expect(geometry.l1Index(of: offset) == 3 && geometry.l2Index(of: offset) == 5)
    #expect(geometry.guestOffset(l1Index: 3, l2Index: 5) == GuestOffset(bytes * 3 + geometry.clusterSize * 5))
  }

  @Test("refcount blocks of every width")
  func refcounts() {
    for (bits, order, perBlock): (Int, Int, UInt64) in [
      (16, 4, 32768), (12, 4, 2048), (9, 4, 256), (9, 0, 4096), (9, 6, 64), (21, 0, 1 << 24),
      (21, 6, 1 << 18),
    ] {
      let geometry = Geometry(clusterBits: bits, refcountOrder: order, virtualSize: 0)
      #expect(geometry.refcountsPerBlock == perBlock)
      #expect(geometry.refcountTableIndex(of: HostCluster(perBlock * 7 + 3)) == 7)
      #expect(geometry.refcountBlockIndex(of: HostCluster(perBlock * 7 + 3)) == 3)
    }
  }

  @Test("rounding does not overflow", arguments: 9...21)
  func rounding(_ bits: Int) {
    let geometry = Geometry(clusterBits: bits, virtualSize: .max)
    let size = geometry.clusterSize
    #expect(
      geometry.clustersCovering(0) == 0 && geometry.clustersCovering(1) == 1
        && geometry.clustersCovering(size) == 1)
    #expect(geometry.clustersCovering(.max) == 1 << UInt64(64 - bits))
    #expect(
      geometry.roundUp(1) == size && geometry.roundUp(size) == size
        && geometry.roundUp(.max) == .max - size + 1)
    #expect(
      geometry.roundDown(size * 3 - 1) == size * 2 && geometry.isAligned(size * 3)
        && !geometry.isAligned(size * 3 + 1))
    #expect(geometry.l1Entries(for: .max) == 1 << UInt64(64 - bits - geometry.l2Bits))
  }

  @Test("integers outside an array read 0 and are not written")
  func bigEndian() {
    let array = bytes("0102030405060708 ff")
    #expect(BigEndian.u16(array, 0) == 0x0102 && BigEndian.u32(array, 1) == 0x0203_0405)
    #expect(BigEndian.u64(array, 1) == 0x0203_0405_0607_08ff)
    for at in [-1, 2, 9, Int.max, Int.min] { #expect(BigEndian.u64(array, at) == 0) }
    #expect(BigEndian.u32([], 0) == 0 && BigEndian.u16([1], 0) == 0)
    var copy = array
    for at in [-1, 2, Int.max, Int.min] { BigEndian.put(.max, width: 8, into: &copy, at: at) }
    #expect(copy == array)
    BigEndian.put(0xaabb, width: 2, into: &copy, at: 7)
    #expect(hex(copy) == "01020304050607aabb")
  }
}
