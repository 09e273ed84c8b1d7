// The bits of a persistent bitmap against a plain list of booleans.

import QcowFormat
import TestSupport
import Testing

@testable import Qcow

@Suite(.tags(.fast)) struct BitmapBitsTests {
  @Test(
    "every range sets the bits that its bytes belong to, over pieces and sizes",
    arguments: 1...20 as ClosedRange<UInt64>)
  func model(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let granularity = UInt8(9 + random.below(4))
    var size = (1 + random.below(9000)) * 512
    var bits = BitmapBits(
      granularity: ByteCount(UInt64(1) << UInt64(granularity)), Geometry(clusterBits: 9, virtualSize: size))
    var model: [Bool] = []
    func fit() {
      let count = Int((size + 1 << UInt64(granularity) - 1) >> UInt64(granularity))
      model = (0..<count).map { $0 < model.count ? model[$0] : false }
    }
    fit()
    for _ in 0..<30 {
      if random.below(6) == 0 {
        size = (1 + random.below(9000)) * 512
        bits.resize(to: ByteCount(size))
        fit()
      } else {
        let offset = random.below(size)
        let length = 1 + random.below(min(size - offset, 1 << random.below(23)))
        bits.set(GuestOffset(offset), ByteCount(length))
        for bit in offset >> UInt64(granularity)...(offset + length - 1) >> UInt64(granularity) {
          model[Int(bit)] = true
        }
      }
      var seen = [Bool](repeating: false, count: model.count)
      for index in bits.piecesInOrder {
        for (at, byte) in (bits.piece(index) ?? []).enumerated() where byte != 0 {
          for bit in 0..<8 where byte >> bit & 1 != 0 {
            let number = index * 4096 + at * 8 + bit
            #expect(number < seen.count, "a bit behind the end of the disk")
            if number < seen.count { seen[number] = true }
          }
        }
      }
      #expect(seen == model)
    }
  }

  /// The numbers of the bits that are set.
  private func numbers(_ bits: BitmapBits) -> Set<UInt64> {
    var set: Set<UInt64> = []
    for index in bits.piecesInOrder {
      for (at, byte) in (bits.piece(index) ?? []).enumerated() {
        for bit in 0..<8 where byte >> bit & 1 != 0 {
          set.insert(UInt64(index * bits.pieceBytes * 8 + at * 8 + bit))
        }
      }
    }
    return set
  }

  @Test(
    "merging sets every bit of which the other bitmap has a byte, whatever both stand for",
    arguments: 1...20 as ClosedRange<UInt64>)
  func merge(_ seed: UInt64) {
    var random = SplitMix64(seed: seed)
    let size = (1 + random.below(9000)) * 512
    func made(_ random: inout SplitMix64) -> BitmapBits {
      var bits = BitmapBits(
        granularity: ByteCount(UInt64(1) << (9 + random.below(7))),
        Geometry(clusterBits: 9 + Int(random.below(4)), virtualSize: size))
      for _ in 0..<random.below(12) {
        let offset = random.below(size)
        bits.set(GuestOffset(offset), ByteCount(1 + random.below(min(size - offset, 1 << random.below(20)))))
      }
      return bits
    }
    for _ in 0..<10 {
      var target = made(&random)
      let source = made(&random)
      var wanted = numbers(target)
      for bit in numbers(source) {
        let end = min(size, (bit + 1) * source.granularity)
        wanted.formUnion((bit * source.granularity / target.granularity)...((end - 1) / target.granularity))
      }
      target.merge(source)
      #expect(numbers(target) == wanted)
      var copy = target
      copy.merge(target)
      #expect(copy == target)
      copy.clear()
      #expect(numbers(copy).isEmpty)
    }
  }
}
