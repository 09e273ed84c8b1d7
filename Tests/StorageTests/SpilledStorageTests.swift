// Changes above a base in a file of their own: the same bytes as in memory, whatever is done, and a base that nobody
// touches; and an overlay that passes its changes on, holds them back and lets them go.

import Storage
import TestSupport
import Testing

@Suite("A scratch file", .tags(.fast)) struct SpilledStorageTests {
  private static func base(_ random: inout SplitMix64, _ length: Int) throws -> MemoryStorage {
    let base = MemoryStorage()
    try base.write((0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }, at: 0)
    return base
  }

  private static func change(
    _ random: inout SplitMix64,
    _ body: ((any Storage) throws(StorageError) -> Void) throws(StorageError) -> Void
  ) throws(StorageError) {
    let offset = random.below(60_000)
    let count = 1 + random.below(20_000)
    let byte = UInt8(truncatingIfNeeded: random.next())
    let kind = random.below(8)
    try body { (storage) throws(StorageError) in
      switch kind {
      case 0: try storage.writeZeroes(at: offset, count: count, tag: .untagged)
      case 1: try storage.punch(at: offset, count: count, tag: .untagged)
      case 2: try storage.truncate(to: offset, tag: .untagged)
      case 3: try storage.allocate(at: offset, count: count, tag: .untagged)
      default: try storage.write([UInt8](repeating: byte, count: Int(count)), at: offset)
      }
    }
  }

  @Test("random changes read as those of a plain storage, and the base stays as it is")
  func sameBytes() throws {
    for seed in 0..<60 {
      var random = SplitMix64(seed: UInt64(seed))
      let length = Int(random.below(50_000))
      let base = try Self.base(&random, length)
      let before = try base.bytes(at: 0, count: length)
      let twin = MemoryStorage()
      try twin.write(before, at: 0)
      let spilled = SpilledStorage(base, in: MemoryStorage())
      for _ in 0..<40 {
        try Self.change(&random) { (change) throws(StorageError) in
          try change(twin)
          try change(spilled)
        }
        #expect(spilled.length == twin.length, "seed \(seed)")
        let end = Int(twin.length) + 5000
        #expect(try spilled.bytes(at: 0, count: end) == twin.bytes(at: 0, count: end), "seed \(seed)")
        var at: UInt64 = 0
        while at < spilled.length {
          let extent = spilled.extent(at: at)
          let stop = min(extent.end, spilled.length)
          #expect(stop > at)
          if extent.isHole {
            let bytes = try twin.bytes(at: at, count: Int(stop - at))
            #expect(bytes.allSatisfy { $0 == 0 }, "seed \(seed), a hole at \(at) that is none")
          }
          at = stop
        }
      }
      #expect(try base.bytes(at: 0, count: length) == before)
    }
  }

  @Test("an overlay passes changes on, tells them, holds one back, drops it or lets it go")
  func passingThrough() throws {
    for seed in 0..<40 {
      var random = SplitMix64(seed: UInt64(1000 + seed))
      let target = try Self.base(&random, 30_000)
      let twin = MemoryStorage()
      try twin.write(try target.bytes(at: 0, count: 30_000), at: 0)
      let overlay = OverlayStorage(base: target)
      try overlay.write([1, 2, 3], at: 100)
      try twin.write([1, 2, 3], at: 100)
      var heard = 0
      try overlay.passThrough(to: target) { _ in heard += 1 }
      #expect(!overlay.hasHistory && !overlay.hasUnsavedChanges)
      for _ in 0..<30 {
        let isHeld = random.below(3) == 0
        if isHeld { overlay.begin("held") }
        let told = heard
        let before = try target.bytes(at: 0, count: Int(target.length))
        let isDropped = isHeld && random.below(2) == 0
        try Self.change(&random) { (change) throws(StorageError) in
          try change(overlay)
          if !isDropped { try change(twin) }
        }
        if isHeld {
          #expect(heard == told)
          #expect(try target.bytes(at: 0, count: Int(target.length)) == before, "seed \(seed)")
          if isDropped { overlay.rollback() }
          _ = try overlay.release()
          #expect(!overlay.isHeldBack && !overlay.hasHistory)
        }
        #expect(overlay.length == twin.length && target.length == twin.length, "seed \(seed)")
        let count = Int(twin.length) + 100
        let wanted = try twin.bytes(at: 0, count: count)
        #expect(try overlay.bytes(at: 0, count: count) == wanted, "seed \(seed)")
        #expect(try target.bytes(at: 0, count: count) == wanted, "seed \(seed)")
      }
      #expect(heard > 0)
      overlay.stopPassing()
      let end = try target.bytes(at: 0, count: Int(target.length))
      try overlay.write([9, 9, 9, 9], at: 0)
      overlay.commit()
      #expect(try target.bytes(at: 0, count: Int(target.length)) == end)
      #expect(overlay.hasUnsavedChanges)
    }
  }
}
