// What a step of the history costs: the last of many as much as the first, in memory and in work; and what happens when
// there is no memory for more.

import Storage
import TestSupport
import Testing

@testable import Storage

@Suite("The cost of history", .tags(.fast)) struct HistoryCostTests {
  /// As the engine writes four kibibytes of a guest: the bytes, a table of sixteen pages with one word changed, a
  /// smaller one likewise, and what is noted of it.
  private func step(_ overlay: OverlayStorage, _ number: Int, _ random: inout SplitMix64) throws {
    overlay.begin("write")
    let table = UInt64(1 << 20)
    func change(_ table: UInt64, _ count: Int, word: Int) throws {
      var bytes = try overlay.bytes(at: table, count: count)
      for byte in 0..<8 { bytes[word * 8 + byte] = UInt8(truncatingIfNeeded: random.next() | 1) }
      overlay.note(WriteTag(structure: 3, index: UInt64(number)))
      try overlay.write(bytes, at: table)
    }
    try overlay.write(randomBytes(4096, &random), at: UInt64(64 << 20) + UInt64(random.below(1 << 16)) * 4096)
    try change(table, 65536, word: Int(random.below(8192)))
    try change(table + 65536, 4096, word: Int(random.below(512)))
    try overlay.flush()
    overlay.commit()
  }

  @Test("the last of many steps costs as much memory and work as the first")
  func lastAsFirst() throws {
    var random = SplitMix64(seed: 1)
    let overlay = OverlayStorage(base: MemoryStorage())
    let (rows, row) = (16, 128)
    var costs: [(bytes: Int, work: Int)] = []
    for number in 0..<rows * row {
      if number % row == 0 { costs.append((overlay.memoryInUse, overlay.work)) }
      try step(overlay, number, &random)
    }
    costs.append((overlay.memoryInUse, overlay.work))
    let bytes = zip(costs.dropFirst(), costs).map { $0.bytes - $1.bytes }
    let work = zip(costs.dropFirst(), costs).map { $0.work - $1.work }
    // The first steps find empty tables.
    #expect(bytes[rows - 1] <= bytes[rows / 2] * 11 / 10, "\(bytes)")
    #expect(bytes.allSatisfy { $0 / row <= 12 << 10 }, "\(bytes)")
    #expect(work.allSatisfy { $0 == work[0] }, "\(work)")
    // One of them all the way back and forth again.
    let shown = try overlay.bytes(at: 1 << 20, count: 1 << 17)
    while try overlay.undo() != nil {}
    #expect(try overlay.bytes(at: 1 << 20, count: 1 << 17).allSatisfy { $0 == 0 })
    while try overlay.redo() != nil {}
    #expect(sameBytes(try overlay.bytes(at: 1 << 20, count: 1 << 17), shown))
  }

  @Test("steps that are saved go when memory is needed, the oldest first, and all others stay right")
  func forgetting() throws {
    var random = SplitMix64(seed: 2)
    let base = MemoryStorage()
    let overlay = OverlayStorage(base: base, memoryLimit: 1 << 20)
    var count = 0
    // Without a save the changes are refused in the end, and nothing is dropped.
    let error = #expect(throws: StorageError.self) {
      while true {
        try step(overlay, count, &random)
        count += 1
      }
    }
    #expect(error?.description.contains("save with :w to go on") == true)
    overlay.rollback()
    #expect(overlay.forgotten == 0 && overlay.generation == count && count > 50)
    try overlay.save(to: base)
    for number in 0..<3 * count {
      try step(overlay, number, &random)
      if number % 16 == 0 { try overlay.save(to: base) }
      // The events of one step are counted when they have happened.
      #expect(overlay.memoryInUse <= overlay.memoryLimit + 4096)
    }
    let forgotten = overlay.forgotten
    #expect(forgotten > count && forgotten < overlay.generation - 16)
    #expect(overlay.view(at: HistoryMoment(generation: forgotten - 1)) == nil)
    let oldest = try #require(overlay.view(at: HistoryMoment(generation: forgotten)))
    let (start, size) = (UInt64(1 << 20), 1 << 17)
    let then = try oldest.bytes(at: start, count: size)
    let now = try overlay.bytes(at: start, count: size)
    try overlay.save(to: base)
    while try overlay.undo() != nil {}
    #expect(overlay.generation == forgotten)
    #expect(sameBytes(try overlay.bytes(at: start, count: size), then))
    #expect(sameBytes(try oldest.bytes(at: start, count: size), then))
    try overlay.save(to: base)
    #expect(sameBytes(try base.bytes(at: start, count: size), then))
    while try overlay.redo() != nil {}
    try overlay.save(to: base)
    #expect(sameBytes(try base.bytes(at: start, count: size), now))
  }

  @Test("a save over more than can be kept ends the history, and says so to those that look at it")
  func noRoomToSave() throws {
    var random = SplitMix64(seed: 3)
    let bytes = randomBytes(64 * Page.size, &random)
    let base = MemoryStorage(bytes: bytes)
    let overlay = OverlayStorage(base: base, memoryLimit: 32 * Page.size)
    overlay.begin("zeroes")
    try overlay.writeZeroes(at: 0, count: UInt64(bytes.count), tag: .untagged)
    overlay.commit()
    let beginning = try #require(overlay.view(at: HistoryMoment(generation: 0)))
    #expect(sameBytes(try beginning.bytes(at: 0, count: bytes.count), bytes))
    try overlay.save(to: base)
    #expect(try base.bytes(at: 0, count: bytes.count).allSatisfy { $0 == 0 })
    #expect(overlay.forgotten == 1 && !overlay.hasUnsavedChanges)
    #expect(try overlay.undo() == nil)
    #expect(overlay.view(at: HistoryMoment(generation: 0)) == nil)
    #expect(throws: StorageError.self) { try beginning.bytes(at: 0, count: bytes.count) }
    #expect(try overlay.bytes(at: 0, count: bytes.count).allSatisfy { $0 == 0 })
    // What is done from now on can be taken back again.
    overlay.begin("one")
    try overlay.write([1, 2, 3], at: 5)
    overlay.commit()
    try overlay.save(to: base)
    #expect(try overlay.undo() != nil)
    try overlay.save(to: base)
    #expect(try base.bytes(at: 0, count: bytes.count).allSatisfy { $0 == 0 })
  }

  @Test("a change of gigabytes costs no more than its chunks, and its way back is exact")
  func largeRanges() throws {
    var random = SplitMix64(seed: 4)
    let base = MemoryStorage()
    let at = UInt64(3 << 30) + 12345
    let bytes = randomBytes(20000, &random)
    try base.write(bytes, at: at)
    try base.truncate(to: 8 << 30, tag: .untagged)
    let overlay = OverlayStorage(base: base)
    overlay.begin("punch")
    try overlay.punch(at: 4097, count: 8 << 30 - 8200, tag: .untagged)
    overlay.commit()
    #expect(try overlay.bytes(at: at, count: bytes.count).allSatisfy { $0 == 0 })
    #expect(overlay.memoryInUse < 4096)
    #expect(overlay.extent(at: at).isHole)
    try overlay.undo()
    #expect(sameBytes(try overlay.bytes(at: at, count: bytes.count), bytes))
    try overlay.redo()
    try overlay.save(to: base)
    #expect(try base.bytes(at: at, count: bytes.count).allSatisfy { $0 == 0 })
    try overlay.undo()
    #expect(sameBytes(try overlay.bytes(at: at, count: bytes.count), bytes))
    let then = try #require(overlay.view(at: HistoryMoment(generation: 0)))
    #expect(sameBytes(try then.bytes(at: at - 5, count: bytes.count), [0, 0, 0, 0, 0] + bytes.dropLast(5)))
  }
}

