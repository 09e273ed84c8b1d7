// What every screen has around its body: the title above, the hints and the message or prompt below. It asks
// the screen for its words, and is a function of the desk.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import Storage

/// Draws what is around a screen.
struct Chrome {
  let desk: Desk
  let screen: any Screen
  /// A prompt, dialog or menu over the screen.
  let overlay: (any Overlay)?
  private let frame: ScreenFrame
  /// A command cannot be done now.
  private let isRefused: (CommandSpec) -> Bool
  private var session: Session { desk.session }
  private var scene: Scene { desk.scene }

  init(_ desk: Desk, _ overlay: (any Overlay)?, isRefused: @escaping (CommandSpec) -> Bool) {
    self.desk = desk
    self.overlay = overlay
    self.isRefused = isRefused
    screen = desk.current
    frame = desk.frame
  }

  /// The whole picture.
  func canvas() -> Canvas {
    var canvas = Canvas(width: frame.width, height: frame.height)
    if frame.isTooSmall {
      drawTooSmall(on: &canvas)
      return canvas
    }
    screen.draw(frame, on: &canvas)
    if let lesson = desk.lesson { lesson.pane.draw(lesson, desk, frame.lesson, on: &canvas) }
    drawTitle(on: &canvas)
    _ = drawHints(on: &canvas)
    drawPrompt(on: &canvas)
    overlay?.draw(frame, on: &canvas)
    return desk.glyphs == .ascii ? canvas.asciiOnly : canvas
  }

  private func drawTooSmall(on canvas: inout Canvas) {
    let (width, height) = (frame.width, frame.height)
    let lines = [
      "the window is too small",
      "now    \(width)x\(height)",
      "needed \(ScreenSize.smallestWidth)x\(ScreenSize.smallestHeight)",
    ]
    let top = max(0, (height - lines.count) / 2)
    for (index, line) in lines.enumerated() {
      // What fits counts: on one row the sizes in short.
      let text =
        height < lines.count || width < 15
        ? "\(width)x\(height), need \(ScreenSize.smallestWidth)x\(ScreenSize.smallestHeight)" : line
      canvas.put(text, at: 0, top + index, role: index == 0 ? .titleWarning : .text)
      if text != line { break }
    }
  }

  // MARK: Title

  private func drawTitle(on canvas: inout Canvas) {
    canvas.fill(frame.title, " ", role: .title)
    let width = frame.title.width - 2
    let right = screen.states ?? states
    let left = screen.titles
    // Words go before facts: the texts of both sides are ordered so.
    var chosen = (left.last ?? "", right.last ?? "")
    // Both sides shrink in turns, the facts that stay as they are before those that change.
    search: for steps in 0..<left.count + right.count - 1 {
      for r in max(0, steps - left.count + 1)...min(steps, right.count - 1) {
        let l = steps - r
        guard TextWidth.width(left[l]) + 2 + TextWidth.width(right[r]) + fixedTitleWidth <= width else {
          continue
        }
        chosen = (left[l], right[r])
        break search
      }
    }
    var x = frame.title.x + 1
    x += canvas.put(program, at: x, 0, role: .title, marks: .bold)
    let name = TextWidth.truncatedAtStart(subject, to: nameWidth, glyphs: desk.glyphs)
    x += canvas.put(name + " ", at: x, 0, role: .title, marks: .bold)
    if screen.subject == nil { x += canvas.put("[\(mode)]", at: x, 0, role: .titleWarning) }
    x += canvas.put(
      " " + TextWidth.truncated(chosen.0, to: max(0, width - x), glyphs: desk.glyphs), at: x, 0, role: .title,
      maxWidth: max(0, width + 1 - x))
    let start = frame.title.endX - 1 - TextWidth.width(chosen.1)
    if start > x {
      canvas.put(
        chosen.1, at: start, 0, role: session.hasUnsavedChanges && session.hasFile ? .titleWarning : .title)
    }
  }

  /// How the image is open, or what is looked at instead of it.
  private var mode: String {
    desk.otherState.map { TextWidth.truncated($0, to: max(8, frame.width / 4), glyphs: desk.glyphs) }
      ?? session.modeName + (desk.lesson?.fault == nil ? "" : ", FAULT")
  }

  /// What the picture is about.
  private var subject: String { screen.subject ?? session.title }

  private var nameWidth: Int { max(8, min(TextWidth.width(subject), frame.width / 4)) }
  /// Words go before facts: narrow screens have no room for the name of the program.
  private var program: String { frame.width < ScreenSize.panesWidth - 20 ? "" : "qatlas " }
  private var fixedTitleWidth: Int {
    TextWidth.width(program) + min(nameWidth, TextWidth.width(subject))
      + (screen.subject == nil ? TextWidth.width(mode) + 4 : 1)
  }

  static func served(_ live: LiveDisk) -> String {
    if live.gate.held != nil { return "HELD UP" }
    return live.rates.requests.map { "\(Notation.grouped(UInt64(max(0, $0)))) requests/s" } ?? "served"
  }

