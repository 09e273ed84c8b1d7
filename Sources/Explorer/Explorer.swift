// The explorer: takes events and commands, changes its state, draws itself as a canvas. It owns no
// terminal and no file; the program around it hands in events and carries out effects.

import Cartography
package import CellScreen
import QcowFormat
import Qcow
import Storage

/// An explorer of one image.
package final class Explorer {
  package private(set) var session: Session
  /// Opens the image again, for `:reload`; nil where there is no file to read again.
  package var reopen: SessionOpener?
  let files: any SessionFiles
  var ui: UIState
  var effects: [Effect] = []
  var commandHistory: [String]
  /// Where the focus was before a digit that may turn out to be the first of a count.
  private var beforeCount: UIState?
  var tableCache: (key: [Int], view: L2View)?
  /// The revision of the session that the map of the data file is about.
  private var mappedRevision = 0
  /// The last run of the lab.
  var lab: Lab?
  /// The scans of the fragmentation screen, made when it is first seen.
  var fragmentationScan: (revision: Int, scan: FragmentationScan)?
  var plotScan: (revision: Int, frame: DotPlotFrame, scan: DotPlotScan)?

  package init(
    _ session: Session, files: any SessionFiles, width: Int, height: Int, glyphs: GlyphSet,
    mouse: Bool = false,
    history: [String] = []
  ) {
    self.session = session
    self.files = files
    commandHistory = Array(history.suffix(LineEditor.maximumHistory))
    ui = UIState(width: width, height: height, glyphs: glyphs, mouse: mouse)
    if let refusal = session.refusal, session.mode != .readOnly || session.openingProblem != nil {
      ui.message = Message(kind: .error, text: refusal)
    }
    reanchor()
    settle()
  }

  var geometry: Geometry { session.geometry }

  /// Goes on with another session on the image, as if it had been opened now.
  func replaceSession(_ new: Session) {
    session = new
    tableCache = nil
    fragmentationScan = nil
    plotScan = nil
    ui.change = nil
    ui.logSelected = 0
    ui.logTop = 0
    ui.changeByOthers = nil
    ui.isPaused = false
    settle()
    refresh()
  }

  // MARK: For the program around

  package var glyphs: GlyphSet { ui.glyphs }
  package var message: String? { ui.message?.text }
  package var messageIsError: Bool { ui.message?.kind == .error }
  package var cursor: TwinCursor { ui.cursor }
  package var focus: Int { ui.focus }
  package var screen: ScreenKind { ui.screen }
  package var lens: Lens { ui.lens }
  package var isPrompting: Bool { ui.prompt != nil }
  package var isInDialog: Bool { ui.dialog != nil || ui.lensMenu != nil }
  package var promptText: String? { ui.prompt?.editor.text }
  package var tableEntry: (l1: Int, l2: Int, subcluster: Int) { (ui.tableL1, ui.tableEntry, ui.subcluster) }
  package var hexOffset: UInt64 { ui.hexOffset }

  /// Scans on, and lets the lab go on; true if there is nothing left and the picture is final, or is to be
  /// seen before the lab goes on.
  package func scan(budgetNanoseconds: UInt64) -> Bool {
    // The keys of the maps work without the rest of the picture.
    if ui.isPaused && session.defrag == nil { return stepLab(budgetNanoseconds: budgetNanoseconds) }
    // What is on the screen comes first.
    if ui.screen == .fragmentation, !scanFragmentation(budgetNanoseconds: budgetNanoseconds) {
      settle()
      return false
    }
    var isScanned = session.atlas.step(budgetNanoseconds: budgetNanoseconds)
    if let map = session.dataMap {
      if mappedRevision != session.revision {
        mappedRevision = session.revision
        map.restart()
      }
      if isScanned { isScanned = map.step(budgetNanoseconds: budgetNanoseconds) }
    }
    let isMeasured = stepLab(budgetNanoseconds: budgetNanoseconds)
    settle()
    // The next batch moves when the picture of the last one is complete.
    if isScanned && session.defrag != nil {
      stepDefrag()
      return false
    }
    return isScanned && !session.atlas.needsRefinement && isMeasured
  }

  /// Says something in the message line.
  package func tell(_ text: String, error: Bool = false) {
    ui.message = Message(kind: error ? .error : .information, text: text)
  }

  /// Looks whether another program changed the file; true if that is news.
  package func lookAtFile() -> Bool {
    let change = session.changeByOthers
    guard change != ui.changeByOthers else { return false }
    ui.changeByOthers = change
    if let change { tell("\(change); :reload reads it again", error: true) }
    return true
  }

  /// Takes one event.
  package func handle(_ event: InputEvent) -> [Effect] {
    switch event {
    case .key(let key): press(key)
    case .mouse(let mouse): click(mouse)
    case .resize(let width, let height):
      ui.width = width
      ui.height = height
    case .paste(let text): paste(text)
    case .resumed: effects.append(.redraw)
    case .suspendRequested, .hangup, .signal: break
    }
    return finish()
  }

  /// Does a command as if its keys had been pressed.
  package func perform(_ command: Command) -> [Effect] {
    ui.message = nil
    execute(command)
    return finish()
  }

  /// Does a typed line.
  package func performLine(_ line: String) -> [Effect] {
    ui.message = nil
    submit(line)
    return finish()
  }

  /// An event that another event stands for; the effects stay with the outer one.
  func handleNested(_ event: InputEvent) -> [Effect] {
    if case .key(let key) = event { press(key) }
    return []
  }

  private func finish() -> [Effect] {
    settle()
    defer { effects = [] }
    return effects
  }

  // MARK: Keys

  /// Where a key lands now.
  package var context: Context { context(of: ui) }

  private func context(of ui: UIState) -> Context {
    switch ui.screen {
    case .table: .table
    case .hex: .hex
    case .lab: .lab
    case .fragmentation: .fragmentation
    case .help: .help
    case .explorer:
      switch ui.focus {
      case 2: .hostMap
      case 3: .whereIsIt
      case 4: .log
      default: .guestMap
      }
    }
  }

  private func press(_ key: Key) {
    if ui.prompt != nil {
      promptKey(key)
    } else if ui.dialog != nil {
      dialogKey(key)
    } else if ui.lensMenu != nil {
      lensMenuKey(key)
    } else {
      ui.message = nil
      commandKey(key)
    }
  }

  /// Digits collect to a count. A single digit that names a pane focuses it at once; a second digit or a
  /// key that counts, right behind it, makes a count of it and takes the focus back, so that `2`, `2j` and
  /// `20j` all do what they say. After a pause a digit is a first one again.
  private func commandKey(_ key: Key) {
    if let digit = key.typed, ("0"..."9").contains(digit), digit != "0" || !ui.pendingCount.isEmpty {
      ui.pendingCount = String((ui.pendingCount + String(digit)).suffix(9))
      if ui.pendingCount.count == 1, CommandTable.command(for: key, in: context) != nil {
        beforeCount = ui
        execute(Command(.focus, [String(digit)]))
        return
      }
      if ui.pendingCount.count == 2, var before = beforeCount {
        before.pendingCount = ui.pendingCount
        ui = before
      }
      beforeCount = nil
      tell("count \(ui.pendingCount)")
      return
    }
    let count = Int(ui.pendingCount)
    if let before = beforeCount, count != nil,
      let spec = CommandTable.command(for: key, in: context(of: before))?.spec, spec.takesCount
    {
      ui = before
    }
    forgetCount()
    guard let (spec, arguments) = CommandTable.command(for: key, in: context) else {
      tell("\(TextWidth.sanitized(key.notation)) is not a key here; ? lists those that are", error: true)
      return
    }
    execute(Command(spec.id, arguments, count: spec.takesCount ? count : nil))
  }

  /// Nothing was pressed for a while: digits before no longer belong to what comes.
  package func forgetCount() {
    ui.pendingCount = ""
    beforeCount = nil
  }

  // MARK: Commands

  func execute(_ command: Command) {
    do throws(CommandError) { try dispatch(command) } catch { tell(error.description, error: true) }
  }

  private func dispatch(_ command: Command) throws(CommandError) {
    var count = command.count ?? 1
    if let word = command.arguments.first, CommandTable.spec(command.id)?.arguments.first?.kind == .count {
      count = try Quantity.index(word)
    }
    switch command.id {
    case .left, .right, .up, .down, .pageUp, .pageDown, .halfUp, .halfDown, .first, .last, .rowStart,
      .rowEnd, .nextUsed, .previousUsed:
      move(command.id, count)
    case .goto: try go(to: try CommandParser.target(command.arguments))
    case .focus:
      guard let pane = Int(command.arguments.first ?? ""), (1...4).contains(pane) else {
        throw CommandError("the panes are 1, 2, 3 and 4")
      }
      setFocus(pane)
    case .nextPane: if ui.screen == .lab { moveInLab(1) } else { nextPane(1) }
    case .previousPane: if ui.screen == .lab { moveInLab(-1) } else { nextPane(-1) }
    case .log: setFocus(4)
    case .otherFile: try showOtherFile()
    case .explorer: ui.screen = .explorer
    case .follow: try follow()
    case .back: goBack()
    case .otherSide: try goToOtherSide()
    case .zoom: try zoom(try CommandParser.zoom(command.arguments.first ?? ""), count)
    case .lens: try setLens(command.arguments.first)
    case .lensList: ui.lensMenu = Lens.allCases.firstIndex(of: ui.lens) ?? 0
    case .l2: try openTable(command.arguments.first)
    case .previousTable: try stepTable(-count)
    case .nextTable: try stepTable(count)
    case .fold: ui.tableFolded.toggle()
    case .fragmentation: openFragmentation()
    case .worst: try plotWorst()
    case .dryRun: try tellDryRun()
    case .copy: try copyFigures(command.arguments.first, json: false)
    case .json: try copyFigures(command.arguments.first, json: true)
    case .hex: openHex(at: hexStart())
    case .search:
      if command.arguments.isEmpty {
        ui.prompt = PromptState(kind: .search, editor: LineEditor())
      } else {
        try search(command.arguments.joined(separator: " "), forward: true)
      }
    case .searchNext: try searchAgain(forward: true, count)
    case .searchPrevious: try searchAgain(forward: false, count)
    case .lab: try openLab(command.arguments)
    case .labRun: try runLab()
    case .labStep: try stepLab(count)
    case .labFaster: try paceLab(faster: true)
    case .labSlower: try paceLab(faster: false)
    case .labRestart: try restartLab()
    case .write, .zero, .discard, .read: try change(command)
    case .defrag: try startDefrag(try CommandParser.defrag(command))
    case .undo: try undo(count)
    case .redo: try redo(count)
    case .policy: try policy(command.arguments.first)
    case .pin: try change(Request(ofImage: .pin))
    case .unpin: try change(Request(ofImage: .unpin))
    case .lesson: try lesson(command.arguments.first)
    case .save: try save(command)
    case .saveAndQuit:
      try save(Command(.save))
      effects.append(.quit)
    case .quit: try quit(force: command.force)
    case .close: try close()
    case .help: openHelp(command.arguments.first)
    case .prompt: ui.prompt = PromptState(kind: .command, editor: LineEditor(history: commandHistory))
    case .cancel: cancel()
    case .scan: try goOnScanning()
    case .reload: try reload(force: command.force)
    case .set: try set(command.arguments.first ?? "")
    case .ascii: setGlyphs(ui.glyphs == .ascii ? .unicode : .ascii)
    case .mouse: setMouse(!ui.mouse)
    case .saveScreen:
      do throws(StorageError) {
        try files.writeText(canvas().text() + "\n", to: command.arguments.first ?? "")
      } catch { throw CommandError(error.description) }
    case .redraw: effects.append(.redraw)
    }
  }

  private func set(_ word: String) throws(CommandError) {
    switch Setting(rawValue: word) {
    case .ascii: setGlyphs(.ascii)
    case .unicode: setGlyphs(.unicode)
    case .mouse: setMouse(true)
    case .nomouse: setMouse(false)
    case .discardCluster: setGranularity(.cluster)
    case .discardSubcluster: setGranularity(.subcluster)
    case nil:
      throw CommandError(
        "'\(word)' is not a setting; the settings are "
          + Setting.allCases.map(\.rawValue).joined(separator: ", "))
    }
  }

  private func setGranularity(_ granularity: DiscardGranularity) {
    session.image.discardGranularity = granularity
    tell("discards act on whole \(granularity.rawValue)s")
  }

  private func setGlyphs(_ glyphs: GlyphSet) {
    ui.glyphs = glyphs
    effects.append(.setGlyphs(glyphs))
  }

  private func setMouse(_ on: Bool) {
    ui.mouse = on
    effects.append(.setMouse(on))
    tell(
      on
        ? "mouse reporting is on; hold Shift to select text"
        : "mouse reporting is off: the terminal selects text")
  }

  /// The terminal could not switch; shows what it uses now.
  package func adopt(glyphs: GlyphSet) { ui.glyphs = glyphs }

  private func quit(force: Bool) throws(CommandError) {
    if session.hasUnsavedChanges && session.mode != .readOnly && session.hasFile && !force {
      throw CommandError("there are unsaved changes; :w saves them, :q! drops them")
    }
    effects.append(.quit)
  }

  private func nextPane(_ step: Int) {
    let isPlot = ui.screen == .fragmentation
    let (pane, panes) = isPlot ? (ui.fragmentation.pane, FragmentationView.panes) : (ui.focus, 4)
    setFocus((pane - 1 + step + panes) % panes + 1)
  }

  /// `q`: one level up, and out of the maps.
  private func close() throws(CommandError) {
    switch ui.screen {
    case .help: ui.screen = ui.screenUnderHelp
    case .table, .hex, .fragmentation, .lab: ui.screen = .explorer
    case .explorer: try quit(force: false)
    }
  }

  // MARK: Prompt

  private func promptKey(_ key: Key) {
    guard var prompt = ui.prompt else { return }
    let files = files
    let outcome = prompt.editor.handle(key) { line, cursor in
      guard prompt.kind == .command else { return nil }
      return CommandCompletion.complete(line, cursor: cursor) { files.names(beginningWith: $0) }
    }
    ui.prompt = prompt
    switch outcome {
    case .handled, .ignored: break
    case .cancelled: ui.prompt = nil
    case .submitted(let line):
      ui.prompt = nil
      ui.message = nil
      if prompt.kind == .search {
        if !line.isEmpty { execute(Command(.search, [line])) }
      } else {
        commandHistory = prompt.editor.history
        if !line.allSatisfy({ $0 == " " }) { files.remember(line) }
        submit(line)
      }
    }
  }

  private func submit(_ line: String) {
    do throws(CommandError) { try submitChecked(line) } catch { tell(error.description, error: true) }
  }

  func submitChecked(_ line: String) throws(CommandError) {
    guard let command = try CommandParser.parse(line) else { return }
    try dispatch(command)
  }

  private func paste(_ text: String) {
    // Outside of a prompt a paste would be a row of unintended commands.
    if ui.prompt != nil {
      ui.prompt?.editor.insert(text)
    } else if ui.dialog != nil {
      dialogPaste(text)
    } else {
      tell("pasted text is taken only by a prompt; press : first")
    }
  }

  // MARK: Tables

  /// The rows of the table that is open; nil if it cannot be read.
  func tableView() -> L2View? {
    let key = [ui.tableL1, session.revision]
    if let cache = tableCache, cache.key == key {
      var view = cache.view
      view.isFolded = ui.tableFolded
      return view
    }
    guard var view = try? L2View(session.atlas, l1Index: ui.tableL1) else { return nil }
    tableCache = (key, view)
    view.isFolded = ui.tableFolded
    return view
  }
}
