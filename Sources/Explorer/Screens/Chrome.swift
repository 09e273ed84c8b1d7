// What every screen has: the title above, the hints and the message or prompt below, and dialogs over
// the middle. The picture is a function of the session and the state.

import Cartography
package import CellScreen
import QcowFormat
import Qcow
import Storage

extension Explorer {
  /// The picture of now.
  package func canvas() -> Canvas {
    var canvas = Canvas(width: ui.width, height: ui.height)
    let layout = ScreenLayout(ui)
    if layout.isTooSmall {
      drawTooSmall(&canvas)
      return canvas
    }
    switch ui.screen {
    case .explorer: drawExplorer(layout, on: &canvas)
    case .table: drawTable(layout, on: &canvas)
    case .hex: drawHex(layout, on: &canvas)
    case .lab: drawLab(layout, on: &canvas)
    case .fragmentation: drawFragmentation(layout, on: &canvas)
    case .help: drawHelp(layout, on: &canvas)
    }
    drawTitle(layout, on: &canvas)
    HintLine.draw(hints(), on: &canvas, at: layout.hints.x + 1, layout.hints.y, width: layout.hints.width - 2)
    drawPrompt(layout, on: &canvas)
    if let selected = ui.lensMenu { drawLensMenu(selected, layout, on: &canvas) }
    if let dialog = ui.dialog { drawDialog(dialog, layout, on: &canvas) }
    return ui.glyphs == .ascii ? canvas.asciiOnly : canvas
  }

  private func drawTooSmall(_ canvas: inout Canvas) {
    let lines = [
      "the window is too small",
      "now    \(ui.width)x\(ui.height)",
      "needed \(ScreenSize.smallestWidth)x\(ScreenSize.smallestHeight)",
    ]
    let top = max(0, (ui.height - lines.count) / 2)
    for (index, line) in lines.enumerated() {
      // What fits counts: on one row the sizes in short.
      let text =
        ui.height < lines.count || ui.width < 15
        ? "\(ui.width)x\(ui.height), need \(ScreenSize.smallestWidth)x\(ScreenSize.smallestHeight)" : line
      canvas.put(text, at: 0, top + index, role: index == 0 ? .titleWarning : .text)
      if text != line { break }
    }
  }

  // MARK: Title

  private func drawTitle(_ layout: ScreenLayout, on canvas: inout Canvas) {
    canvas.fill(layout.title, " ", role: .title)
    let width = layout.title.width - 2
    let right = rightTitles()
    let left = leftTitles()
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
    var x = layout.title.x + 1
    x += canvas.put("qatlas ", at: x, 0, role: .title, marks: .bold)
    let name = TextWidth.truncatedAtStart(session.title, to: nameWidth, glyphs: ui.glyphs)
    x += canvas.put(name + " ", at: x, 0, role: .title, marks: .bold)
    x += canvas.put("[\(session.modeName)]", at: x, 0, role: .titleWarning)
    x += canvas.put(" " + chosen.0, at: x, 0, role: .title, maxWidth: max(0, width + 1 - x))
    let start = layout.title.endX - 1 - TextWidth.width(chosen.1)
    if start > x {
      canvas.put(
        chosen.1, at: start, 0, role: session.hasUnsavedChanges && session.hasFile ? .titleWarning : .title)
    }
  }

  private var nameWidth: Int { max(8, min(TextWidth.width(session.title), ui.width / 4)) }
  private var fixedTitleWidth: Int {
    7 + min(nameWidth, TextWidth.width(session.title)) + session.modeName.count + 4
  }

