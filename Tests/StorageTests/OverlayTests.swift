// The overlay's history: steps back and forth give back every byte, a rollback leaves nothing, and
// a save makes the file below equal to what is shown, whatever was done and undone before.

import Storage
import TestSupport
import Testing

/// An overlay and, for each of its generations, the bytes it must show.
private struct Twin {
  let overlay: OverlayStorage
  var past: [[UInt8]] = []
  var now: [UInt8]
  var future: [[UInt8]] = []

  init(_ overlay: OverlayStorage, _ bytes: [UInt8]) {
    self.overlay = overlay
    now = bytes
  }

  /// A few changes as one operation, committed or dropped.
  mutating func operate(_ random: inout SplitMix64) throws {
    let before = now
    overlay.begin("operation")
    let count = random.below(5)
    for _ in 0..<count {
      let change = Change.random(&random, length: now.count)
      try change.apply(to: overlay)
      change.apply(to: &now)
      if random.below(4) == 0 { overlay.note(WriteTag(structure: 3, index: 7)) }
    }
    if random.below(4) == 0 {
      overlay.rollback()
      now = before
    } else if overlay.commit() != nil {
      past.append(before)
      future = []
    }
  }

  mutating func undo() {
    let operation = try? overlay.undo()
    #expect((operation != nil) == !past.isEmpty)
    guard let last = past.popLast() else { return }
    future.append(now)
    now = last
  }

  mutating func redo() {
    let operation = try? overlay.redo()
    #expect((operation != nil) == !future.isEmpty)
    guard let next = future.popLast() else { return }
    past.append(now)
    now = next
  }

  mutating func step(_ random: inout SplitMix64) throws {
    switch random.below(5) {
    case 0: undo()
    case 1: redo()
    default: try operate(&random)
    }
  }
}

@Suite("Overlay", .tags(.fast))
struct OverlayTests {
  private func start(_ random: inout SplitMix64) -> [UInt8] {
    randomBytes(Int(random.below(50000)), &random)
  }

  @Test("undo, redo and rollback give back every byte", arguments: 0..<60)
  func history(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let bytes = start(&random)
    let base = MemoryStorage(bytes: bytes)
    var twin = Twin(OverlayStorage(base: base), bytes)
    for step in 0..<40 {
      try twin.step(&random)
      try #require(sameBytes(try contents(twin.overlay), twin.now), "seed \(seed), step \(step)")
      #expect(twin.overlay.generation == twin.past.count)
    }
    while !twin.past.isEmpty { twin.undo() }
    #expect(sameBytes(try contents(twin.overlay), bytes))
    #expect(!twin.overlay.hasUnsavedChanges)
    while !twin.future.isEmpty { twin.redo() }
    #expect(sameBytes(try contents(twin.overlay), twin.now))
    #expect(sameBytes(try contents(base), bytes), "the base was touched")
  }

  @Test("a save makes the target equal after any history", arguments: 0..<80)
  func saving(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let folder = try TemporaryDirectory()
    let path = folder.path("image")
    let bytes = start(&random)
    try FileStorage(path: path, mode: .create).write(bytes, at: 0)
    // As in the program: the base and the target are the same file.
    var twin = Twin(OverlayStorage(base: try FileStorage(path: path, mode: .readOnly)), bytes)
    let target = try FileStorage(path: path, mode: .readWrite)
    for step in 0..<40 {
      try twin.step(&random)
      guard random.below(4) == 0 else { continue }
      try twin.overlay.save(to: target)
      #expect(!twin.overlay.hasUnsavedChanges)
      try #require(target.length == twin.overlay.length)
      try #require(sameBytes(try contents(target), twin.now), "seed \(seed), step \(step)")
      try #require(sameBytes(try contents(twin.overlay), twin.now), "seed \(seed), step \(step), shown")
    }
  }

