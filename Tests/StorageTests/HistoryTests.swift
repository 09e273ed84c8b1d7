// Moments of the past: every one of them shows the bytes that were there, also while the history goes on, is
// taken back, dropped and saved; and several files have one history.

import Storage
import TestSupport
import Testing

/// A set of overlays over files that a save writes to, and what each file showed at every moment.
private struct Diary {
  let set: FileSet
  private let bases: [FileStorage]
  private let targets: [FileStorage]
  private(set) var now: [[UInt8]]
  /// Per operation in place the moments from before it to its last event but one.
  private var past: [[[[UInt8]]]] = []
  private var future: [[[[UInt8]]]] = []

  init(_ folder: TemporaryDirectory, files: Int, _ random: inout SplitMix64) throws {
    var paths: [String] = []
    var start: [[UInt8]] = []
    for number in 0..<files {
      paths.append(folder.path("file\(number)"))
      start.append(randomBytes(Int(random.below(40000)), &random))
      try FileStorage(path: paths[number], mode: .create).write(start[number], at: 0)
    }
    now = start
    bases = try paths.map { try FileStorage(path: $0, mode: .readOnly) }
    targets = try paths.map { try FileStorage(path: $0, mode: .readWrite) }
    let overlays = bases.map { OverlayStorage(base: $0) }
    set = FileSet(overlays[0], Array(overlays.dropFirst()))
  }

  private mutating func operate(_ random: inout SplitMix64) throws {
    let before = now
    var moments: [[[UInt8]]] = []
    set.begin("operation", isLong: random.below(2) == 0)
    for _ in 0..<random.below(6) {
      let file = Int(random.below(UInt64(set.files.count)))
      let change = Change.random(&random, length: now[file].count)
      let shown = now
      let count = set.pending.eventCount
      try change.apply(to: set.files[file])
      change.apply(to: &now[file])
      if set.pending.eventCount > count { moments.append(shown) }
    }
    if random.below(5) == 0 {
      set.rollback()
      now = before
    } else if set.commit() != nil {
      past.append(moments)
      future = []
    }
  }

  mutating func step(_ random: inout SplitMix64) throws {
    switch random.below(8) {
    case 0:
      guard let last = past.popLast() else { return }
      _ = try #require(try set.undo())
      future.append(last + [now])
      now = last[0]
    case 1:
      guard var next = future.popLast() else { return }
      _ = try #require(try set.redo())
      now = next.removeLast()
      past.append(next)
    case 2:
      try set.save(to: targets)
      #expect(!set.hasUnsavedChanges)
      for (file, target) in targets.enumerated() {
        try #require(sameBytes(try target.bytes(at: 0, count: Int(target.length)), now[file]))
      }
    default: try operate(&random)
    }
    for (file, overlay) in set.files.enumerated() {
      try #require(sameBytes(try overlay.bytes(at: 0, count: Int(overlay.length)), now[file]))
    }
  }

  /// All moments there are, with what was shown.
  var moments: [(moment: HistoryMoment, bytes: [[UInt8]])] {
    var result: [(moment: HistoryMoment, bytes: [[UInt8]])] = []
    for (generation, list) in past.enumerated() {
      for (events, bytes) in list.enumerated() {
        result.append((HistoryMoment(generation: generation, events: events), bytes))
      }
    }
    result.append((HistoryMoment(generation: past.count), now))
    for (number, list) in future.reversed().enumerated() {
      for (events, bytes) in list.enumerated().dropFirst() {
        result.append((HistoryMoment(generation: past.count + number, events: events), bytes))
      }
    }
    return result
  }
}

@Suite("History", .tags(.fast))
struct HistoryTests {
  private typealias Seen = (views: [GenerationView], bytes: [[UInt8]])

  private func compare(_ seen: Seen, _ place: String) throws {
    for (view, bytes) in zip(seen.views, seen.bytes) {
      try #require(view.length == UInt64(bytes.count), "\(place)")
      try #require(sameBytes(try view.bytes(at: 0, count: bytes.count), bytes), "\(place)")
      // Holes are zeroes and extents go on.
      var at: UInt64 = 0
      while at < view.length {
        let extent = view.extent(at: at)
        let end = min(view.length, extent.end)
        try #require(end > at, "\(place)")
        if extent.isHole {
          let zeroes = [UInt8](repeating: 0, count: Int(end - at))
          try #require(sameBytes(Array(bytes[Int(at)..<Int(end)]), zeroes), "\(place)")
        }
        at = end
      }
    }
  }