  private func leftTitles() -> [String] {
    let cluster = Notation.compact(geometry.clusterSize)
    let sub = Notation.compact(geometry.subclusterSize)
    let version = session.image.header.version
    switch ui.screen {
    case .table:
      let table = tableView()
      let place = table?.table.map { "at host 0x\(Notation.hex($0.value))" } ?? "does not exist"
      let short = table?.table.map { "@\(Notation.hex($0.value))" } ?? "none"
      let entries = "\(geometry.l2EntriesPerTable) entries x \(geometry.l2EntrySize) bytes"
      return [
        " L2 table of L1[\(ui.tableL1)] \(place), \(entries)",
        "L2 table \(short) (L1[\(ui.tableL1)]) \(geometry.l2EntriesPerTable) x \(geometry.l2EntrySize) B",
        "L2 table \(short) (L1[\(ui.tableL1)])", "L1[\(ui.tableL1)]",
      ]
    case .hex: return [" bytes of the file, with the names of their fields", "hex page"]
    case .lab: return labTitles()
    case .fragmentation: return [" fragmentation", "fragmentation", "frag"]
    case .help: return [" help", "help"]
    case .explorer:
      let extended = geometry.hasExtendedL2
      let data = dataFileName.map { ", data in \($0)" } ?? ""
      let encryption = encryptionName.map { ", \($0)" } ?? ""
      let below =
        encryption + data + (session.image.backingFileName.map { " over \(TextWidth.sanitized($0))" } ?? "")
      return [
        " qcow2 v\(version), \(cluster) clusters" + (extended ? ", \(sub) subclusters" : "")
          + ", \(geometry.refcountBits)-bit refcounts, \(Notation.compact(geometry.virtualSize)) disk"
          + below,
        " qcow2 v\(version), \(cluster) clusters" + (extended ? ", \(sub) subclusters" : "") + below,
        "v\(version) \(cluster)" + (extended ? "/\(sub) ext-L2" : "") + " \(geometry.refcountBits)-bit"
          + below,
        "v\(version) \(cluster)" + (extended ? "/\(sub)" : "") + encryption,
        "v\(version) \(cluster)" + (extended ? "/\(sub)" : ""),
        "v\(version)",
      ]
    }
  }

  /// How the guest's data is encrypted, and whether it can be read; nil if it is not.
  private var encryptionName: String? {
    let image = session.image
    guard image.header.cryptMethod != 0 else { return nil }
    return (image.header.cryptMethod == 2 ? "LUKS" : "AES") + (image.isUnlocked ? "" : ", locked")
  }

  private func rightTitles() -> [String] {
    if ui.screen == .lab { return labSpeeds() }
    let now = session.generation
    let all = session.generations
    let state = !session.hasFile ? "in memory" : session.hasUnsavedChanges ? "unsaved" : "saved"
    var damage = ""
    if ui.changeByOthers != nil { damage += "  CHANGED BY OTHERS" }
    if session.image.header.incompatible.contains(.dirty) { damage += "  DIRTY" }
    if session.image.header.incompatible.contains(.corrupt) { damage += "  CORRUPT" }
    let percent = Int(session.atlas.progress * 100)
    let scan =
      session.atlas.isDone
      ? "  " + health : ui.isPaused ? "  scan stopped at \(percent)%" : "  scan \(percent)%"
    let partial = session.atlas.isDone && session.atlas.isPartial ? "  partial" : ""
    return [
      "generation \(now) of \(all)   \(state)\(damage)   \(counted(now, "op"))\(scan)\(partial)",
      "gen \(now)/\(all)  \(state)\(damage)  \(counted(now, "op"))\(scan)\(partial)",
      "gen \(now)/\(all)  \(state)\(damage)\(scan)\(partial)", "\(now)/\(all) \(state)\(damage)\(scan)",
      "\(now)/\(all)\(damage)",
    ]
  }

  /// What the scan found about owners and refcounts, in words: "sound", "3 leaks", "12,653 errors".
  private var health: String {
    let found = session.atlas.health
    func grouped(_ count: UInt64, _ one: String) -> String {
      "\(Notation.grouped(count)) \(worded(count, one))"
    }
    var words: [String] = []
    if found.errors > 0 { words.append(grouped(found.errors, "error")) }
    if found.leaks > 0 { words.append(grouped(found.leaks, "leak")) }
    if words.isEmpty { return found.isComplete ? "sound" : "not all is known" }
    return words.joined(separator: ", ") + (found.isComplete ? "" : ", not all is known")
  }

