// How the screen of a check is drawn: findings by kind, the selected one with its evidence, what they have in common,
// and the plan of a repair.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage
import ToolText

/// Where the panes stand; empty for those not shown.
struct CheckLayout {
  private(set) var list = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var selected = Rect(x: 0, y: 0, width: 0, height: 0)
  private(set) var plan = Rect(x: 0, y: 0, width: 0, height: 0)

  init(_ frame: ScreenFrame, rows: Int, pane: Int, writes: Int) {
    guard !frame.isTooSmall else { return }
    let body = frame.body
    if frame.isOnePane {
      if pane == 2 {
        plan = body
      } else {
        (list, selected) = body.splitTop(max(4, min(rows + 3, body.height - 4)))
      }
      return
    }
    // The findings take what they need, the plan takes what there is to list, what is left explains.
    let top = max(4, min(rows + 3, body.height / 3))
    var below: Rect
    (list, below) = body.splitTop(top)
    let wanted = max(6, min(writes + 6, pane == 2 ? below.height - 7 : below.height / 2))
    (selected, plan) = below.splitBottom(wanted)
  }

  /// Rows of the list.
  var listRows: Int { max(1, list.height - 3) }
  /// Rows of writes.
  var planRows: Int { max(1, plan.height - 6) }
}

struct CheckDrawing {
  private let screen: CheckScreen
  private let layout: CheckLayout
  private var desk: Desk { screen.desk }

  init(_ screen: CheckScreen, _ layout: CheckLayout) {
    self.screen = screen
    self.layout = layout
  }

  func draw(on canvas: inout Canvas) {
    if !layout.list.isEmpty { drawList(on: &canvas) }
    if !layout.selected.isEmpty { drawSelected(on: &canvas) }
    if !layout.plan.isEmpty { drawPlan(on: &canvas) }
  }

  // MARK: The findings

  private var exitWords: String {
    guard let code = screen.exitCode else { return "" }
    return "exit code \(code)"
  }

  private func drawList(on canvas: inout Canvas) {
    let filter = screen.filter.map { ": \($0.rawValue)s only" } ?? ""
    let inner = canvas.frame(
      layout.list, title: "1 Findings, worst first" + filter, footer: exitWords, focused: screen.pane == 1,
      glyphs: desk.glyphs)
    let groups = screen.groups
    guard !groups.isEmpty, let scan = screen.scan else {
      let (text, role): (String, Role) =
        if let problem = screen.problem {
          (Escaping.human(problem), .error)
        } else if screen.filter != nil {
          ("none of these", .muted)
        } else if screen.scan?.isDone == true {
          ("No errors were found on the image.", .ok)
        } else {
          ("nothing so far", .muted)
        }
      canvas.put(text, at: inner.x + 1, inner.y, role: role, maxWidth: max(0, inner.width - 2))
      canvas.cursor = Point(x: inner.x, y: inner.y)
      return
    }
    let isWide = inner.width >= 100
    let isMedium = inner.width >= 60
    let places = isWide ? 46 : isMedium ? 24 : 0
    let severity = isMedium ? 11 : 6
    // On the narrowest screens what was found needs the room; the plan tells what mends it.
    let isTiny = inner.width < 50
    let count = isTiny ? 4 : 8
    let title = max(4, inner.width - severity - places - (isTiny ? count + 4 : count + 13))
    var columns: [Table.Column] = [
      .init(isMedium ? "severity" : "", width: severity),
      .init(isTiny ? "" : "count", width: count, alignment: .right, role: .number),
      .init("what", width: title),
    ]
    if places > 0 { columns.append(.init("where", width: places, role: .muted)) }
    if !isTiny { columns.append(.init("repair", width: 6)) }
    let window = ListWindow(
      count: groups.count, height: layout.listRows, selected: screen.selected, top: screen.top)
    Table.draw(
      columns: columns, window: window, in: inner, on: &canvas, focused: screen.pane == 1, glyphs: desk.glyphs
    ) { index in
      let group = groups[index]
      let role = Self.role(group)
      let name =
        group.severity == .error || group.severity == .checkError
        ? group.severity.rawValue.uppercased() : group.severity.rawValue
      var fields = [
        Table.Field(TextWidth.truncated(name, to: severity, glyphs: desk.glyphs), role: role),
        Table.Field(isTiny ? Self.short(group.count) : String(group.count)),
        Table.Field(
          TextWidth.truncated(
            Escaping.human(DamageText.title(group, knowsLeaks: scan.groups.knowsLeaks)), to: title,
            glyphs: desk.glyphs)),
      ]
      if places > 0 {
        let text = [DamageText.guests(group), DamageText.hosts(group)].first { !$0.isEmpty } ?? ""
        fields.append(Table.Field(TextWidth.truncated(text, to: places, glyphs: desk.glyphs)))
      }
      if isTiny { return fields }
      fields.append(
        Table.Field(
          group.findings.isEmpty ? "" : DamageText.remedyWord(group),
          role: group.pattern == .leakedData ? .warning : nil))
      return fields
    }
  }

