// Memory in blocks: zeroes whoever had it before, apart from each other, and singly or in slabs alike.

import TestSupport
import Testing

@testable import Qcow

@Suite(.tags(.fast)) struct BlockPoolTests {
  @Test("blocks are zeroes, apart from each other, and come back", arguments: [512, 4096, 8192, 2 << 20])
  func blocks(_ bytes: Int) {
    let pool = BlockPool(bytes: bytes)
    var random = SplitMix64(seed: UInt64(bytes))
    var taken: [(block: UnsafeMutableRawPointer, mark: UInt8)] = []
    for index in 0..<(bytes > 8192 ? 70 : 1200) {
      let block = pool.take()
      #expect(isFilled(Array(UnsafeRawBufferPointer(start: block, count: bytes)), with: 0))
      let mark = UInt8(1 + index % 255)
      block.initializeMemory(as: UInt8.self, repeating: mark, count: bytes)
      taken.append((block, mark))
      if random.below(3) == 0 {
        pool.giveBack(taken.remove(at: Int(random.below(UInt64(taken.count)))).block)
      }
    }
    for (block, mark) in taken {
      #expect(isFilled(Array(UnsafeRawBufferPointer(start: block, count: bytes)), with: mark))
    }
  }
}