  @Test("every moment shows what was there, then and later", arguments: 0..<15)
  func moments(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    var diary = try Diary(TemporaryDirectory(), files: 1 + Int(seed % 3), &random)
    var kept: [Seen] = []
    for step in 0..<16 {
      try diary.step(&random)
      let all = diary.moments
      for (moment, bytes) in all where step == 15 || random.below(UInt64(all.count)) < 4 {
        let views = try #require(diary.set.views(at: moment), "seed \(seed), step \(step), \(moment)")
        try compare((views, bytes), "seed \(seed), step \(step), \(moment)")
        if random.below(8) == 0 { kept.append((views, bytes)) }
      }
      for seen in kept where step % 4 == 3 { try compare(seen, "seed \(seed), step \(step), kept") }
    }
    #expect(diary.set.views(at: HistoryMoment(generation: -1)) == nil)
    #expect(
      diary.set.views(at: HistoryMoment(generation: diary.set.applied.count + diary.set.undone.count + 1))
        == nil)
  }

  @Test("two moments differ at most where pages changed", arguments: 0..<6)
  func differences(_ seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    var diary = try Diary(TemporaryDirectory(), files: 1, &random)
    for _ in 0..<15 { try diary.step(&random) }
    let all = diary.moments
    for _ in 0..<8 {
      let (a, b) = (all[Int(random.below(UInt64(all.count)))], all[Int(random.below(UInt64(all.count)))])
      let views = try [a, b].map { try #require(diary.set.views(at: $0.moment)?.first) }
      let pages = try #require(views[0].layer.changedPages(since: views[1].layer))
      let changed = Set(pages)
      func page(_ bytes: [UInt8], _ number: Int) -> [UInt8] {
        let part = bytes.dropFirst(number * Page.size).prefix(Page.size)
        return part + [UInt8](repeating: 0, count: Page.size - part.count)
      }
      for number in 0...max(a.bytes[0].count, b.bytes[0].count) / Page.size
      where !changed.contains(UInt64(number)) {
        let same = sameBytes(page(a.bytes[0], number), page(b.bytes[0], number))
        try #require(same, "seed \(seed), page \(number)")
      }
    }
    let other = OverlayStorage(base: MemoryStorage())
    #expect(other.layer.changedPages(since: diary.set.files[0].layer) == nil)
  }

  @Test("events of several files are in the order of time, and each names its file")
  func order() throws {
    let set = FileSet(
      OverlayStorage(base: MemoryStorage()), (0..<2).map { _ in OverlayStorage(base: MemoryStorage()) })
    set.begin("three files")
    let files = [2, 0, 1, 1, 0, 2, 2, 0]
    for (number, file) in files.enumerated() {
      try set.files[file].write([UInt8(number)], at: UInt64(number * 10))
    }
    let operation = try #require(set.commit())
    #expect(operation.events.map(\.file.value) == files)
    #expect(operation.events.map(\.event.offset) == files.indices.map { UInt64($0 * 10) })
    #expect(set.applied.map(\.id) == [operation.id])
  }

  @Test("the past cannot be written")
  func readOnly() throws {
    let overlay = OverlayStorage(base: MemoryStorage(bytes: [1, 2, 3]))
    overlay.begin("one")
    try overlay.write([9], at: 1)
    overlay.commit()
    let view = try #require(overlay.view(at: HistoryMoment(generation: 0)))
    #expect(!view.isWritable)
    #expect(throws: StorageError.self) { try view.write([7], at: 0) }
    #expect(throws: StorageError.self) { try view.truncate(to: 0, tag: .untagged) }
    #expect(throws: StorageError.self) { try view.punch(at: 0, count: 1, tag: .untagged) }
    #expect(throws: StorageError.self) { try view.writeZeroes(at: 0, count: 1, tag: .untagged) }
    #expect(try view.bytes(at: 0, count: 3) == [1, 2, 3])
    #expect(try overlay.bytes(at: 0, count: 3) == [1, 9, 3])
  }
}