  /// A count in four columns; the pane below has all of it.
  private static func short(_ count: some BinaryInteger) -> String {
    count < 10_000 ? String(count) : count < 1_000_000 ? "\(count / 1000)k" : ">1M"
  }

  private static func role(_ group: DamageGroup) -> Role {
    switch group.severity {
    case .error, .checkError: .error
    case .leak: .warning
    case .note: group.pattern == .shared ? .error : .muted
    }
  }

  // MARK: The selected one

  private func drawSelected(on canvas: inout Canvas) {
    guard let group = screen.group, let scan = screen.scan else {
      let inner = canvas.frame(
        layout.selected, title: "Selected", footer: "", focused: false, glyphs: desk.glyphs
      )
      .inset(1, 0)
      var lines: [(String, Role)] = []
      if let unknown = screen.unknown { lines.append((unknown, .muted)) }
      if let scan = screen.scan, scan.isDone {
        lines += CheckText.human(scan.result).split(separator: "\n").dropFirst().map { (String($0), .text) }
      }
      put(lines, in: inner, on: &canvas)
      return
    }
    let isAddedUp = group.count > 0 && UInt64(screen.item) >= group.count
    let place = group.rows < 2 ? "" : isAddedUp ? "   added up" : "   \(screen.item + 1) of \(group.count)"
    let cut =
      UInt64(group.rows) < group.count && screen.item == group.rows - 1
      ? ", the others are counted and not listed" : ""
    let inner = canvas.frame(
      layout.selected, title: "Selected finding" + place + cut,
      footer:
        "\(desk.key(.follow)) goes there   \(desk.key(.hex)) bytes   \(desk.key(.otherSide)) guest side",
      focused: false, glyphs: desk.glyphs
    ).inset(1, 0)
    var lines: [(String, Role)] = []
    if let pattern = DamageText.pattern(group, scan.groups) {
      lines.append((pattern, group.pattern == .leakedData ? .warning : .text))
    }
    lines.append((Escaping.human(DamageText.meaning(group, scan.groups)), .text))
    if group.pattern != .note || screen.finding != nil {
      lines += CheckEvidence(screen).lines.map { ($0, .number) }
    }
    if let remedy = DamageText.remedy(group) {
      let key = group.pattern == .leakedData ? " \(desk.key(.giveUpLeaks)) makes the plan do that." : ""
      lines.append((remedy + key, .text))
    }
    if let unknown = screen.unknown { lines.append((unknown, .muted)) }
    put(lines, in: inner, on: &canvas)
  }

  private func put(_ lines: [(String, Role)], in inner: Rect, on canvas: inout Canvas) {
    var y = inner.y
    for (text, role) in lines {
      for line in TextWrap.wrap(text, width: max(1, inner.width)) where y < inner.endY {
        canvas.put(line, at: inner.x, y, role: role, maxWidth: inner.width)
        y += 1
      }
    }
  }

  // MARK: The plan