  // MARK: Hints

  /// The hints of a context; keys and words come from the command table.
  func hints() -> [Hint] {
    if ui.dialog != nil {
      var hints = [Hint("Enter", "do it"), Hint("Esc", "cancel"), Hint("Tab", "next field")]
      if ui.dialog?.id == .zero { hints.append(Hint("u", "may give clusters back", short: "unmap")) }
      return hints
    }
    if ui.lensMenu != nil { return [Hint("jk", "choose"), Hint("Enter", "take"), Hint("Esc", "cancel")] }
    if ui.prompt != nil {
      return [
        Hint("Enter", "do it"), Hint("Esc", "cancel"), Hint("Tab", "complete"), Hint("Up", "recall"),
        Hint("C-r", "search"),
      ]
    }
    let ids: [CommandID]
    switch context {
    case .guestMap, .hostMap:
      ids = [
        .zoom, .lens, .otherSide, .follow, .search, .write, .discard, .zero, .undo, .prompt, .help, .close,
      ]
    case .whereIsIt: ids = [.otherSide, .follow, .back, .hex, .l2, .write, .undo, .prompt, .help, .close]
    case .log: ids = [.follow, .undo, .redo, .search, .prompt, .help, .close]
    case .table:
      ids = [
        .nextUsed, .follow, .back, .fold, .nextTable, .search, .write, .discard, .zero, .undo, .hex, .prompt,
        .help, .close,
      ]
    case .hex: ids = [.follow, .back, .search, .prompt, .help, .close]
    case .lab: ids = [.labRun, .labStep, .labFaster, .labRestart, .prompt, .help, .close]
    case .fragmentation:
      ids = [.zoom, .otherSide, .lens, .worst, .dryRun, .copy, .json, .prompt, .help, .close]
    case .help: ids = [.search, .searchNext, .close]
    }
    var hints = [Hint("hjkl", "move")]
    if context == .help || context == .log { hints = [Hint("jk", "move")] }
    if context == .lab { hints = [Hint("hl", "policy")] }
    for id in ids {
      guard let spec = CommandTable.spec(id), let key = spec.keys(in: context).first else { continue }
      switch id {
      case .zoom where context == .fragmentation:
        hints.append(Hint("Enter", spec.hint, press: .enter))
        hints.append(Hint("0", "whole", press: .character("0")))
      case .otherSide where context == .fragmentation:
        hints.append(Hint(key.notation, "explorer", press: key))
      case .zoom, .labFaster: hints.append(Hint("+/-", spec.hint, press: .character("+")))
      case .nextUsed: hints.append(Hint("J/K", "next used", short: "used", press: key))
      case .nextTable: hints.append(Hint("[ ]", "other table", short: "table", press: key))
      case .otherSide: hints.append(Hint(key.notation, spec.hint, short: "side", press: key))
      case .close:
        hints.append(
          Hint(
            key.notation, ui.screen == .explorer ? spec.hint : "back to the maps",
            short: ui.screen == .explorer ? spec.hint : "maps", press: key))
      default: hints.append(Hint(key.notation, spec.hint, press: key))
      }
      if id == .help || id == .close || id == .prompt { hints[hints.count - 1].isEssential = true }
    }
    return hints
  }

  // MARK: Prompt

