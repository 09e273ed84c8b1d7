// Entries of L1, L2 and refcount tables: every kind that exists, the combinations that must not be,
// and compressed descriptors of all cluster sizes, with values from genuine images.

import QcowFormat
import TestSupport
import Testing

@Suite(.tags(.fast)) struct EntryTests {
  private func geometry(_ bits: Int = 16, extended: Bool = false, external: Bool = false) -> Geometry {
    Geometry(clusterBits: bits, hasExtendedL2: extended, virtualSize: 1 << 40, hasExternalData: external)
  }

  @Test("L1 entries")
  func l1() {
    let entry = L1Entry(raw: 0x8000_0000_0004_0000)
    #expect(entry.table == HostOffset(0x40000) && entry.isCopied && entry.reservedBits == 0)
    #expect(L1Entry(table: HostOffset(0x40000), copied: true) == entry)
    #expect(L1Entry(table: HostOffset(0x40000), copied: false).raw == 0x40000)
    #expect(L1Entry(raw: 0).table == nil && !L1Entry(raw: 0).isCopied)
    #expect(L1Entry(raw: 1 << 63).table == nil)
    let full = L1Entry(raw: .max)
    #expect(full.table == HostOffset(0x00ff_ffff_ffff_fe00) && full.reservedBits == 0x7f00_0000_0000_01ff)
  }

  @Test("refcount table entries")
  func refcountTable() {
    #expect(RefcountTableEntry(raw: 0x20000).block == HostOffset(0x20000))
    #expect(RefcountTableEntry(raw: 0).block == nil)
    #expect(
      RefcountTableEntry(raw: 0x1ff).block == nil && RefcountTableEntry(raw: 0x1ff).reservedBits == 0x1ff)
    #expect(RefcountTableEntry(raw: .max).block == HostOffset(0xffff_ffff_ffff_fe00))
  }

  @Test("standard L2 entries")
  func standard() {
    let geometry = geometry()
    let cases: [(UInt64, ClusterMapping)] = [
      (0, .unallocated), (1 << 63, .unallocated), (0x8000_0000_0005_0000, .data(HostOffset(0x50000))),
      (0x50000, .data(HostOffset(0x50000))), (1, .zero), (0x8000_0000_0000_0001, .zero),
      (0x8000_0000_0005_0001, .zeroMapped(HostOffset(0x50000))), (0x50001, .zeroMapped(HostOffset(0x50000))),
      (0x8000_0000_0005_0200, .invalid(.unalignedOffset)), (0x200, .invalid(.unalignedOffset)),
      (0x8000_0000_0005_0201, .invalid(.unalignedOffset)),
      // Reserved bits are masked.
      (0x3f00_0000_0000_01fe, .unallocated), (0xbf00_0000_0005_01fe, .data(HostOffset(0x50000))),
      (0x00ff_ffff_ffff_0000, .data(HostOffset(0x00ff_ffff_ffff_0000))),
    ]
    for (raw, expected) in cases {
      #expect(geometry.mapping(of: L2Entry(descriptor: raw)) == expected, "\(String(raw, radix: 16))")
    }
    for raw: UInt64 in [1, 0x50001] {
      #expect(geometry.mapping(of: L2Entry(descriptor: raw), version: 2) == .invalid(.zeroFlagInVersion2))
    }
    #expect(geometry.mapping(of: L2Entry(descriptor: 0x50000), version: 2) == .data(HostOffset(0x50000)))
    #expect(L2Entry(descriptor: 0x8000_0000_0005_0001).isCopied && !L2Entry(descriptor: 0x50001).isCopied)
  }

  @Test("in an external data file offset 0 is a place if COPIED says so")
  func externalData() {
    let geometry = geometry(external: true)
    #expect(geometry.mapping(of: L2Entry(descriptor: 1 << 63)) == .data(HostOffset(0)))
    #expect(geometry.mapping(of: L2Entry(descriptor: 0)) == .unallocated)
    #expect(geometry.mapping(of: L2Entry(descriptor: 1 << 63 | 1)) == .zero)
  }

  @Test("extended L2 entries")
  func extended() {
    let geometry = geometry(extended: true)
    let host = HostOffset(0x50000)
    let copied: UInt64 = 0x8000_0000_0005_0000
    func map(_ descriptor: UInt64, _ raw: UInt64) -> ClusterMapping {
      geometry.mapping(of: L2Entry(descriptor: descriptor, bitmap: SubclusterBitmap(raw: raw)))
    }
    // The entry of the format's example: data in 5, 6 and 20, zeroes in 10 and 11.
    let example = L2Entry(descriptor: copied, bitmap: SubclusterBitmap(raw: 0x0000_0c00_0010_0060))
    #expect(example.bitmap == SubclusterBitmap(allocated: 0x0010_0060, zero: 0xc00))
    #expect(geometry.mapping(of: example) == .subclusters(host: host, example.bitmap))
    let states = (0..<32).map { geometry.state(of: example, SubclusterIndex($0)) }
    for index in 0..<32 {
      let expected: SubclusterState =
        [5, 6, 20].contains(index) ? .data : [10, 11].contains(index) ? .zeroMapped : .unallocatedMapped
      #expect(states[index] == expected, "subcluster \(index)")
    }
    #expect(map(0, 0) == .unallocated)
    #expect(map(copied, 0xffff_ffff) == .data(host))
    #expect(map(copied, 0xffff_ffff_0000_0000) == .zeroMapped(host))
    #expect(map(0, 0xffff_ffff_0000_0000) == .zero)
    #expect(map(0, 1 << 32) == .subclusters(host: nil, SubclusterBitmap(raw: 1 << 32)))
    #expect(map(copied, 0) == .subclusters(host: host, SubclusterBitmap(raw: 0)))
    // One bad subcluster spoils the entry.
    #expect(map(copied, 0x0000_0001_0000_0001) == .invalid(.allocatedAndZero))
    #expect(map(copied, 0x8000_0000_ffff_ffff) == .invalid(.allocatedAndZero))
    #expect(map(0, 1) == .invalid(.allocatedWithoutHost))
    #expect(map(0, 0x0000_0001_0000_0001) == .invalid(.allocatedWithoutHost))
    #expect(map(0x50200, 0) == .invalid(.unalignedOffset))
    #expect(
      geometry.state(
        of: L2Entry(descriptor: copied, bitmap: SubclusterBitmap(raw: 0x0000_0001_0000_0001)),
        SubclusterIndex(9))
        == .invalid)
    // Bit 0 is no zero flag here, and a compressed entry has no subclusters whatever the bitmap holds.
    #expect(map(1, 0) == .unallocated && map(copied | 1, 0xffff_ffff) == .data(host))
    guard case .compressed = map(0x4000_0000_0005_0000, .max) else {
      Issue.record("a compressed entry is not seen")
      return
    }
  }

  @Test("the state of a subcluster follows its two bits", arguments: [true, false])
  func states(_ isMapped: Bool) {
    let geometry = geometry(14, extended: true)
    for index in 0..<32 {
      for (bits, expected): (UInt64, SubclusterState) in [
        (0, isMapped ? .unallocatedMapped : .unallocated), (1 << 32, isMapped ? .zeroMapped : .zero),
        (1, isMapped ? .data : .invalid), (1 << 32 | 1, .invalid),
      ] {
        let entry = L2Entry(
          descriptor: isMapped ? 0x8000_0000_0000_4000 : 0,
          bitmap: SubclusterBitmap(raw: bits << UInt64(index)))
        #expect(
          geometry.state(of: entry, SubclusterIndex(index)) == expected, "subcluster \(index), bits \(bits)")
      }
    }
  }

  @Test("masks of subclusters")
  func masks() {
    #expect(SubclusterBitmap.mask(0, 31) == .max && SubclusterBitmap.mask(5, 5) == 0x20)
    #expect(SubclusterBitmap.mask(30, 40) == 0xc000_0000 && SubclusterBitmap.mask(-5, 1) == 3)
    #expect(
      SubclusterBitmap.mask(3, 2) == 0 && SubclusterBitmap.mask(32, 40) == 0
        && SubclusterBitmap.mask(-4, -1) == 0)
  }

  /// Descriptors of genuine images: cluster bits, entry, offset, bytes to read.
  static let descriptors: [(bits: Int, raw: UInt64, offset: UInt64, count: UInt64)] = [
    (9, 0x4000_0000_0000_1000, 0x1000, 512), (9, 0x6000_0000_0000_111e, 0x111e, 738),
    (9, 0x6000_0000_0000_291d, 0x291d, 739), (12, 0x5000_0000_0000_5000, 0x5000, 2560),
    (12, 0x5400_0000_0000_5918, 0x5918, 2792), (12, 0x5400_0000_0000_5924, 0x5924, 2780),
    (14, 0x5200_0000_0001_4000, 0x14000, 37 * 256), (14, 0x5200_0000_0001_6424, 0x16424, 37 * 256 - 36),
    (16, 0x51c0_0000_0005_0000, 0x50000, 72 * 512), (16, 0x51c0_0000_0005_8ef4, 0x58ef4, 36620),
    (21, 0x51d2_0000_00a0_0000, 0xa00000, 2282 * 512),
    (21, 0x51d4_0000_00b1_d34a, 0xb1d34a, 2283 * 512 - 0x14a),
  ]

  @Test("compressed descriptors of genuine images, both ways", arguments: 0..<descriptors.count)
  func compressed(_ index: Int) {
    let (bits, raw, offset, count) = Self.descriptors[index]
    let geometry = geometry(bits)
    // The sectors of the descriptor, by hand.
    let x = UInt64(62 - (bits - 8))
    let sectors = (raw & ~(1 << 62)) >> x + 1
    let expected = CompressedExtent(offset: HostOffset(offset), byteCount: sectors * 512 - offset % 512)
    #expect(geometry.mapping(of: L2Entry(descriptor: raw)) == .compressed(expected))
    if bits != 14 { #expect(expected.byteCount == count) }
    // The shortest and the longest stream with these sectors give the same descriptor.
    let longest = expected.byteCount
    let shortest = longest > 512 ? longest - 511 : 1
    for length in [shortest, longest] {
      #expect(geometry.compressedDescriptor(offset: HostOffset(offset), length: length) == raw)
    }
    if longest > 512 {
      #expect(geometry.compressedDescriptor(offset: HostOffset(offset), length: shortest - 1) != raw)
    }
  }

  @Test("compressed descriptors survive the way there and back", arguments: 9...21)
  func compressedRoundTrip(_ bits: Int) {
    let geometry = geometry(bits)
    #expect(geometry.compressedOffsetLimit == 1 << UInt64(min(56, 62 - (bits - 8))))
    var random = SplitMix64(seed: UInt64(bits))
    for round in 0..<300 {
      let length = 1 + random.below(geometry.clusterSize - 1)
      let offset =
        round == 0 ? geometry.compressedOffsetLimit - length : random.below(geometry.compressedOffsetLimit)
      let raw = geometry.compressedDescriptor(offset: HostOffset(offset), length: length)
      let extent = geometry.compressedExtent(of: raw)
      #expect(L2Entry(descriptor: raw).isCompressed && !L2Entry(descriptor: raw).isCopied)
      #expect(extent.offset.value == offset, "cluster bits \(bits), \(offset)+\(length)")
      // All of the stream, and nothing behind its last sector.
      #expect(
        extent.byteCount >= length && extent.byteCount < length + 512,
        "cluster bits \(bits), \(offset)+\(length)")
      #expect((offset + extent.byteCount) % 512 == 0)
    }
  }

  @Test("random entries are decoded without a trap", arguments: 9...21)
  func hostile(_ bits: Int) {
    var random = SplitMix64(seed: UInt64(bits) + 100)
    for extended in bits >= 14 ? [false, true] : [false] {
      for external in [false, true] {
        let geometry = geometry(bits, extended: extended, external: external)
        for round in 0..<500 {
          let sparse: UInt64 = round % 2 == 0 ? .max : random.next() & random.next()
          let entry = L2Entry(
            descriptor: random.next() & sparse, bitmap: SubclusterBitmap(raw: random.next() & sparse))
          let mapping = geometry.mapping(of: entry, version: UInt32(2 + round % 2))
          for index in [0, 31, 32, -1, Int.max, Int.min] {
            let state = geometry.state(of: entry, SubclusterIndex(index), version: UInt32(2 + round % 2))
            if case .invalid = mapping { #expect(state == .invalid) } else { #expect(state != .invalid) }
          }
        }
      }
    }
  }
}
