// The screen of a check: what is wrong, by what it is, what it means for the guest's data, and what a repair would write.
// Looking changes nothing; a repair is tried out on a copy in memory, and made as the verb of that name.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage
import ToolText

extension ScreenKind {
  /// The screen of a check.
  package static let check = ScreenKind("check")
}

extension Context {
  /// Where its keys are.
  package static let check = Context("check", title: "Check and repair", [.image, .searched])
}

extension Contexts {
  static let check = Contexts(.check)
}

extension CommandID {
  static let check = CommandID("check")
  static let checkFilter = CommandID("check-filter")
  static let checkScope = CommandID("check-scope")
  static let giveUpLeaks = CommandID("check-drop-leaks")
  static let tryRepair = CommandID("check-dry-run")
  static let copyFinding = CommandID("check-copy")
  static let checkRepair = CommandID("check-repair")
  static let repair = CommandID(Repair.words.name)
}

final class CheckScreen: Screen {
  static let kind = ScreenKind.check
  static let contexts: [Context] = [.check]

  let desk: Desk
  /// 1 for the findings, 2 for the plan.
  private(set) var pane = 1
  /// The selected group, and the finding of it that is told.
  private(set) var selected = 0
  private(set) var item = 0
  private(set) var top = 0
  /// The selected write of the plan, and the first that is seen.
  private(set) var write = 0
  private(set) var writeTop = 0
  /// What is listed; nil for all.
  private(set) var filter: DamageSeverity?
  /// What the plan is about.
  private(set) var repair = Repair()
  private var made: (revision: Int, scan: CheckScan?, problem: String?)?
  private var planned: (revision: Int, plan: RepairPlan)?

  init(_ desk: Desk) { self.desk = desk }

  /// The check of what is shown; nil if it cannot be opened for one.
  var scan: CheckScan? { current.scan }
  /// Why there is no check.
  var problem: String? { current.problem }

  private var current: (scan: CheckScan?, problem: String?) {
    if let made, made.revision == desk.revision { return (made.scan, made.problem) }
    var (scan, problem): (CheckScan?, String?) = (nil, nil)
    do throws(ImageError) {
      scan = try CheckScan(desk.scene.image.storage, desk.geometry)
    } catch { problem = error.description }
    made = (desk.revision, scan, problem)
    return (scan, problem)
  }

  /// What a check of what is shown has counted; nil if none has found all yet.
  var checked: (errors: UInt64, leaks: UInt64)? {
    guard let made, made.revision == desk.revision, let scan = made.scan, scan.hasFindings else { return nil }
    return (UInt64(scan.result.corruptions + scan.result.checkErrors), UInt64(scan.result.leaks))
  }

  /// The plan, if one has been made of what is shown.
  var plan: RepairPlan? {
    guard let planned, planned.revision == desk.revision, planned.plan.change == repair else { return nil }
    return planned.plan
  }

  /// There are leaked clusters that hold data, which a repair keeps unless it is told to give them up.
  var mayGiveUpLeaks: Bool { repair.dropsLeaks || scan?.groups.forecast.map { $0.leakedData > 0 } ?? false }

  /// The groups that are listed.
  var groups: [DamageGroup] {
    (scan?.groups.sorted ?? []).filter { group in
      filter == nil || group.severity == filter || filter == .error && group.severity == .checkError
    }
  }

  var group: DamageGroup? { groups.indices.contains(selected) ? groups[selected] : nil }

  /// The finding of the group that is told; nil for notes.
  var finding: CheckFinding? {
    guard let group, group.findings.indices.contains(item) else { return nil }
    return group.findings[item]
  }

  /// The note that is told.
  var note: CheckNote? {
    guard let group else { return nil }
    let index = item - group.findings.count
    return group.notes.indices.contains(index) ? group.notes[index] : nil
  }

  func sessionWasReplaced() {
    (made, planned) = (nil, nil)
    (selected, item, top, write, writeTop, pane) = (0, 0, 0, 0, 0, 1)
  }

  private func layout(_ frame: ScreenFrame) -> CheckLayout {
    CheckLayout(frame, rows: groups.count, pane: pane, writes: plan?.writes.count ?? 0)
  }

  // MARK: Words

  var context: Context { .check }

