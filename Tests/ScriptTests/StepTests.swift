// Operations step by step: what is replayed is what was done, every crash verdict is that of the genuine check on
// the crashed copy, and the bytes that the guest is said to read are those that it reads.
//
// QATLAS_STEPS changes how many operations there are, QATLAS_SEED the first seed.

import Cartography
import CellScreen
import Explorer
import EngineSupport
import ExplorerSupport
import Foundation
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite("Steps", .tags(.campaign)) struct StepTests {
  /// A line of the explorer that changes something.
  private func line(_ random: inout SplitMix64, _ size: UInt64, _ number: Int) -> String {
    let unit: UInt64 = random.one(of: [512, 4096, 65536])
    let offset = UInt64.random(in: 0..<max(1, size / unit), using: &random) * unit
    let length = min(size - offset, unit * UInt64.random(in: 1...12, using: &random))
    let range = "0x\(String(offset, radix: 16)) \(length)"
    return random.one(of: [
      "write \(range)", "write -P 7 \(range)", "discard \(range)", "write -z \(range)",
      "write -z -u \(range)",
      "snapshot-create s\(number)", "resize \(size + 65536)", "bitmap-add b\(number)",
    ])
  }

  @Test("the steps of operations of all kinds are the operation, and crashes are what the genuine check says")
  func operations() throws {
    let tool = try requireTool("qemu-img")
    let count = Int(try environmentNumber("QATLAS_STEPS", default: 24))
    let first = try environmentNumber("QATLAS_SEED", default: 1)
    // Without damage: what is wrong from the beginning is refused.
    let sound = [
      "plain", "version 2", "extended L2", "512-byte clusters", "two-megabyte clusters", "compressed",
      "zeroes",
      "preallocated", "nearly full", "mostly free", "snapshots", "VM state", "VM state left over", "bitmaps",
      "lazy refcounts", "overlay", "overlay longer than its backing file", "external data file",
      "raw external data file, extended L2",
    ]
    let kinds = ScreenKindOfImage.all.filter { sound.contains($0.name) }
    #expect(kinds.count == sound.count)
    var (told, crashes, leaking, unchanged) = (0, 0, 0, 0)
    var seed = first
    while told < count, unchanged < 4 * count {
      let kind = kinds[Int(seed) % kinds.count]
      var random = SplitMix64(seed: seed)
      let what = "\(kind.name), QATLAS_SEED=\(seed) QATLAS_STEPS=1"
      seed += 1
      let folder = try ImageFolder(kind)
      let explorer = try folder.explorer()
      let session = explorer.session
      let asked = line(&random, session.geometry.virtualSize, Int(seed))
      let before = try session.overlay.bytes(at: 0, count: Int(session.overlay.length))
      _ = explorer.performLine(asked)
      guard session.generation == 1, let step = session.done.first, let story = session.story(of: 0) else {
        unchanged += 1
        continue
      }
      told += 1
      story.survey.askAll()
      Scheduler.finish(story.survey)
      try replays(session, before, step, "\(what): \(asked)")
      for index in 0..<story.trace.count {
        let text = story.trace[index]
        #expect(!text.action.isEmpty && !text.place.isEmpty, "\(what)")
        #expect(
          story.survey.verdict(behind: story.trace.events(behind: index)) != nil,
          "\(what): \(asked), \(index)")
      }
      // The genuine check sees every crash in the same way; two of each operation are enough.
      let moments = [
        Int.random(in: 0...story.trace.events.count, using: &random), story.trace.events.count / 2,
      ]
      for moment in moments {
        let verdict = try #require(story.survey.verdict(behind: moment))
        let crashed = try #require(session.overlays.views(at: HistoryMoment(generation: 0, events: moment)))[
          0]
        let path = folder.path + ".crash"
        try Data(crashed.bytes(at: 0, count: Int(crashed.length))).write(to: URL(fileURLWithPath: path))
        let found = try run(tool, ["check", "-f", "qcow2", "--output=json", path])
        let json = try? JSONSerialization.jsonObject(with: Data(found.stdout.utf8)) as? [String: Any]
        // Without its data file or its passphrase the genuine tool opens no image.
        guard let json else { continue }
        crashes += 1
        let errors = (json["corruptions"] as? Int ?? 0) + (json["check-errors"] as? Int ?? 0)
        let leaks = json["leaks"] as? Int ?? 0
        if leaks > 0 { leaking += 1 }
        #expect(
          verdict.errors == UInt64(errors) && verdict.leaks == UInt64(leaks),
          "\(what): \(asked), behind \(moment): \(verdict), genuine \(errors) errors, \(leaks) leaks")
      }
      var last: CrashSurvey.Orders?
      for index in 0..<story.trace.count {
        guard let orders = story.survey.orders(around: story.trace.events(behind: index)), orders != last
        else { continue }
        last = orders
        #expect(
          !orders.worst.isHarm || asked.hasPrefix("snapshot-create") && isLate(orders.worst),
          "\(what): \(asked), orders around \(index): \(orders)")
      }
    }
    print(
      "steps: \(told) operations, \(crashes) crashes also checked by qemu-img, \(leaking) of them with leaks")
    #expect(told == count && crashes > count / 2)
  }

  /// While a snapshot is made, counts rise before flags say so: tables look as if they had one user, and there is no
  /// snapshot yet that a writer could change by that. The genuine tool does it in the same order.
  private func isLate(_ verdict: CrashVerdict) -> Bool {
    guard verdict.failure == nil, let first = verdict.firstError else { return false }
    switch (first.kind, verdict.guest) {
    case (.copiedWrongL1, .notLookedAt), (.copiedWrongL2, .notLookedAt): return true
    default: return false
    }
  }

  /// The events done one by one are the operation, and each moment is what they come to.
  private func replays(
    _ session: Session, _ before: [UInt8], _ step: Session.Step, _ what: String
  ) throws {
    let replay = MemoryStorage(bytes: before)
    let events = step.operations.events
    for (index, event) in events.enumerated() where event.file == .image {
      try event.event.redo(on: replay)
      guard index % 3 == 0 || index + 1 == events.count else { continue }
      let view = try #require(session.overlays.views(at: HistoryMoment(generation: 0, events: index + 1)))[0]
      #expect(
        sameBytes(
          try view.bytes(at: 0, count: Int(view.length)), try replay.bytes(at: 0, count: Int(replay.length))),
        "\(what), behind \(index)")
    }
    #expect(
      sameBytes(
        try replay.bytes(at: 0, count: Int(replay.length)),
        try session.overlay.bytes(at: 0, count: Int(session.overlay.length))), "\(what)")
  }

  @Test("the guest's bytes behind each step, and a crash that does harm is said to") func verdicts() throws {
    let folder = try ImageFolder()
    let explorer = try folder.explorer()
    try ScriptRunner.run(":write -P 1 5M 4k\n:write -P 2 5M 4k", on: explorer)
    let session = explorer.session
    let story = try #require(session.story(of: 1))
    Scheduler.finish(story.survey)
    // In place: the old bytes until they are written over.
    #expect(story.survey.verdict(behind: 0)?.guest == .before)
    #expect(story.survey.verdict(behind: story.trace.events.count)?.guest == .after)
    // The same writes without the flush between them: an entry may point to a cluster that has no count.
    let first = try #require(session.story(of: 0))
    Scheduler.finish(first.survey)
    let events = session.done[0].operations.events.filter { $0.event.kind != .flush }
    let step = session.done[0]
    let careless = CrashSurvey(
      events,
      CrashStates(
        files: { count in
          guard let base = session.overlays.views(at: HistoryMoment(generation: 0)) else { return nil }
          let overlay = OverlayStorage(base: base[0])
          for event in events.prefix(count) { try? event.event.redo(on: overlay) }
          return [overlay]
        },
        image: { files throws(ImageError) in try Image(files[0]) }, checked: [.image], guest: step.range))
    careless.askAll()
    Scheduler.finish(careless)
    let orders = try #require(careless.orders(around: events.count))
    #expect(orders.worst.isHarm && orders.worst.errors > 0, "\(orders)")
    #expect(orders.isAll == (orders.writes <= 6) && orders.clean + orders.leaking < orders.states)
  }

  @Test("the screen tells the steps, opens the crashed copy, and a dialog steps through what is not done yet")
  func screen() throws {
    let folder = try ImageFolder()
    let explorer = try folder.explorer()
    // Before anything was done it says what there will be to see.
    try ScriptRunner.run("s", on: explorer)
    #expect(explorer.screen == .steps && explorer.canvas().text().contains("No operation was done yet"))
    try ScriptRunner.run("q", on: explorer)
    try ScriptRunner.run(":write 5M 4k\ns\nG k k k", on: explorer)
    #expect(explorer.screen == .steps)
    var text = explorer.canvas().text()
    #expect(
      text.contains("1 leak") && text.contains("In any order: all 8 combinations of 3 writes"), "\(text)")
    #expect(text.contains("refcount"), "\(text)")
    try ScriptRunner.run("c", on: explorer)
    #expect(explorer.screen == .explorer && explorer.message?.contains("power cut") == true)
    explorer.session.atlas.scanAll()
    try ScriptRunner.run(":look-at now\n:goto 8M\nw C-s", on: explorer)
    #expect(explorer.screen == .steps && explorer.session.generation == 1)
    text = explorer.canvas().text()
    #expect(text.contains("not in place"), "\(text)")
    try ScriptRunner.run("C-r", on: explorer)
    #expect(explorer.session.generation == 2)
    try ScriptRunner.run("[", on: explorer)
    #expect(explorer.canvas().text().contains("operation 1 of 2"))
  }
}