@Suite("Maps of pages", .tags(.fast)) struct PageMapTests {
  @Test("a map holds what a dictionary would", arguments: 0..<20)
  func model(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    var map = PageMap()
    var model: [UInt64: Page] = [:]
    for _ in 0..<200 {
      let first = random.below(400)
      let range = first..<first + random.below(random.below(3) == 0 ? 200 : 5)
      let page = random.below(4) == 0 ? nil : Page.filled(UInt8(random.below(3)))
      let copy = map
      map.set(page, range)
      #expect(copy.count == model.count)
      for number in range { model[number] = page }
      #expect(map.count == model.count && map.isEmpty == model.isEmpty)
    }
    for number in 0..<UInt64(700) { #expect(map[number] === model[number]) }
    var at: UInt64 = 0
    while at < 700 {
      let (page, end) = map.run(at: at, before: 700)
      #expect(end > at && end <= 700)
      for number in at..<end { #expect(page === model[number]) }
      at = end
    }
    var seen = 0
    map.forEach { number, page in
      seen += 1
      #expect(model[number] === page)
    }
    #expect(seen == model.count)
  }

  @Test("a page that takes the place of another is what it was made of", arguments: 0..<20)
  func successors(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    var bytes =
      random.below(2) == 0 ? [UInt8](repeating: 7, count: Page.size) : randomBytes(Page.size, &random)
    var page = unsafe bytes.withUnsafeBytes { unsafe Page.holding($0) }
    var isSmall = false
    for _ in 0..<300 {
      let start = Int(random.below(UInt64(Page.size - 8)))
      let part = random.below(8) == 0 ? Array(bytes[start..<start + 8]) : randomBytes(8, &random)
      bytes.replaceSubrange(start..<start + 8, with: part)
      page = unsafe part.withUnsafeBytes { unsafe page.succeeded(from: start, by: $0) }
      var read = [UInt8](repeating: 1, count: Page.size)
      unsafe read.withUnsafeMutableBytes { unsafe page.copy(from: 0, into: $0) }
      try #require(read == bytes)
      let from = Int(random.below(4000))
      var some = [UInt8](repeating: 1, count: 90)
      unsafe some.withUnsafeMutableBytes { unsafe page.copy(from: from, into: $0) }
      try #require(some == Array(bytes[from..<from + 90]))
      let twin = unsafe bytes.withUnsafeBytes { unsafe Page.holding($0) }
      #expect(page.holdsSame(as: twin) && twin.holdsSame(as: page))
      isSmall = isSmall || page.ownBytes > 0 && page.ownBytes < 1000
      #expect(page.ownBytes <= Page.size)
    }
    #expect(isSmall)
  }
}