  private func drawPrompt(_ layout: ScreenLayout, on canvas: inout Canvas) {
    let row = layout.prompt
    if let prompt = ui.prompt {
      prompt.editor.draw(prompt: prompt.label, at: row.x, row.y, width: row.width, on: &canvas)
      drawCandidates(prompt, layout, on: &canvas)
      return
    }
    // The address of the cursor, for layouts whose panes do not show it and for readers by ear.
    let isElsewhere: Bool
    switch ui.screen {
    case .help: isElsewhere = true
    case .explorer: isElsewhere = !layout.placeFrame.isEmpty
    case .table: isElsewhere = !layout.subclusterFrame.isEmpty && geometry.hasExtendedL2
    case .hex, .fragmentation: isElsewhere = false
    case .lab: isElsewhere = true
    }
    let address = isElsewhere ? "" : cursorAddress
    if ui.dialog == nil {
      canvas.put(address, at: max(0, row.endX - 1 - TextWidth.width(address)), row.y, role: .number)
    }
    if let message = ui.message {
      drawMessage(message, row, address, on: &canvas)
    } else if ui.screen == .lab {
      canvas.put(labRequest, at: row.x + 1, row.y, role: .muted, maxWidth: row.width - 2)
    } else if let progress = scanProgress {
      let x = canvas.put(progress.text + " ", at: row.x, row.y, role: .progress)
      let bar = Rect(
        x: row.x + x, y: row.y, width: min(40, row.width - x - TextWidth.width(address) - 3), height: 1)
      let done = UInt64(max(0, min(1, progress.done)) * 1000)
      canvas.progressBar(done: done, total: 1000, in: bar, glyphs: ui.glyphs)
    } else if let reason = partialReason {
      canvas.put(reason, at: row.x, row.y, role: .warning, maxWidth: row.width)
    }
  }

  /// A message in the last row. A long one takes the rows above as well, so that its end, which says what to
  /// do, is never cut; the next key gives them back.
  private func drawMessage(_ message: Message, _ row: Rect, _ address: String, on canvas: inout Canvas) {
    let role: Role = message.kind == .error ? .error : .message
    let width = row.width - 1
    let length = TextWidth.width(message.text)
    if length <= width {
      if length + 2 > width - TextWidth.width(address) { canvas.fill(row) }
      canvas.put(message.text, at: row.x, row.y, role: role)
      return
    }
    let lines = Array(TextWrap.wrap(message.text, width: width).prefix(max(1, min(6, ui.height / 3))))
    let top = row.y - lines.count + 1
    canvas.fill(Rect(x: row.x, y: top, width: row.width, height: lines.count))
    for (index, line) in lines.enumerated() {
      canvas.put(
        TextWidth.truncated(line, to: width, glyphs: ui.glyphs), at: row.x, top + index, role: role)
    }
  }

  /// What is being scanned for this screen, and how far it is; nil if nothing is.
  private var scanProgress: (text: String, done: Double)? {
    if ui.isPaused { return nil }
    if ui.screen == .fragmentation, let progress = fragmentationProgress { return ("counting", progress) }
    return session.atlas.isDone ? nil : ("scanning", session.atlas.progress)
  }

  private var partialReason: String? {
    if scanIsStopped {
      return "the scan was stopped at \(Int(session.atlas.progress * 100)) %; :scan goes on"
    }
    return ui.screen == .fragmentation ? fragmentation?.partialReason : session.atlas.partialReason
  }

  /// "guest 0x100000 = host 0x60000".
  private var cursorAddress: String {
    if ui.screen == .fragmentation { return plotAddress }
    if ui.screen == .hex { return "host 0x\(Notation.hex(ui.hexOffset))" }
    let guest = "guest 0x\(Notation.hex(ui.cursor.guest))"
    let host = "host 0x\(Notation.hex(ui.cursor.host))"
    switch ui.cursor.side {
    case .guest: return guest + (ui.cursor.isTwinned ? " = " + host : "")
    case .host: return host + (ui.cursor.isTwinned ? " = " + guest : "")
    }
  }