  @Test("a save that fails is finished or taken back by the next one", arguments: 0..<80)
  func failingSave(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let bytes = start(&random)
    let file = MemoryStorage(bytes: bytes)
    var twin = Twin(OverlayStorage(base: MemoryStorage(bytes: bytes)), bytes)
    for round in 0..<12 {
      for _ in 0..<(1 + random.below(4)) { try twin.step(&random) }
      let fault: FaultyStorage.Fault = random.below(2) == 0 ? .fails : .failsHalfway
      let target = FaultyStorage(file, fault, after: Int(random.below(8)))
      do {
        try twin.overlay.save(to: target)
      } catch {
        #expect(target.hasFailed)
        #expect(twin.overlay.hasUnsavedChanges)
        if random.below(2) == 0 { twin.undo() }
        if random.below(3) == 0 { try twin.step(&random) }
        target.repair()
        if random.below(2) == 0 { continue }
        try twin.overlay.save(to: target)
      }
      try #require(sameBytes(try contents(file), twin.now), "seed \(seed), round \(round)")
      #expect(!twin.overlay.hasUnsavedChanges)
    }
    try twin.overlay.save(to: file)
    #expect(sameBytes(try contents(file), twin.now), "seed \(seed)")
  }

  @Test("a change behind an undo ends the future, and empty operations are none")
  func future() throws {
    let overlay = OverlayStorage(base: MemoryStorage(bytes: [1, 2, 3]))
    overlay.begin("one")
    try overlay.write([9], at: 0)
    #expect(overlay.commit()?.title == "one")
    try overlay.undo()
    overlay.begin("two")
    #expect(overlay.commit() == nil)
    #expect(overlay.undone.count == 1)
    overlay.begin("three")
    try overlay.write([8], at: 0)
    #expect(overlay.commit()?.title == "three")
    #expect(try overlay.redo() == nil)
    #expect(try contents(overlay) == [8, 2, 3])
  }

  @Test("events say what was written, in order, with lengths")
  func events() throws {
    let overlay = OverlayStorage(base: MemoryStorage(bytes: [1, 2, 3]))
    overlay.begin("op")
    let tag = WriteTag(structure: 5, reason: 2, table: 10, index: 11, before: (1, 2), after: (3, 4))
    overlay.note(tag)
    try overlay.write([7, 7, 7, 7], at: 2, tag: tag)
    try overlay.flush()
    try overlay.flush()
    try overlay.truncate(to: 4, tag: .untagged)
    let operation = try #require(overlay.commit())
    #expect(operation.events.map(\.kind) == [.note, .write, .flush, .truncate])
    #expect(operation.events[1].tag == tag)
    #expect(operation.events.map(\.lengthAfter) == [3, 6, 6, 4])
    #expect(operation.lengthBefore == 3 && operation.lengthAfter == 4)
  }

  @Test("memory has a limit, a refused write changes nothing, and what is dropped is given back")
  func memoryLimit() throws {
    let overlay = OverlayStorage(base: MemoryStorage(bytes: [1]), memoryLimit: 4 * Page.size + 2048)
    func pages(_ count: Int, _ seed: UInt8) -> [UInt8] {
      (0..<(count * Page.size)).map { UInt8(truncatingIfNeeded: $0) ^ seed }
    }
    // A page of one repeated byte costs nothing.
    try overlay.write([UInt8](repeating: 3, count: 100 * Page.size), at: 0)
    overlay.begin("three pages")
    try overlay.write(pages(3, 1), at: 0)
    overlay.commit()
    let shown = try contents(overlay)
    overlay.begin("too much")
    let error = #expect(throws: StorageError.self) { try overlay.write(pages(2, 2), at: 0) }
    #expect(error?.description.contains("save with :w to go on") == true)
    #expect(sameBytes(try contents(overlay), shown))
    // One more page fits, as often as it is dropped again.
    for _ in 0..<3 {
      overlay.begin("one page")
      try overlay.write(pages(1, 3), at: 0)
      overlay.rollback()
    }
    #expect(sameBytes(try contents(overlay), shown))
    // An operation that was undone is forgotten when a new one takes its place.
    try overlay.undo()
    overlay.begin("three other pages")
    try overlay.write(pages(1, 4), at: 0)
    overlay.commit()
    overlay.begin("and more")
    try overlay.write(pages(3, 5), at: 0)
    overlay.commit()
    #expect(throws: StorageError.self) { try overlay.write(pages(1, 6), at: 0) }
  }
}

