// The explorer: takes events and commands, hands them to the screen, the prompt or the dialog that they are for,
// and draws itself as a canvas. It owns no terminal and no file; the program around it hands in events and
// carries out effects.

import Cartography
package import CellScreen
import QcowFormat
import Qcow
import Storage

/// An explorer of one image.
package final class Explorer {
  let desk: Desk
  /// Opens the image again, for `:reload`; nil where there is no file to read again.
  package var reopen: SessionOpener?
  /// Where other images come from; nil where there are none.
  package var shelf: (any ImageShelf)?
  /// Guests that use the disk.
  package var guests: Guests { Guests(explorer: self) }
  /// Gives the disk to others; nil where nobody can.
  package var server: (any DiskServer)? {
    get { desk.server }
    set { desk.server = newValue }
  }
  /// What takes all keys now.
  var overlay: (any Overlay)?
  /// Lines that the prompt can recall.
  var commandHistory: [String]
  /// A saved session is being done again.
  var isReplaying = false
  /// Digits typed before a key.
  private var count = ""
  /// Where the focus was before a digit that may turn out to be the first of a count.
  private var beforeCount: (context: Context, restore: () -> Void)?
  /// The revision of the session that the map of the data file is about.
  private var mappedRevision = 0

  /// An explorer of a session, with keys of the user if there are any.
  package init(
    _ session: Session, files: any SessionFiles, width: Int, height: Int, glyphs: GlyphSet,
    mouse: Bool = false, history: [String] = [], keys: KeyMap = .standard
  ) {
    commandHistory = Array(history.suffix(LineEditor.maximumHistory))
    desk = Desk(
      session, files: files, width: width, height: height, glyphs: glyphs, mouse: mouse, keys: keys)
    if let refusal = session.refusal, session.mode != .readOnly || session.openingProblem != nil {
      tell(refusal, error: true)
    }
    if let unfollowed = session.unfollowed { tell("only the image is followed: \(unfollowed)") }
    desk.reanchor()
    desk.settle()
  }

  // MARK: What the program around and the tests see

  /// What is looked at.
  package var session: Session { desk.session }
  /// Which characters maps are drawn with.
  package var glyphs: GlyphSet { desk.glyphs }
  /// What the last line says.
  package var message: String? { desk.message?.text }
  /// It says that something did not work.
  package var messageIsError: Bool { desk.message?.kind == .error }
  /// Where the cursor is, on both sides.
  package var cursor: TwinCursor { desk.cursor }
  /// What is shown.
  package var screen: ScreenKind { desk.currentKind }
  /// Where a key lands now.
  package var context: Context { desk.current.context }
  /// A line is being typed.
  package var isPrompting: Bool { overlay is Prompt }
  /// A dialog or a list takes the keys.
  package var isInDialog: Bool { overlay != nil && !isPrompting }
  /// The line that is being typed.
  package var promptText: String? { (overlay as? Prompt)?.editor.text }

  /// The picture of now.
  package func canvas() -> Canvas {
    if !desk.glow.isEmpty { desk.glow.show(at: desk.now()) }
    return chrome.canvas()
  }

  private var chrome: Chrome { Chrome(desk, overlay) { [unowned self] in refusal(of: $0) != nil } }

  /// Why a command cannot be done now; nil if it can be tried.
  private func refusal(of spec: CommandSpec) -> String? {
    spec.refusal?(self) ?? (spec.group == .changing ? desk.refusalOfChange : nil)
  }

  /// What the title says of a file that another program writes; nil if none is followed.
  package var followedState: String? { session.follower.map(Chrome.followed) }

  /// Says something in the message line.
  package func tell(_ text: String, error: Bool = false) { desk.tell(text, error: error) }

  /// The terminal could not switch; shows what it uses now.
  package func adopt(glyphs: GlyphSet) {
    desk.glyphs = glyphs
    // A plot has other dots in other glyphs.
    desk.settle()
  }

  /// Looks whether another program changed the file; true if that is news.
  package func lookAtFile() -> Bool {
    if let follower = session.follower { return follower.poke() }
    let change = session.changeByOthers
    guard change != desk.changeByOthers else { return false }
    desk.changeByOthers = change
    if let change { tell("\(change); \(CommandID.reload) reads it again", error: true) }
    return true
  }

  // MARK: Time

  /// Scans on, and lets work of the screen go on; true if there is nothing left and the picture is final, or is
  /// to be seen before the work goes on.
  package func scan(budgetNanoseconds: UInt64) -> Bool {
    if let follower = session.follower, !follow(follower, budgetNanoseconds) { return false }
    // The keys of the maps work without the rest of the picture.
    if desk.isPaused && session.defrag == nil {
      return Scheduler.step(desk.current.works, budgetNanoseconds: budgetNanoseconds)
    }
    if mappedRevision != session.revision, session.live == nil {
      mappedRevision = session.revision
      session.dataMap?.restart()
    }
    // What is on the screen comes first; the next batch moves when the picture of the last one is complete.
    let scenes = desk.scene === session.scene ? session.scene.works : desk.scene.works + session.scene.works
    let works = desk.current.scans + desk.current.works + scenes + [Defragging.Batch(desk)]
    let isDone = Scheduler.step(works, budgetNanoseconds: budgetNanoseconds)
    desk.settle()
    return isDone && !session.atlas.needsRefinement && !desk.scene.atlas.needsRefinement
  }

  /// Goes on with the look at a file that another program writes; false if the look goes on.
  private func follow(_ follower: Follower, _ budget: UInt64) -> Bool {
    let (before, count) = (session.revision, session.done.count)
    guard follower.step(budgetNanoseconds: budget) else { return false }
    if let reason = follower.reasonToReopen, let reopen {
      do throws(ImageError) {
        desk.replaceSession(try reopen())
        tell("read again: \(reason)")
      } catch {
        follower.couldNotReopen()
        tell("not read again: \(error.description)", error: true)
      }
    } else if session.revision != before {
      // What nobody did here glows for a moment; several changes may have come at once.
      desk.change = session.done.last?.narration
      for step in session.done.suffix(max(1, session.done.count - count)) {
        desk.glow.add(
          guest: step.narration.guestClusters, host: step.narration.hostClusters, at: desk.now())
      }
      desk.current.imageChanged(at: nil)
    }
    return true
  }

  /// The path of the file that another program writes and that is followed; nil if none is.
  package var followedName: String? { session.follower == nil ? nil : session.overlay.name }

  /// Milliseconds until the next ``lookAtFile()`` is worth it, at most.
  package var lookInterval: Int { session.follower?.isRestless == true ? 50 : 1000 }

  /// Some change of another program has faded by a step: a new picture is worth it.
  package var hasFaded: Bool { !desk.glow.isEmpty && desk.glow.hasMoved(at: desk.now()) }
  /// Milliseconds until that is so; nil if nothing fades.
  package var fadeInterval: Int? { desk.glow.isEmpty ? nil : desk.glow.wait(at: desk.now()) }
  /// The clock that fading goes by; tests have their own.
  package func setClock(_ now: @escaping () -> ContinuousClock.Instant) { desk.now = now }

  /// The picture changes by itself as time goes by; then ``beginFrame()`` is called for every picture.
  package var isAnimating: Bool { desk.current.isAnimating }
  /// Lets work of the screen go on after a picture was seen.
  package func beginFrame() { desk.current.beginFrame() }

  // MARK: Events

  /// Takes one event.
  package func handle(_ event: InputEvent) -> [Effect] {
    switch event {
    case .key(let key): press(key)
    case .mouse(let mouse): click(mouse)
    case .resize(let width, let height):
      desk.width = width
      desk.height = height
    case .paste(let text): paste(text)
    case .resumed: desk.effects.append(.redraw)
    case .suspendRequested, .hangup, .signal: break
    }
    return finish()
  }

  /// Does a command as if its keys had been pressed.
  package func perform(_ command: Command) -> [Effect] {
    desk.message = nil
    telling { () throws(CommandError) in try execute(command) }
    return finish()
  }

  /// Does a typed line.
  package func performLine(_ line: String) -> [Effect] {
    desk.message = nil
    telling { () throws(CommandError) in try submit(line) }
    return finish()
  }

  private func finish() -> [Effect] {
    desk.lesson?.notice()
    desk.settle()
    defer { desk.effects = [] }
    return desk.effects
  }

  private func telling(_ body: () throws(CommandError) -> Void) {
    do throws(CommandError) { try body() } catch { tell(error.description, error: true) }
  }

  private func press(_ key: Key) {
    if let overlay {
      finish(overlay.press(key))
    } else {
      desk.message = nil
      commandKey(key)
    }
  }

  private func finish(_ outcome: OverlayOutcome) {
    switch outcome {
    case .stays: break
    case .closes: overlay = nil
    case .closesAnd(let body):
      overlay = nil
      telling { () throws(CommandError) in try body(self) }
    }
  }

  private func paste(_ text: String) {
    // Outside of a prompt a paste would be a row of unintended commands.
    guard let outcome = overlay?.paste(text) else {
      return tell("pasted text is taken only by a prompt; press \(desk.key(.prompt)) first")
    }
    finish(outcome)
  }

  /// A click selects, a double click follows, the wheel scrolls, a click on a hint is its key.
  private func click(_ mouse: Mouse) {
    let frame = desk.frame
    let point = Point(x: mouse.x, y: mouse.y)
    switch mouse.kind {
    case .wheelUp, .wheelDown:
      guard overlay == nil else { return }
      desk.current.focus(at: point, frame)
      desk.current.move(mouse.kind == .wheelUp ? .up : .down, 3)
    case .press, .doubleClick:
      guard mouse.button == .left else { return }
      if let key = chrome.key(at: point) { return press(key) }
      guard !frame.hints.contains(point), !frame.prompt.contains(point) else { return }
      guard overlay == nil else { return }
      desk.message = nil
      desk.current.focus(at: point, frame)
      desk.current.click(at: point, frame)
      if mouse.kind == .doubleClick, let id = desk.current.doubleClick {
        telling { () throws(CommandError) in try execute(Command(id)) }
      }
    case .release: break
    }
  }

  // MARK: Keys

  /// Digits collect to a count. A single digit that names a pane focuses it at once; a second digit or a
  /// letter that counts, right behind it, makes a count of it and takes the focus back, so that `2`, `2j` and
  /// `20j` all do what they say. Arrows, pages and other named keys are for the pane that has got the focus, at
  /// any speed. After a pause a digit is a first one again.
  private func commandKey(_ key: Key) {
    let keys = desk.keys
    if let digit = key.typed, ("0"..."9").contains(digit), digit != "0" || !count.isEmpty {
      count = String((count + String(digit)).suffix(9))
      if count.count == 1, keys.meaning(of: key, in: context) != nil {
        beforeCount = (context, desk.keepsake())
        telling { () throws(CommandError) in try execute(Command(.focus, [String(digit)])) }
        return
      }
      if count.count == 2, let before = beforeCount { before.restore() }
      beforeCount = nil
      tell("count \(count)")
      return
    }
    // One digit and a named key: the pane, and what the key does there.
    let times = beforeCount != nil && key.typed == nil ? nil : Int(count)
    if let before = beforeCount, times != nil,
      let spec = keys.meaning(of: key, in: before.context)?.spec, spec.takesCount
    {
      before.restore()
    }
    forgetCount()
    // A choice of a question is its letter, whatever that does elsewhere.
    if let letter = desk.lesson?.choice(key) {
      return telling { () throws(CommandError) in try execute(Command(.answer, [letter])) }
    }
    guard let (spec, arguments) = keys.meaning(of: key, in: context) else {
      tell(
        "\(TextWidth.sanitized(key.notation)) is not a key here; \(desk.key(.help)) lists those that are",
        error: true)
      return
    }
    telling { () throws(CommandError) in
      try execute(Command(spec.id, arguments, count: spec.takesCount ? times : nil))
    }
  }

  /// Nothing was pressed for a while: digits before no longer belong to what comes.
  package func forgetCount() {
    count = ""
    beforeCount = nil
  }

  // MARK: Commands

  /// Does a command, whoever asked for it.
  ///
  /// - Throws: `CommandError` with the reason why it cannot be done.
  func execute(_ command: Command) throws(CommandError) {
    guard let spec = CommandTable.spec(command.id) else {
      throw CommandError("no command is called '\(command.id.name)'")
    }
    var command = command
    if let word = command.arguments.first, spec.arguments.first?.isCount == true {
      command.count = try Quantity.index(word)
    }
    if let refusal = refusal(of: spec) { throw CommandError(refusal) }
    try spec.run(self, command)
  }

  /// Does a typed line; an empty one is nothing.
  ///
  /// - Throws: `CommandError` for a line that is no command, and what ``execute(_:)`` throws.
  func submit(_ line: String) throws(CommandError) {
    guard let command = try CommandParser.parse(line) else { return }
    try execute(command)
  }
}
