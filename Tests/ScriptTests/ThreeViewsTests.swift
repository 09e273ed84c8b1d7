// Three views of an operation: what they say of disk, entries and writes is what the files hold before and behind it.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct ThreeViewsTests {
  /// Operations of every kind, one behind the other.
  private static let operations = [
    "write 6M 4k", "write 6M 4k", "write 40M 200k", "write 0x130400 512", "zero 6M 64k", "discard 1M 128k",
    "snapshot-create three", "write 6M 1k", "resize 200M", "snapshot-delete three",
  ]

  private func bytes(_ storage: any Storage, _ offset: UInt64, _ count: Int) throws -> [UInt8] {
    try storage.bytes(at: offset, count: count)
  }

  /// A row of digits or a number as bytes of a field.
  private func number(_ text: String) -> UInt64? { UInt64(text, radix: text.count == 16 ? 16 : 10) }

  @Test func theyAreTrue() throws {
    let explorer = try demoExplorer()
    for line in Self.operations {
      _ = explorer.performLine(line)
      #expect(!explorer.messageIsError, "\(line): \(explorer.message ?? "")")
      settle(explorer)
      let session = explorer.session
      let number = session.generation - 1
      let step = try #require(session.step(number))
      let (before, after) = (
        try session.scene(at: HistoryMoment(generation: number)),
        try session.scene(at: HistoryMoment(generation: number + 1))
      )
      let views = StepViews(
        step.operations, step.narration, guest: step.range, before: before.image, after: after.image,
        names: session.byteMap)
      #expect(views.lengthBefore == before.storage.length && views.lengthAfter == after.storage.length)
      try entries(views, step.operations, before, after, line)
      try guest(views, step.range, before.image, after.image, line)
    }
  }

  private func entries(
    _ views: StepViews, _ operation: FileOperation, _ before: Scene, _ after: Scene, _ line: String
  ) throws {
    let writes = FileWrite.writes(of: operation.events)
    #expect(views.writes.count == writes.count, "\(line)")
    #expect(!views.entries.isEmpty || !line.hasPrefix("write 40M"))
    // Entries of a table that moves were elsewhere before.
    let isMoved = views.entries.contains { $0.name.hasPrefix("L1[") }
    for entry in views.entries {
      let isEntry = entry.before.count == 16
      guard isEntry || entry.name.hasPrefix("refcount["), let place = entry.place else { continue }
      let count = isEntry ? 8 : 2
      func value(_ storage: any Storage) throws -> UInt64 {
        try bytes(storage, place, count).reduce(0) { $0 << 8 | UInt64($1) }
      }
      let wasThere = !isMoved || !isEntry || entry.name.hasPrefix("L1[")
      if wasThere {
        #expect(try value(before.storage) == self.number(entry.before), "\(line): \(entry)")
      }
      #expect(try value(after.storage) == self.number(entry.after), "\(line): \(entry)")
      // The write that is named brings it, and none before.
      guard let index = entry.write else {
        Issue.record("\(line): nothing brings \(entry)")
        continue
      }
      let file = OverlayStorage(base: try MemoryStorage.copy(of: before.storage))
      for (number, write) in writes.enumerated() where number <= index {
        if number == index {
          #expect(try value(file) != self.number(entry.after), "\(line), before \(index + 1): \(entry)")
        }
        for event in write.events where write.file == .image { try event.redo(on: file) }
      }
      #expect(try value(file) == self.number(entry.after), "\(line), behind \(index + 1): \(entry)")
    }
  }

  private func guest(
    _ views: StepViews, _ range: Range<UInt64>?, _ before: Image, _ after: Image, _ line: String
  ) throws {
    func read(_ image: Image, _ range: Range<UInt64>) throws -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: range.count)
      try unsafe bytes.withUnsafeMutableBytes { buffer in
        try unsafe image.read(at: GuestOffset(range.lowerBound), into: buffer)
      }
      return bytes
    }
    for run in views.guest {
      let (old, new) = (try read(before, run.range), try read(after, run.range))
      #expect(run.isChange == (old != new), "\(line): \(run)")
      for (content, found) in [(run.before, old), (run.after, new)] {
        switch content {
        case .byte(let value): #expect(found.allSatisfy { $0 == value }, "\(line): \(run)")
        case .mixed: #expect(Set(found).count > 1, "\(line): \(run)")
        case .unreadable: Issue.record("\(line): \(run) can be read")
        }
      }
    }
    // All that the operation is about is there, without gaps.
    guard let range, !views.hasMoreGuest else { return }
    let runs = views.guest.map(\.range)
    #expect(runs.first.map { $0.lowerBound <= range.lowerBound } == true, "\(line)")
    #expect(runs.last.map { $0.upperBound >= range.upperBound } == true, "\(line)")
    for (one, next) in zip(runs, runs.dropFirst()) { #expect(one.upperBound <= next.lowerBound, "\(line)") }
  }

  @Test func keys() throws {
    let explorer = try demoExplorer(width: 80, height: 24)
    let count = explorer.session.generations + 2
    try ScriptRunner.run(":write 6M 4k\n:discard 1M 64k\nE", on: explorer)
    #expect(explorer.screen == .three)
    var text = explorer.canvas().text()
    for words in ["1 What the guest reads", "2 Entries and counts", "3 Writes to the file", "discard"] {
      #expect(text.contains(words), "\(text)")
    }
    try ScriptRunner.run("h", on: explorer)
    text = explorer.canvas().text()
    #expect(text.contains("0x600000 4k") && !text.contains("discard"), "\(text)")
    try ScriptRunner.run("Tab\nTab\nEnter", on: explorer)
    #expect(explorer.screen == .hex)
    try ScriptRunner.run("q\nl", on: explorer)
    #expect(explorer.screen == .three && explorer.canvas().text().contains("discard"))
    try ScriptRunner.run("s", on: explorer)
    #expect(explorer.screen == .steps)
    _ = explorer.performLine("three 77")
    #expect(explorer.messageIsError && explorer.message == "there are operations 1 to \(count)")
  }
}

extension MemoryStorage {
  /// The same bytes once more.
  fileprivate static func copy(of storage: any Storage) throws -> MemoryStorage {
    let copy = MemoryStorage(name: "copy")
    try copy.truncate(to: storage.length, tag: .untagged)
    var at: UInt64 = 0
    while at < storage.length {
      let extent = storage.extent(at: at)
      let end = min(extent.end, storage.length, at + (1 << 20))
      if !extent.isHole {
        try copy.write(storage.bytes(at: at, count: Int(end - at)), at: at, tag: .untagged)
      }
      at = end
    }
    return copy
  }
}
