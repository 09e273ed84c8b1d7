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
}