  private func drawPlan(on canvas: inout Canvas) {
    let inner = canvas.frame(
      layout.plan, title: "2 Plan: \(screen.repair.commandLine)",
      footer:
        "\(desk.key(.tryRepair)) dry run   \(desk.key(.checkRepair)) repair   \(desk.key(.checkScope)) all or leaks"
        + (screen.mayGiveUpLeaks ? "   \(desk.key(.giveUpLeaks)) give leaks up" : ""),
      focused: screen.pane == 2, glyphs: desk.glyphs
    ).inset(1, 0)
    guard let plan = screen.plan else {
      var lines: [(String, Role)] = [
        (
          "Not tried out yet: \(desk.key(.tryRepair)) does the repair to a copy in memory, lists every byte that it "
            + "writes, and checks the copy. Nothing is written to the image.", .text
        )
      ]
      if let forecast = screen.scan?.groups.forecast {
        let isLoss = screen.repair.dropsLeaks && forecast.leakedData > 0
        lines.append((forecast.description(of: screen.repair), isLoss ? .warning : .muted))
        if forecast.leakedData > 0 {
          lines.append(
            (
              "\(desk.key(.giveUpLeaks)) "
                + (screen.repair.dropsLeaks ? "keeps them" : "gives them up, and their data with them"), .text
            ))
        }
      }
      put(lines, in: inner, on: &canvas)
      if screen.pane == 2 { canvas.cursor = Point(x: inner.x, y: inner.y) }
      return
    }
    let rows = layout.planRows
    let window = ListWindow(
      count: plan.writes.count, height: rows, selected: screen.write, top: screen.writeTop)
    var y = inner.y
    for index in window.visible where y < inner.endY {
      let isSelected = index == screen.write && screen.pane == 2
      let text = (index == screen.write ? ">" : " ") + line(plan.writes[index])
      canvas.put(
        TextWidth.truncated(text, to: inner.width, glyphs: desk.glyphs), at: inner.x, y,
        marks: isSelected ? .selected : [])
      if isSelected { canvas.cursor = Point(x: inner.x, y: y) }
      y += 1
    }
    if plan.writes.isEmpty {
      canvas.put("no byte would change", at: inner.x, y, maxWidth: inner.width)
      if screen.pane == 2 { canvas.cursor = Point(x: inner.x, y: y) }
      y += 1
    }
    put(
      summary(plan), in: Rect(x: inner.x, y: y, width: inner.width, height: max(0, inner.endY - y)),
      on: &canvas)
  }

  private func summary(_ plan: RepairPlan) -> [(String, Role)] {
    var lines: [(String, Role)] = []
    let listed = plan.isCut ? ", of which the first \(plan.writes.count) words are listed" : ""
    lines.append(
      ("\(counted(UInt64(plan.requests), "write")), \(plan.bytes) bytes\(listed); not in the image", .text))
    let result = plan.second.result
    if plan.second.isDone || plan.second.hasFindings {
      let code = CheckText.exitCode(result)
      let left = result.corruptions + result.checkErrors
      lines.append(
        (
          "afterwards: \(counted(left, "error")), \(counted(result.leaks, "leaked cluster")), exit code \(code)",
          code == 0 ? .ok : .warning
        ))
    } else {
      lines.append(("the copy is being checked", .muted))
    }
    if let remark = plan.remark { lines.append(("stays: " + Escaping.human(remark), .warning)) }
    lines.append(
      (
        "\(desk.key(.undo)) takes a repair back; \(CommandID(Dehydrate.words.name)) FILE keeps the tables as they are, and qatlas rehydrate "
          + "puts them back", .muted
      ))
    return lines
  }

  /// The first byte of the file that a write is about.
  static func place(_ write: RepairPlan.Write) -> UInt64 {
    switch write {
    case .bytes(let change, _): change.offset
    case .freed(let range): range.lowerBound
    case .length(let before, let after): min(before, after)
    }
  }

  private func line(_ write: RepairPlan.Write) -> String {
    switch write {
    case .bytes(let change, let structure):
      let first = zip(change.before, change.after).prefix { $0 == $1 }.count
      let field = desk.scene.byteMap.field(at: HostOffset(change.offset + UInt64(first)))
      // What lies there now and what the repair puts there may be two things.
      let isNew = [.pastEnd, .free, .leaked, .data].contains(field.state)
      let name = [field.structure, field.name].filter { !$0.isEmpty }.joined(separator: ", ")
      let words = isNew ? "new \(StepTrace.name(structure))" : Escaping.human(name)
      let place = TextWidth.padded("@" + Notation.hex(change.offset), to: 11)
      return "\(place)\(Self.hex(change.before)) -> \(Self.hex(change.after))  \(words)"
    case .freed(let range):
      return
        "\(TextWidth.padded("@" + Notation.hex(range.lowerBound), to: 11))\(range.upperBound - range.lowerBound) bytes "
        + "are given back to the host"
    case .length(let before, let after): return "the file length \(before) becomes \(after)"
    }
  }

  private static func hex(_ bytes: [UInt8]) -> String {
    bytes.reduce(into: "") { $0 += Notation.hex(UInt64($1), width: 2) }
  }
}
