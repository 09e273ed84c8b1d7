// Refcounts of all seven widths against blocks of genuine images: which bits of which byte hold an
// entry, in both directions.

import QcowFormat
import TestSupport
import Testing

@Suite(.tags(.fast)) struct RefcountTests {
  private func decode(_ block: [UInt8], _ order: Int, _ count: Int) -> [UInt64] {
    block.withUnsafeBytes { raw in (0..<count).map { RefcountCodec(order: order).value(in: raw, at: $0) } }
  }

  private func encode(_ values: [UInt64], _ order: Int, into start: [UInt8]) -> [UInt8] {
    var block = start
    block.withUnsafeMutableBytes { raw in
      for (index, value) in values.enumerated() {
        RefcountCodec(order: order).store(value, in: raw, at: index)
      }
    }
    return block
  }

  /// Width as a power of two, the start of a refcount block, and the counts in it. An image of 4 KiB
  /// clusters with six clusters written and one freed again, and two snapshots where they fit.
  static let genuine: [(order: Int, hex: String, counts: [UInt64])] = [
    (0, "bf0100", [1, 1, 1, 1, 1, 1, 0, 1, 1] + [UInt64](repeating: 0, count: 15)),
    (1, "559556000000", [1, 1, 1, 1, 1, 1, 1, 2, 2, 1, 1, 1] + [UInt64](repeating: 0, count: 12)),
    (2, "111122311311010000000000", [1, 1, 1, 1, 2, 2, 1, 3, 3, 1, 1, 1, 1, 0]),
    (3, "010101010202010303010101010000000000000000000000", [1, 1, 1, 1, 2, 2, 1, 3, 3, 1, 1, 1, 1, 0]),
    (
      4, "000100010001000100020002000100030003000100010001000100000000",
      [1, 1, 1, 1, 2, 2, 1, 3, 3, 1, 1, 1, 1, 0, 0]
    ),
    (
      5,
      """
      0000000100000001000000010000000100000002000000020000000100000003
      000000030000000100000001000000010000000100000000
      """, [1, 1, 1, 1, 2, 2, 1, 3, 3, 1, 1, 1, 1, 0]
    ),
    (
      6,
      """
      0000000000000001000000000000000100000000000000010000000000000001
      0000000000000002000000000000000200000000000000010000000000000003
      0000000000000003000000000000000100000000000000010000000000000001
      00000000000000010000000000000000
      """, [1, 1, 1, 1, 2, 2, 1, 3, 3, 1, 1, 1, 1, 0]
    ),
    // The example of the format: clusters 0 to 3 once, 4 and 5 twice, 6 once, 7 to 9 twice, 10 once.
    (1, "559a1a00", [1, 1, 1, 1, 2, 2, 1, 2, 2, 2, 1, 0, 0, 0, 0, 0]),
    (2, "111122212201", [1, 1, 1, 1, 2, 2, 1, 2, 2, 2, 1, 0]),
    (3, "0101010102020102020201", [1, 1, 1, 1, 2, 2, 1, 2, 2, 2, 1]),
    (4, "00010001000100010002000200010002000200020001", [1, 1, 1, 1, 2, 2, 1, 2, 2, 2, 1]),
    (0, "bf03", [1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]),
  ]

  @Test("blocks of genuine images, both ways", arguments: 0..<genuine.count)
  func vectors(_ index: Int) {
    let (order, text, counts) = Self.genuine[index]
    let block = bytes(text)
    #expect(decode(block, order, counts.count) == counts)
    #expect(hex(encode(counts, order, into: [UInt8](repeating: 0, count: block.count))) == hex(block))
    // Every bit is written, not only those that are set.
    if counts.count << order == block.count * 8 {
      #expect(hex(encode(counts, order, into: [UInt8](repeating: 0xff, count: block.count))) == hex(block))
    }
  }

  @Test("the place of one entry among ones and zeroes", arguments: 0...6)
  func place(_ order: Int) {
    let bits = 1 << order
    let maximum: UInt64 = order == 6 ? .max : (1 << UInt64(bits)) - 1
    #expect(Geometry(clusterBits: 9, refcountOrder: order, virtualSize: 0).maximumRefcount == maximum)
    #expect(
      Geometry(clusterBits: 9, refcountOrder: order, virtualSize: 0).refcountsPerBlock == UInt64(4096 / bits))
    let count = 256 / bits
    for index in 0..<count {
      let zeroes = [UInt8](repeating: 0, count: 32)
      let set = encode([UInt64](repeating: 0, count: index) + [maximum], order, into: zeroes)
      var expected = zeroes
      for bit in (index * bits)..<((index + 1) * bits) { expected[bit / 8] |= 1 << UInt8(bit % 8) }
      #expect(hex(set) == hex(expected), "entry \(index) of \(bits) bits")
      var cleared = [UInt8](repeating: 0xff, count: 32)
      cleared.withUnsafeMutableBytes { RefcountCodec(order: order).store(0, in: $0, at: index) }
      #expect(hex(cleared) == hex(expected.map { ~$0 }), "entry \(index) of \(bits) bits")
    }
  }

  @Test("wide entries are big-endian")
  func bigEndian() {
    for (order, value, text): (Int, UInt64, String) in [
      (3, 0x12, "0012"), (4, 0x1234, "00001234"), (5, 0x1234_5678, "0000000012345678"),
      (6, 0x1234_5678_9abc_def0, "0000000000000000123456789abcdef0"),
    ] {
      let block = bytes(text)
      #expect(decode(block, order, 2) == [0, value])
      #expect(hex(encode([0, value], order, into: [UInt8](repeating: 0, count: block.count))) == text)
    }
  }

  @Test("indices outside the block read 0 and change nothing", arguments: 0...6)
  func outside(_ order: Int) {
    for count in [0, 1, 7, 512] {
      var block = [UInt8](repeating: 0xa5, count: count)
      let entries = count * 8 / (1 << order)
      for index in [-1, entries, entries + 1, entries + 1000, 1 << 40] {
        #expect(block.withUnsafeBytes { RefcountCodec(order: order).value(in: $0, at: index) } == 0)
        block.withUnsafeMutableBytes { RefcountCodec(order: order).store(1, in: $0, at: index) }
      }
      #expect(block == [UInt8](repeating: 0xa5, count: count), "order \(order), \(count) bytes")
    }
  }

  @Test("the first used and the first free count of a range are those of a look at each", arguments: 0...6)
  func searches(_ order: Int) {
    var random = SplitMix64(seed: UInt64(order))
    let codec = RefcountCodec(order: order)
    let maximum: UInt64 = order == 6 ? .max : (1 << UInt64(1 << order)) - 1
    for round in 0..<300 {
      // Rows of free and of used counts; the used ones have few bits, many bits, or one at an end.
      var block = [UInt8](repeating: 0, count: 512)
      let count = 4096 >> order
      var (values, isUsed) = ([UInt64](), random.below(2) == 0)
      while values.count < count {
        let row = 1 + random.below(round % 3 == 0 ? 4 : 150)
        for _ in 0..<min(Int(row), count - values.count) {
          let used = [1, maximum, maximum ^ (maximum >> 1), random.next() & maximum | 1][Int(random.below(4))]
          values.append(isUsed ? used : 0)
        }
        isUsed.toggle()
      }
      block = encode(values, order, into: block)
      block.withUnsafeBytes { raw in
        for _ in 0..<30 {
          let start = Int(random.below(UInt64(count)))
          let range = start..<start + Int(random.below(UInt64(count - start + 1)))
          let used = range.first { values[$0] != 0 } ?? range.upperBound
          let free = range.first { values[$0] == 0 } ?? range.upperBound
          #expect(codec.firstUsed(in: raw, range) == used, "order \(order), round \(round), \(range)")
          #expect(codec.firstFree(in: raw, range) == free, "order \(order), round \(round), \(range)")
        }
        // Behind the block all counts are 0.
        #expect(codec.firstFree(in: raw, count..<count + 100) == count)
        #expect(codec.firstUsed(in: raw, count..<count + 100) == count + 100)
      }
    }
  }

  @Test("random counts survive the way there and back", arguments: 0...6)
  func roundTrip(_ order: Int) {
    var random = SplitMix64(seed: UInt64(order))
    let maximum: UInt64 = order == 6 ? .max : (1 << UInt64(1 << order)) - 1
    let values = (0..<(4096 >> order)).map { _ in random.next() & maximum }
    let start = (0..<512).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    #expect(decode(encode(values, order, into: start), order, values.count) == values)
  }
}