  /// The list of completions over the hints.
  private func drawCandidates(_ prompt: PromptState, _ layout: ScreenLayout, on canvas: inout Canvas) {
    guard !prompt.editor.candidates.isEmpty else { return }
    let row = layout.hints
    canvas.fill(row)
    var x = row.x
    for (index, candidate) in prompt.editor.candidates.enumerated() {
      guard x + TextWidth.width(candidate) < row.endX - 4 else {
        canvas.put("...", at: x, row.y, role: .muted)
        break
      }
      x += canvas.put(
        candidate, at: x, row.y, role: .completion,
        marks: index == prompt.editor.candidateIndex ? .selected : [])
      x += 2
    }
  }

  // MARK: Dialogs

  private func drawLensMenu(_ selected: Int, _ layout: ScreenLayout, on canvas: inout Canvas) {
    let lines = Lens.allCases.enumerated().map { index, lens in
      (index == selected ? ">" : " ") + " \(index + 1) " + TextWidth.padded(lens.rawValue, to: 9) + lens.help
    }
    let inner = canvas.dialog(
      title: "Lens: what the cells show", lines: lines, footer: "Enter take it   Esc cancel", in: layout.body,
      glyphs: ui.glyphs)
    let row = Rect(x: inner.x, y: inner.y + selected, width: inner.width, height: 1)
    canvas.restyle(row, adding: .selected)
    canvas.cursor = Point(x: row.x, y: row.y)
  }

  private func drawDialog(_ dialog: DialogState, _ layout: ScreenLayout, on canvas: inout Canvas) {
    var lines = dialog.fields.map { _ in "" }
    if dialog.id == .zero {
      lines.append(
        "u       host clusters " + (dialog.mayUnmap ? "may be given back: yes" : "may be given back: no"))
    }
    lines.append("")
    lines.append(dialog.isPossible ? "What would happen:" : "Not possible:")
    let first = lines.count
    lines += dialog.consequences.map { "  " + $0 }
    let width = min(72, layout.body.width)
    // A line as wide as the box may become, so that it does not jump while one types; erased below.
    lines.append(String(repeating: "-", count: max(0, min(66, width - 4))))
    let inner = canvas.dialog(
      title: dialog.title, lines: lines, footer: "Enter do it (undoable)   Esc cancel   Tab next field",
      in: layout.body, maximumWidth: width, glyphs: ui.glyphs)
    canvas.fill(
      Rect(
        x: inner.x, y: inner.y + lines.count - 1, width: inner.width,
        height: inner.endY - inner.y - lines.count + 1))
    for (index, field) in dialog.fields.enumerated() where index < inner.height {
      canvas.put(TextWidth.padded(field.label, to: 8), at: inner.x, inner.y + index, role: .prompt)
      let room = inner.width - 8
      if index == dialog.active {
        field.editor.draw(prompt: "", at: inner.x + 8, inner.y + index, width: room, on: &canvas)
      } else {
        canvas.put(field.editor.text, at: inner.x + 8, inner.y + index, maxWidth: room)
      }
      let note = note(for: field, dialog)
      let noteX = inner.x + 8 + max(20, TextWidth.width(field.editor.text) + 2)
      canvas.put(note, at: noteX, inner.y + index, role: .muted, maxWidth: max(0, inner.endX - noteX))
    }
    if !dialog.isPossible {
      canvas.restyle(
        Rect(x: inner.x, y: inner.y + first - 1, width: inner.width, height: inner.height), role: .error)
    }
  }

  /// What a field's number means.
  private func note(for field: DialogState.Field, _ dialog: DialogState) -> String {
    guard let value = try? Quantity.bytes(field.editor.text) else { return "" }
    switch field.label {
    case "offset":
      return "cluster \(value >> UInt64(geometry.clusterBits)), byte \(geometry.offsetInCluster(value)) of it"
    case "length": return "\(value) bytes"
    default: return value < 256 ? "the byte 0x\(Notation.hex(value, width: 2)), \(value)" : ""
    }
  }
}