  var titles: [String] {
    guard let scan else { return [" check: the image cannot be opened for one", "check"] }
    let result = scan.result
    let errors = counted(result.corruptions + result.checkErrors, "error")
    let leaks = counted(result.leaks, "leaked cluster")
    let marks = [
      desk.scene.image.header.incompatible.contains(.dirty) ? "dirty bit set" : nil,
      desk.scene.image.header.incompatible.contains(.corrupt) ? "corrupt bit set" : nil,
    ].compactMap { $0 }.joined(separator: ", ")
    let sofar = scan.hasFindings ? "" : " so far"
    return [
      " check: \(errors), \(leaks)\(sofar)" + (marks.isEmpty ? "" : ", " + marks),
      "\(errors), \(leaks)\(sofar)",
      "check",
    ]
  }

  var hints: [HintRule] {
    // Where nothing is wrong there is nothing to repair.
    let isSound = checked.map { $0 == (0, 0) } ?? false
    let repairs = [HintRule(.tryRepair), HintRule(.checkRepair), HintRule(.checkScope)]
    return [
      HintRule([.down, .up], "move"), HintRule([.left, .right], "one by one"),
      HintRule(.follow, nil, "go there"),
    ] + (isSound ? [] : repairs) + (mayGiveUpLeaks ? [HintRule(.giveUpLeaks)] : []) + [
      HintRule(.checkFilter),
      HintRule(.nextPane, nil, pane == 1 ? "plan" : "findings"),
      HintRule(.prompt), HintRule(.help), .back,
    ]
  }

  static let keys: [CommandID: [KeyRule]] = [
    .nextPane: [KeyRule("Tab", in: .check)], .previousPane: [KeyRule("S-Tab", in: .check)],
  ]

  var cursorText: String { "" }
  var partialReason: String? { nil }

  var progress: (text: String, done: Double)? {
    if let scan, !scan.isDone, !scan.isStopped {
      return ("checking: " + Self.word(scan.phase), scan.progress)
    }
    if let second = plan?.second, !second.isDone, !second.isStopped {
      return ("checking the repaired copy", second.progress)
    }
    return nil
  }

  /// What the check is at.
  static func word(_ phase: ImageCheck.Phase) -> String {
    switch phase {
    case .snapshots: "snapshot table"
    case .references: "references"
    case .refcounts: "refcounts"
    case .owners: "owners"
    case .flags: "COPIED flags"
    case .overlaps: "clusters with several owners"
    case .leaks: "what leaked clusters hold"
    case .end: "done"
    }
  }

  /// What is not looked at yet; nil if all is.
  var unknown: String? {
    guard let scan, !scan.isDone else { return nil }
    let left = ImageCheck.Phase.allCases.drop { $0 != scan.phase }.filter { $0 != .end }.map(Self.word)
    return "not looked at to the end: " + left.joined(separator: ", ")
  }