  static func followed(_ follower: Follower) -> String {
    switch follower.state {
    case .settled: "as in the file"
    case .tablesUnchanged: "only data written"
    case .changing: "CHANGING"
    case .unreadable: "UNREADABLE NOW"
    }
  }

  /// The state of the session, the longest form first.
  private var states: [String] {
    let now = session.generation
    let all = session.generations
    let state =
      session.live.map(Self.served) ?? session.follower.map(Self.followed)
      ?? (!session.hasFile ? "in memory" : session.hasUnsavedChanges ? "unsaved" : "saved")
    var damage = ""
    if desk.changeByOthers != nil { damage += "  CHANGED BY OTHERS" }
    if scene.image.header.incompatible.contains(.dirty) { damage += "  DIRTY" }
    if scene.image.header.incompatible.contains(.corrupt) { damage += "  CORRUPT" }
    let percent = Int(scene.atlas.progress * 100)
    let scan =
      scene.atlas.isDone
      ? "  " + (scene.atlas.partsBehind > 0 ? "counting" : health)
      : desk.isPaused ? "  scan stopped at \(percent)%" : "  scan \(percent)%"
    let partial = scene.atlas.isDone && scene.atlas.isPartial ? "  partial" : ""
    let found = scene.atlas.health
    // What is wrong is worth more than which generation it is in.
    let isFaulty = scene.atlas.isDone && found.errors + found.leaks > 0
    let brief = (damage + (scene.atlas.isDone ? scan : "")).drop { $0 == " " }
    // Where the screen has room it says what else is not up to date.
    let followed = session.unfollowed.map { others in
      [
        "generation \(now) of \(all)   \(state)\(damage)   \(others)   \(counted(now, "op"))\(scan)\(partial)",
        "gen \(now)/\(all)  \(state)\(damage)  \(others)\(scan)\(partial)",
      ]
    }
    let usual = [
      "generation \(now) of \(all)   \(state)\(damage)   \(counted(now, "op"))\(scan)\(partial)",
      "gen \(now)/\(all)  \(state)\(damage)  \(counted(now, "op"))\(scan)\(partial)",
      "gen \(now)/\(all)  \(state)\(damage)\(scan)\(partial)", "\(now)/\(all) \(state)\(damage)\(scan)",
      "\(now)/\(all)\(damage)\(scan)", "\(state)\(damage)\(scan)",
    ]
    // Guests leave no generations.
    if session.live != nil, all == 0 {
      return ["\(state)\(damage)\(scan)\(partial)", "\(state)\(damage)\(scan)", "\(state)\(damage)"]
    }
    return (followed ?? []) + usual + (isFaulty ? [String(brief), health] : ["\(now)/\(all)\(damage)"])
  }

  /// What is wrong, in words: "sound", "3 leaks", "12,653 errors". A check that was made counts; before that the
  /// scan does, which counts clusters and entries where a check counts findings, and says so.
  private var health: String {
    var found = scene.atlas.health
    let check = desk.checked
    if let check { (found.errors, found.leaks) = (check.errors, check.leaks) }
    func grouped(_ count: UInt64, _ one: String) -> String {
      "\(Notation.grouped(count)) \(worded(count, one))"
    }
    var words: [String] = []
    if found.errors > 0 { words.append(grouped(found.errors, "error")) }
    if found.leaks > 0 { words.append(grouped(found.leaks, "leak")) }
    // A header and tables that were put together agree with each other; that says nothing of the file.
    if words.isEmpty {
      return session.salvaged != nil ? "salvaged" : found.isComplete ? "sound" : "not all is known"
    }
    return words.joined(separator: ", ") + (check == nil ? " (scan)" : "")
      + (found.isComplete ? "" : ", not all is known")
  }

  // MARK: Hints

  private var hints: [Hint] {
    if let overlay { return overlay.hints }
    let back = desk.wayBack
    return (lessonHints + screen.hints).compactMap { rule in
      // What changes something is no hint where nothing can be changed.
      if let spec = CommandTable.spec(rule.command), spec.group == .changing, isRefused(spec) { return nil }
      guard var hint = rule.hint(desk.keys, in: screen.context) else { return nil }
      if rule.isBack, let back { (hint.text, hint.short) = back }
      return hint
    }
  }

  /// What a lesson takes goes before what its screen takes.
  private var lessonHints: [HintRule] {
    guard let lesson = desk.lesson else { return [] }
    let asks = lesson.refusalOfAnswer == nil
    let isFree = lesson.exercise != nil && lesson.phase == .doing
    let isOff = lesson.own != nil && lesson.exercise == nil
    return (asks ? [HintRule(.answer, nil, isOff ? "back, answer" : nil)] : [])
      + (asks && !isOff && !lesson.isExam || isFree ? [HintRule(.hint)] : [])
      + [HintRule(.lesson, ["next"], "go on"), HintRule(.lesson, ["back"], "back"), HintRule(.lessons)]
  }