@Suite("Recording and faults", .tags(.fast))
struct RecordingTests {
  @Test("a record replayed on the old bytes gives the new ones", arguments: 0..<30)
  func replay(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let bytes = randomBytes(Int(random.below(30000)), &random)
    let recording = RecordingStorage(MemoryStorage(bytes: bytes))
    for _ in 0..<20 { try Change.random(&random, length: Int(recording.length)).apply(to: recording) }
    let copy = MemoryStorage(bytes: bytes)
    for event in recording.events {
      #expect(copy.length == event.lengthBefore)
      try event.redo(on: copy)
      #expect(copy.length == event.lengthAfter)
    }
    #expect(sameBytes(try contents(copy), try contents(recording)))
  }

  @Test("faults come after the given number of changes", arguments: 0..<4)
  func faults(_ count: Int) throws {
    for fault: FaultyStorage.Fault in [.fails, .failsHalfway, .stops] {
      let base = MemoryStorage(bytes: [0, 0, 0, 0, 0, 0, 0, 0])
      let faulty = FaultyStorage(base, fault, after: count)
      var errors = 0
      for index in 0..<4 {
        do { try faulty.write([9, 9], at: UInt64(2 * index)) } catch { errors += 1 }
      }
      #expect(errors == (fault == .stops ? 0 : 4 - count))
      #expect(faulty.hasFailed)
      let written = try contents(base).filter { $0 == 9 }.count
      #expect(written == 2 * count + (fault == .failsHalfway ? 4 - count : 0))
    }
  }
}

@Suite(.tags(.fast)) struct PageTests {
  /// Big-endian words that grow by `steps` at even and odd places.
  private static func words(_ first: (UInt64, UInt64), _ steps: (UInt64, UInt64)) -> [UInt8] {
    (0..<UInt64(256)).flatMap { index in
      [first.0 &+ steps.0 &* index, first.1 &+ steps.1 &* index].flatMap { word in
        (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64(56 - 8 * $0)) }
      }
    }
  }

  private static func page(_ bytes: [UInt8]) -> Page {
    unsafe bytes.withUnsafeBytes { unsafe Page.holding($0) }
  }

  private static func bytes(_ page: Page, _ start: Int, _ count: Int) -> [UInt8] {
    var copy = [UInt8](repeating: 0xee, count: count)
    unsafe copy.withUnsafeMutableBytes { unsafe page.copy(from: start, into: $0) }
    return copy
  }

  @Test("a page is what it was made of, however it is kept")
  func kept() {
    var random = SplitMix64(seed: 1)
    let rows = [
      Self.words((1 << 63 | 0x50000, 1 << 63 | 0x60000), (0x20000, 0x20000)),
      Self.words((1 << 63 | 0x50000, 0), (0x10000, 0)),
      Self.words((0x0001_0001_0001_0001, 0x0001_0001_0001_0001), (0, 0)),
      Self.words((.max - 5, 3), (7, .max)),
    ]
    for bytes in rows {
      let page = Self.page(bytes)
      #expect(page.ownBytes == 0 && page.fillByte == nil)
      #expect(Self.bytes(page, 0, Page.size) == bytes)
      for _ in 0..<50 {
        let start = Int(random.below(UInt64(Page.size)))
        let count = Int(random.below(UInt64(Page.size - start + 1)))
        #expect(Self.bytes(page, start, count) == Array(bytes[start..<start + count]))
        // One byte that is another one is no such page any more, and back it is one again.
        let place = Int(random.below(UInt64(Page.size)))
        var other = bytes
        other[place] ^= UInt8(1 + random.below(255))
        let changed = unsafe [other[place]].withUnsafeBytes { unsafe page.replacing(from: place, with: $0) }
        #expect(Self.bytes(changed, 0, Page.size) == other && changed.ownBytes == Page.size)
        let back = unsafe [bytes[place]].withUnsafeBytes { unsafe changed.replacing(from: place, with: $0) }
        #expect(Self.bytes(back, 0, Page.size) == bytes && back.ownBytes == 0)
        #expect(back.holdsSame(as: page) && page.holdsSame(as: back) && !changed.holdsSame(as: page))
      }
    }
    #expect(Self.page([UInt8](repeating: 0, count: Page.size)).fillByte == 0)
    for (index, bytes) in rows.enumerated() {
      for (other, others) in rows.enumerated() {
        #expect(Self.page(bytes).holdsSame(as: Self.page(others)) == (index == other))
      }
    }
  }
}
