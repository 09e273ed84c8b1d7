// The screen of a check: what it says is what the check says, its plan is what the repair writes, and the check goes
// on in slices that can be stopped.

import Cartography
import CellScreen
import Explorer
import ExplorerSupport
import Qcow
import QcowFormat
import Storage
import TestSupport
import Testing

@Suite(.tags(.fast)) struct CheckScreenTests {
  private func scan(_ bytes: [UInt8]) throws -> CheckScan {
    let storage = MemoryStorage(name: "demo", bytes: bytes)
    return try CheckScan(storage, try Image(storage).geometry)
  }

  @Test(arguments: [DemoDamage.none, .damaged, .leaking]) func slicesSayTheSame(_ damage: DemoDamage) throws {
    let bytes = try damage.bytes()
    var findings: [CheckFinding] = []
    let whole = try ImageCheck(MemoryStorage(name: "demo", bytes: bytes), namesOwners: true) {
      findings.append($0)
    }
    let result = whole.run()
    var notes: [CheckNote] = []
    whole.notes { notes.append($0) }
    let scan = try scan(bytes)
    var steps = 0
    var last = 0.0
    while !scan.step(budgetNanoseconds: 1) {
      steps += 1
      #expect(scan.progress >= last && scan.progress <= 1)
      last = scan.progress
    }
    #expect(steps > 5 && scan.isDone && scan.progress == 1)
    #expect(scan.result == result)
    let groups = scan.groups.sorted
    // Notes of leaks and of the repair are said of groups and of the plan.
    let besides = notes.count {
      switch $0 {
      case .leakedData, .repair: true
      default: false
      }
    }
    #expect(groups.reduce(0) { $0 + $1.count } == UInt64(findings.count + notes.count - besides))
    #expect(groups.filter { $0.severity == .error }.reduce(0) { $0 + $1.count } == result.corruptions)
    #expect(groups.filter { $0.severity == .leak }.reduce(0) { $0 + $1.count } == result.leaks)
    let ranks = try groups.map { try #require(DamageSeverity.allCases.firstIndex(of: $0.severity)) }
    #expect(ranks == ranks.sorted(), "the worst first: \(groups.map(\.severity))")
    #expect((damage == .none) == groups.isEmpty)
    if damage == .leaking {
      #expect(groups.map(\.pattern) == [.leakedData, .leaked])
      #expect(scan.groups.leakedData?.hint == .neighbours || scan.groups.leakedData?.hint == .unknown)
    }
  }

  @Test func stoppedAndResumed() throws {
    let scan = try scan(try DemoDamage.damaged.bytes())
    _ = scan.step(budgetNanoseconds: 1)
    #expect(scan.stop() && !scan.stop())
    let before = scan.result
    #expect(scan.step(budgetNanoseconds: 1_000_000_000) && !scan.isDone && scan.result == before)
    scan.resume()
    while !scan.step(budgetNanoseconds: 1_000_000) {}
    #expect(scan.isDone && scan.result.corruptions > 0)
    #expect(!scan.stop())
  }

  /// What the plan lists is what the repair then writes, byte for byte and in its order.
  @Test(
    arguments: [DemoDamage.damaged, .leaking], [Repair(), Repair(.leaks), Repair(.all, dropsLeaks: true)])
  func planIsTheRepair(_ damage: DemoDamage, _ repair: Repair) throws {
    let explorer = try damage.explorer()
    let session = explorer.session
    let before = try session.overlay.bytes(at: 0, count: Int(session.overlay.length))
    let made = { try RepairPlan(repair, of: session.image, on: session.overlay, stops: { false }) }
    if damage == .damaged, repair.scope == .leaks {
      // Where counts are missing only a repair of all does anything.
      #expect(throws: ImageError.self) { _ = try made() }
      return
    }
    let plan = try #require(try made())
    #expect(try session.overlay.bytes(at: 0, count: Int(session.overlay.length)) == before)
    #expect(session.generation == 0 && plan.writes.isEmpty == (plan.requests == 0))
    while !plan.second.step(budgetNanoseconds: 1_000_000) {}
    let step = try session.run(repair)
    let planned = try plan.copy.bytes(at: 0, count: Int(plan.copy.length))
    #expect(try session.overlay.bytes(at: 0, count: Int(session.overlay.length)) == planned)
    var written: [RepairPlan.Write] = []
    for event in step?.operations[.image]?.events ?? [] where event.kind != .note && event.kind != .flush {
      switch event.kind {
      case .punch: written.append(.freed(event.offset..<event.offset + event.count))
      case .truncate: written.append(.length(before: event.lengthBefore, after: event.lengthAfter))
      default:
        written += ByteChange.changes(of: event, limit: .max).changes.map { .bytes($0, event.tag.target) }
      }
    }
    #expect(plan.writes == written && !plan.isCut)
    // What the second check of the copy said is true of the image now.
    let check = try ImageCheck(session.overlay, report: { _ in }).run()
    #expect(plan.second.result.corruptions == check.corruptions && plan.second.result.leaks == check.leaks)
    if damage == .leaking {
      #expect(check.leaks == (repair.dropsLeaks ? 0 : plan.remark == nil ? 0 : check.leaks))
    }
    _ = try session.undo()
    #expect(try session.overlay.bytes(at: 0, count: Int(session.overlay.length)) == before)
  }

  @Test func leaksWithDataAreOnlyGivenUpWhenAskedFor() throws {
    let explorer = try DemoDamage.leaking.explorer()
    try ScriptRunner.run("!\nr", on: explorer)
    var text = explorer.canvas().text()
    #expect(text.contains("Plan: repair") && !text.contains("--drop-leaks at"))
    #expect(text.contains("exit code 3"))
    try ScriptRunner.run("D\nr", on: explorer)
    text = explorer.canvas().text()
    #expect(text.contains("repair --drop-leaks") && text.contains("exit code 0"))
    #expect(!explorer.session.hasUnsavedChanges)
  }

  /// The plan's words are about the repair that is chosen, and the key to give leaks up is offered.
  @Test func thePlanFollowsTheChoice() throws {
    let explorer = try DemoDamage.leaking.explorer()
    try ScriptRunner.run("!", on: explorer)
    settle(explorer)
    #expect(explorer.canvas().text().contains("give leaks up"), "\(explorer.canvas().text())")
    let scan = try CheckScan(explorer.session.overlay, explorer.session.geometry)
    while !scan.step(budgetNanoseconds: 1_000_000) {}
    let forecast = try #require(scan.groups.forecast)
    let kept = forecast.description(of: Repair())
    #expect(kept.contains("keep the ") && !kept.contains("lost"), "\(kept)")
    let dropped = forecast.description(of: Repair(.all, dropsLeaks: true))
    #expect(dropped.contains("give up the ") && dropped.contains("then lost"), "\(dropped)")
    #expect(!dropped.contains("keep"), "\(dropped)")
  }

  /// A repair that has nothing to do is no operation, and says so.
  @Test func nothingToRepair() throws {
    let explorer = try DemoDamage.leaking.explorer()
    try ScriptRunner.run("!\n:repair", on: explorer)
    let generation = explorer.session.generation
    let before = try explorer.session.overlay.bytes(at: 0, count: Int(explorer.session.overlay.length))
    // What is left holds data.
    try ScriptRunner.run(":repair leaks", on: explorer)
    #expect(explorer.message?.hasSuffix("nothing changed") == true, "\(explorer.message ?? "")")
    #expect(explorer.session.generation == generation)
    #expect(try explorer.session.overlay.bytes(at: 0, count: before.count) == before)
  }

  /// The dialog of the verb opens with what the plan is about, and its Enter makes it: one step of undo.
  @Test func repairIsTheVerb() throws {
    let explorer = try DemoDamage.leaking.explorer()
    try ScriptRunner.run("!\na\nW", on: explorer)
    #expect(explorer.isInDialog && explorer.canvas().text().contains("leaks"))
    try ScriptRunner.run("Enter", on: explorer)
    #expect(explorer.session.generation == 1 && explorer.screen == .check)
    #expect(explorer.canvas().text().contains("leaked, and holds data"))
    #expect(!explorer.canvas().text().contains("leaked, and empty"))
    try ScriptRunner.run("u", on: explorer)
    #expect(explorer.session.generation == 0)
    #expect(explorer.canvas().text().contains("leaked, and empty"))
  }

  @Test func goesToEntryBytesAndGuestSide() throws {
    let explorer = try DemoDamage.damaged.explorer()
    try ScriptRunner.run("!", on: explorer)
    #expect(explorer.canvas().text().contains("points behind the end of the file"))
    try ScriptRunner.run("Enter", on: explorer)
    #expect(explorer.screen == .table && explorer.tableEntry.l2 == 19)
    try ScriptRunner.run("b\np", on: explorer)
    #expect(explorer.screen == .hex && explorer.hexOffset % 16 == 0)
    try ScriptRunner.run("b\nx", on: explorer)
    #expect(explorer.screen == .explorer && explorer.cursor.guest == 19 << 16)
    try ScriptRunner.run("b", on: explorer)
    let copied = explorer.handle(.key(.character("y")))
    #expect(
      copied.contains { if case .copy(let text) = $0 { text.contains("exceeding the end") } else { false } })
  }

  @Test func filterListsOnlyThese() throws {
    let explorer = try DemoDamage.damaged.explorer()
    try ScriptRunner.run("!\nf", on: explorer)
    #expect(explorer.canvas().text().contains("errors only"))
    #expect(!explorer.canvas().text().contains("leaked, and"))
    try ScriptRunner.run("f", on: explorer)
    #expect(explorer.canvas().text().contains("leaked, and") && !explorer.canvas().text().contains("ERROR"))
  }

  /// What is kept of many findings is bounded, and the others are counted.
  @Test func manyFindings() throws {
    let storage = MemoryStorage(name: "many")
    var options = Image.CreateOptions(size: 1 << 20)
    options.clusterSize = 4096
    try Image.create(on: storage, options)
    var bytes = try storage.bytes(at: 0, count: Int(storage.length))
    func word(_ at: Int) -> Int { bytes[at..<at + 8].reduce(0) { $0 << 8 | Int($1) } }
    let block = word(word(48))
    let first = (bytes.count + 4095) / 4096
    for index in first..<1500 { bytes[block + 2 * index + 1] = 1 }
    bytes += [UInt8](repeating: 0, count: 1500 * 4096 - bytes.count)
    let scan = try scan(bytes)
    while !scan.step(budgetNanoseconds: 1_000_000) {}
    let group = try #require(scan.groups.sorted.first)
    #expect(group.pattern == .leaked && group.count == UInt64(1500 - first))
    #expect(group.findings.count == DamageGroup.limit && group.hosts.first.count == 1)
  }
}