  /// What `qatlas check` would end with.
  var exitCode: Int32? { scan.flatMap { $0.hasFindings ? CheckText.exitCode($0.result) : nil } }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    CheckDrawing(self, layout(frame)).draw(on: &canvas)
  }

  // MARK: Answers

  var address: Address { Address(.check, [UInt64(selected), UInt64(item), UInt64(pane)]) }
  func restore(_ address: Address) {
    (selected, item) = (Int(clamping: address[0]), Int(clamping: address[1]))
    pane = address[2] == 2 ? 2 : 1
  }

  func settle() {
    let count = groups.count
    selected = max(0, min(selected, count - 1))
    item = max(0, min(item, (group?.rows ?? 1) - 1))
    let layout = layout(desk.frame)
    top = ListWindow(count: count, height: layout.listRows, selected: selected, top: top).top
    let writes = plan?.writes.count ?? 0
    write = max(0, min(write, writes - 1))
    writeTop = ListWindow(count: writes, height: layout.planRows, selected: write, top: writeTop).top
  }

  func move(_ movement: Movement, _ count: Int) {
    let layout = layout(desk.frame)
    if pane == 2 {
      write = movement.row(from: write, count, in: plan?.writes.count ?? 0, page: layout.planRows)
      return
    }
    switch movement {
    case .left: item = max(0, item - count)
    case .right: item = min(max(0, (group?.rows ?? 1) - 1), item + min(count, DamageGroup.limit))
    default:
      let before = selected
      selected = movement.row(from: selected, count, in: groups.count, page: layout.listRows)
      if selected != before { item = 0 }
    }
  }

  func focus(_ pane: Int) throws(CommandError) {
    guard pane == 1 || pane == 2 else { throw CommandError("the panes for keys are 1 and 2") }
    self.pane = pane
  }

  func focusNext(_ step: Int) { pane = 3 - pane }

  func focus(at point: Point, _ frame: ScreenFrame) {
    let layout = layout(frame)
    if layout.list.contains(point) { pane = 1 }
    if layout.plan.contains(point) { pane = 2 }
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    let layout = layout(frame)
    if let row = layout.list.row(at: point, heading: 2, top: top, of: groups.count) {
      (selected, item) = (row, 0)
    }
    write = layout.plan.row(at: point, heading: 1, top: writeTop, of: plan?.writes.count ?? 0) ?? write
  }

  /// To the entry of the table, to the cluster or to the bytes.
  func follow() throws(CommandError) {
    if pane == 2 {
      guard let plan, plan.writes.indices.contains(write) else {
        throw CommandError("there is no plan yet; \(desk.key(.tryRepair)) makes one")
      }
      return try goToHost(CheckDrawing.place(plan.writes[write]))
    }
    if let finding {
      if case .l2Entry(let l1Index, let l2Index, nil) = finding.owners.first, !Self.isAboutCluster(finding) {
        return try desk.openTable(l1Index, entry: l2Index)
      }
      guard let place = CheckEvidence(self).place else {
        throw CommandError("no place in the file belongs to it")
      }
      if Self.isAboutCluster(finding) { return try desk.go(to: .host(place)) }
      return try goToHost(place)
    }
    guard let note else { throw CommandError("there is nothing to go to") }
    switch note {
    case .overlap(let cluster, _): try desk.go(to: .host(desk.geometry.start(of: cluster).value))
    case .refcountsBehindEnd(let clusters):
      try desk.go(to: .host(desk.geometry.start(of: clusters.lowerBound).value))
    case .zeroFlagInVersion2(let guest, _), .reservedBitInExtendedEntry(let guest, _),
      .dataFileOffset(let guest, _):
      try desk.go(to: .guest(guest.value))
    case .cutShort: try desk.go(to: .host(max(1, desk.host.length) - 1))
    case .dirty, .corrupt, .bitmapsBitWithoutExtension, .unknownAutoclearBits, .headerLengthUnaligned:
      try goToHost(0)
    case .bitmapInUse: desk.open(.bitmaps)
    case .moreOverlaps, .leakedData, .repair: throw CommandError("no single place belongs to it")
    }
  }

  private static func isAboutCluster(_ finding: CheckFinding) -> Bool {
    switch finding.kind {
    case .refcountWrong, .tooManyReferences, .refcountUnreadable: true
    default: false
    }
  }

  /// The bytes of a place.
  private func goToHost(_ offset: UInt64) throws(CommandError) {
    guard offset < desk.host.total else {
      throw CommandError("0x\(Notation.hex(offset)) is behind the end of the file as it is now")
    }
    desk.remember()
    desk.show(.hex(offset, .image))
  }

  var hexStart: (offset: UInt64, file: HostFileKind)? {
    if pane == 2, let plan, plan.writes.indices.contains(write) {
      return (CheckDrawing.place(plan.writes[write]), .image)
    }
    return CheckEvidence(self).place.map { ($0, .image) }
  }

  /// To the part of the disk that is concerned.
  func goToOtherSide() throws(CommandError) {
    guard let guest = finding?.guest ?? group?.guests.first.first,
      guest.lowerBound.value < desk.geometry.virtualSize
    else { throw CommandError("no part of the disk is known to be concerned") }
    desk.jump(.guest, guest.lowerBound.value)
  }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    let (groups, knows) = (groups, scan?.groups.knowsLeaks ?? false)
    let found = Searching.row(with: text, in: groups.count, from: selected, forward: forward) {
      DamageText.title(groups[$0], knowsLeaks: knows)
    }
    guard let found else { return false }
    (selected, item) = (found, 0)
    return true
  }

  // MARK: Time

  var scans: [any Work] { [scan, plan?.second].compactMap { $0 } }

  func cancel() -> Bool {
    guard scan?.stop() == true || plan?.second.stop() == true else { return false }
    desk.tell("stopped; \(CommandID.check) goes on")
    return true
  }

  // MARK: The plan

  /// Tries the repair out on a copy.
  private func tryOut() throws(CommandError) {
    let files = desk.files
    let plan: RepairPlan?
    do throws(ImageError) {
      plan = try RepairPlan(repair, of: desk.scene.image, on: desk.scene.image.storage) {
        files.shouldCancel(0.5)
      }
    } catch { throw CommandError("the repair stops: \(error.description)") }
    guard let plan else { throw CommandError("given up; nothing was changed") }
    planned = (desk.revision, plan)
    (write, writeTop) = (0, 0)
    pane = 2
    desk.tell(
      plan.requests == 0
        ? "this repair would change nothing" : "tried out on a copy; nothing is changed in the image")
  }

  private func choose(_ scope: RepairScope, dropsLeaks: Bool) {
    repair = Repair(scope, dropsLeaks: dropsLeaks)
    settle()
    desk.tell(
      "the plan is now: \(repair.commandLine)"
        + (dropsLeaks ? ", which gives leaked clusters up although they hold data" : ""))
  }

  private func copyText() throws(CommandError) {
    guard let scan, let group else { throw CommandError("there is nothing to copy") }
    let lines =
      finding.map { CheckText.lines(of: $0, program: "qatlas") + CheckText.details(of: $0) }
      ?? DamageText.meaning(group, scan.groups)
    desk.effects.append(.copy(lines))
    desk.tell("copied: " + String(lines.prefix { $0 != "\n" }))
  }

  static let commands: [CommandSpec] = [
    CommandSpec(
      .check, .looking, keys: [KeyRule("!", in: .image)], hint: "check",
      help: """
        what is wrong with the image: findings by kind, what each means for the guest's data, what a repair would \
        write; again it goes on with a check that was stopped
        """,
      run: run { screen, _ in
        screen.desk.open(.check)
        screen.scan?.resume()
        screen.plan?.second.resume()
      }),
    CommandSpec(
      .checkFilter, .looking, keys: [KeyRule("f", in: .check)], hint: "filter",
      help: "list all findings, or errors, leaks or notes only",
      run: run { screen, _ in
        let order: [DamageSeverity?] = [nil, .error, .leak, .note]
        let next = ((order.firstIndex { $0 == screen.filter } ?? 0) + 1) % order.count
        screen.filter = order[next]
        (screen.selected, screen.item, screen.top) = (0, 0, 0)
        screen.desk.tell("listed: " + (order[next].map { "\($0.rawValue)s only" } ?? "all"))
      }),
    CommandSpec(
      .checkScope, .looking, keys: [KeyRule("a", in: .check)], hint: "all or leaks",
      help: "whether the plan is a repair of all or of leaks only",
      run: run { screen, _ in
        screen.choose(screen.repair.scope == .all ? .leaks : .all, dropsLeaks: screen.repair.dropsLeaks)
      }),
    CommandSpec(
      .giveUpLeaks, .looking, keys: [KeyRule("D", in: .check)], hint: "give leaks up",
      help: "whether the plan gives leaked clusters up although they hold data, which is then lost",
      run: run { screen, _ in
        screen.choose(screen.repair.scope, dropsLeaks: !screen.repair.dropsLeaks)
      }),
    CommandSpec(
      .tryRepair, .looking, keys: [KeyRule("r", in: .check)], hint: "dry run",
      help: "try the repair out on a copy in memory, list every byte that it writes, and check the copy",
      run: run { screen, _ throws(CommandError) in try screen.tryOut() }),
    CommandSpec(
      .copyFinding, .looking, keys: [KeyRule("y", in: .check)], hint: "copy",
      help: "copy the selected finding as text",
      run: run { screen, _ throws(CommandError) in try screen.copyText() }),
    CommandSpec(
      .checkRepair, .changing, keys: [KeyRule("W", in: .check)], hint: "repair",
      help: "make the repair of the plan, after a look at its consequences",
      run: { explorer, _ throws(CommandError) in
        let asked = explorer.desk.screen(CheckScreen.self)?.repair ?? Repair()
        try explorer.execute(Command(.repair, asked.arguments + [ImageChanges.ask]))
      }),
  ]
}