  /// The row of hints; a long message below lifts it.
  private var hintsRow: Rect {
    var row = frame.hints
    row.y = max(frame.body.y, row.y - max(0, messageLines.count - 1))
    return row
  }

  private func drawHints(on canvas: inout Canvas) -> [ClickRegion] {
    let row = hintsRow
    if row != frame.hints { canvas.fill(row) }
    return HintLine.draw(hints, on: &canvas, at: row.x + 1, row.y, width: row.width - 2)
  }

  /// A second row of hints, where the last row has nothing else to say.
  private func drawSecondHints(on canvas: inout Canvas) -> [ClickRegion] {
    let row = frame.prompt
    let address = screen.cursorText
    let room = row.width - 2 - (address.isEmpty ? 0 : TextWidth.width(address) + 2)
    guard room > 0, isLastRowFree else { return [] }
    let hints = screen.secondHints.compactMap { $0.hint(desk.keys, in: screen.context) }
    return HintLine.draw(hints, on: &canvas, at: row.x + 1, row.y, width: room)
  }

  /// No message, progress or remark stands in the last row.
  private var isLastRowFree: Bool {
    overlay == nil && desk.message == nil && screen.status == nil && scanProgress == nil
      && partialReason == nil
  }

  /// The key that a click on the row of hints stands for.
  func key(at point: Point) -> Key? {
    var scratch = Canvas(width: frame.width, height: frame.height)
    let regions = drawHints(on: &scratch) + drawSecondHints(on: &scratch)
    return regions.first { $0.area.contains(point) }?.key
  }

  // MARK: Prompt

  private func drawPrompt(on canvas: inout Canvas) {
    if overlay?.takesPromptRow == true { return }
    let row = frame.prompt
    let address = TextWidth.truncated(screen.cursorText, to: row.width - 1, glyphs: desk.glyphs)
    if overlay?.hidesCursorText != true {
      canvas.put(address, at: max(0, row.endX - 1 - TextWidth.width(address)), row.y, role: .number)
    }
    if let message = desk.message {
      drawMessage(message, row, address, on: &canvas)
    } else if let status = screen.status {
      canvas.put(status, at: row.x + 1, row.y, role: .muted, maxWidth: row.width - 2)
    } else if let progress = scanProgress {
      // The address of the cursor is not written over.
      let room = row.width - TextWidth.width(address) - 3
      guard room > TextWidth.width(progress.text) else { return }
      let x = canvas.put(progress.text + " ", at: row.x, row.y, role: .progress)
      let bar = Rect(x: row.x + x, y: row.y, width: max(0, min(40, room - x)), height: 1)
      let done = UInt64(max(0, min(1, progress.done)) * 1000)
      canvas.progressBar(done: done, total: 1000, in: bar, glyphs: desk.glyphs)
    } else if let reason = partialReason {
      canvas.put(reason, at: row.x, row.y, role: .warning, maxWidth: row.width)
    } else {
      _ = drawSecondHints(on: &canvas)
    }
  }

  /// A message in the last row. A long one takes the rows above as well, so that its end, which says what to
  /// do, is never cut, and the hints move up; the next key gives the rows back.
  private func drawMessage(_ message: Message, _ row: Rect, _ address: String, on canvas: inout Canvas) {
    let role: Role = message.kind == .error ? .error : .message
    let lines = messageLines
    guard lines.count > 1 else {
      // Blanks that have no room are left out.
      let text = lines.first ?? message.text
      if TextWidth.width(text) + 2 > row.width - 1 - TextWidth.width(address) { canvas.fill(row) }
      canvas.put(text, at: row.x, row.y, role: role, maxWidth: row.width - 1)
      return
    }
    let top = row.y - lines.count + 1
    canvas.fill(Rect(x: row.x, y: top, width: row.width, height: lines.count))
    for (index, line) in lines.enumerated() {
      canvas.put(
        TextWidth.truncated(line, to: row.width - 1, glyphs: desk.glyphs), at: row.x, top + index, role: role)
    }
  }

  /// The message in rows; empty without one, and where a prompt has its row.
  private var messageLines: [String] {
    guard overlay?.takesPromptRow != true, let message = desk.message else { return [] }
    let width = frame.prompt.width - 1
    guard TextWidth.width(message.text) > width else { return [message.text] }
    return Array(TextWrap.wrap(message.text, width: width).prefix(max(1, min(6, frame.height / 3))))
  }

  /// What is being scanned for this screen, and how far it is; nil if nothing is.
  private var scanProgress: (text: String, done: Double)? {
    if desk.isPaused, screen.subject == nil { return nil }
    return screen.progress
      ?? (screen.subject != nil || scene.atlas.isDone ? nil : ("scanning", scene.atlas.progress))
  }

  private var partialReason: String? {
    guard screen.subject == nil, desk.isPaused, !scene.atlas.isDone else { return screen.partialReason }
    return "the scan was stopped at \(Int(scene.atlas.progress * 100)) %; \(CommandID.scan) goes on"
  }
}
