// What all screens share: the session, the size, the cursor, the message, and the way from one screen to
// another. A screen sees its desk and nothing of the explorer around it.

import Cartography
package import CellScreen
import Qcow
import QcowFormat
import Storage

/// A line about what just happened.
struct Message: Hashable, Sendable {
  enum Kind: Hashable, Sendable { case information, error }
  var kind: Kind
  var text: String
}

/// What the program around the explorer is to do.
package enum Effect: Hashable, Sendable {
  case quit
  case redraw
  case setMouse(Bool)
  case setGlyphs(GlyphSet)
  case setTheme(ThemeName)
  /// A text for the clipboard of the terminal.
  case copy(String)
  /// End all connections of guests, then ``Guests/haveLeft()``.
  case stopServing
}

final class Desk {
  private(set) var session: Session
  let files: any SessionFiles
  let keys: KeyMap
  var width: Int
  var height: Int
  var glyphs: GlyphSet
  var mouse: Bool
  var cursor = TwinCursor()
  /// Changes whenever the cursor is set.
  private(set) var cursorMoves = 0
  var message: Message?
  var effects: [Effect] = []
  /// What the last operation changed, for the marks.
  var change: Narration?
  /// The same for the maps, where what another program does glows for a moment instead.
  var markedChange: Narration? { session.follower == nil && session.live == nil ? change : nil }
  /// What another program changed a moment ago.
  var glow = Glow()
  /// The time that fading goes by.
  var now: () -> ContinuousClock.Instant = { ContinuousClock.now }
  var lastSearch = ""
  /// The lesson that is under way.
  var lesson: LessonPlay?
  /// The image that was there before it.
  var left: LeftImage?
  /// Cells of the last picture that the lesson has marked.
  var highlightedCells = 0
  /// Where the rows of many images come from; nil where there are none.
  var fleet: (any FleetShelf)?
  /// The list that images are opened from: what closing the maps goes back to, and where the program ends. Nil where
  /// these are the maps.
  var root: ScreenKind?
  /// Gives the disk to others; nil where nobody can.
  var server: (any DiskServer)?
  /// The request of a guest that was told of as held up, by its moment.
  var wasHeld: ContinuousClock.Instant?
  /// What another program did to the file, in words.
  var changeByOthers: String?
  /// Esc stopped the scans; what they have not reached stays unknown.
  var isPaused = false
  private var trail: [Location] = []
  /// What closing a screen goes back to.
  private var ways = WayBack()
  private var marks: [Character: Location] = [:]
  /// Where the last jump to a mark began.
  private var beforeMark: Location?
  /// Names of parts of the disk that a file gives.
  var labels = GuestLabels([])
  private var partitioned: (revision: Int, list: [GuestLabel])?
  private var screens: [any Screen] = []
  private var shown = 0

  init(
    _ session: Session, files: any SessionFiles, width: Int, height: Int, glyphs: GlyphSet, mouse: Bool,
    keys: KeyMap
  ) {
    self.session = session
    self.files = files
    self.keys = keys
    self.width = width
    self.height = height
    self.glyphs = glyphs
    self.mouse = mouse
    screens = ScreenList.all.map { $0.init(self) }
    cover(.explorer)
  }

  /// What is looked at. Screens see an image through it only; what they change is the session.
  var scene: Scene { other?.scene ?? session.scene }
  /// Another state than that of the session.
  private(set) var other: LookedAt?
  private var looks = 0
  /// Changes whenever ``scene`` shows something else.
  var revision: Int { session.revision &+ looks }
  var geometry: Geometry { scene.geometry }
  var frame: ScreenFrame {
    guard let lesson, !current.hidesLesson else { return ScreenFrame(width: width, height: height) }
    return ScreenFrame(width: width, height: height, lesson: lesson.pane.height(lesson, self))
  }

  // MARK: Screens

  /// What covers the screen.
  var current: any Screen { screens[shown] }
  var currentKind: ScreenKind { type(of: current).kind }

  /// A screen for those who know it; nil if it is not in the list of screens.
  func screen<S: Screen>(_ type: S.Type) -> S? {
    screens.lazy.compactMap { $0 as? S }.first
  }

  /// What a check of what is shown has counted; nil if none has found all yet.
  var checked: (errors: UInt64, leaks: UInt64)? { screens.lazy.compactMap { $0.checked }.first }

  /// Covers the screen with another one, as it was left; closing that one comes back here.
  func show(_ kind: ScreenKind) {
    guard kind != currentKind else { return }
    ways.leave(location, for: kind, other?.key)
    cover(kind)
  }

  private func cover(_ kind: ScreenKind) {
    shown = screens.firstIndex { type(of: $0).kind == kind } ?? shown
  }

  /// To the maps, which closing leaves for good then.
  func goHome() {
    ways.forget()
    cover(.explorer)
  }

  /// Goes to a place of a screen.
  func show(_ address: Address) {
    show(address.screen)
    current.go(to: address)
  }

  /// Covers the screen with another one that can be gone back from; nothing happens if it is shown.
  func open(_ kind: ScreenKind) {
    guard kind != currentKind else { return }
    remember()
    show(kind)
  }

  private var location: Location {
    Location(
      screen: currentKind, cursor: cursor, addresses: screens.map { $0.address }, state: other?.key)
  }

  /// One level up: to the screen that this one was opened from, as it was left, or out of a state that is looked
  /// at. False on the maps where there is nothing to leave.
  func leave() -> Bool {
    if let place = ways.popLast() {
      cover(place.screen)
      look(atState: place.state)
      if place.screen == .explorer {
        // The cursor stays where the screen led it.
        screen(MapsScreen.self)?.followCursor()
      } else {
        for (screen, address) in zip(screens, place.addresses) where screen === current {
          screen.restore(address)
        }
        cursor = place.cursor
      }
      reanchor()
      return true
    }
    if currentKind == root { return false }
    if currentKind != .explorer {
      cover(.explorer)
      screen(MapsScreen.self)?.followCursor()
      return true
    }
    guard other == nil else {
      look(atState: nil)
      return true
    }
    guard let list = listToLeaveFor else { return false }
    cover(list)
    return true
  }

  /// The list that closing the maps leads to. A lesson has its image from nowhere else.
  private var listToLeaveFor: ScreenKind? { lesson == nil && currentKind == .explorer ? root : nil }

  /// Covers the screen with a list that images are opened from. If they are, there is nothing behind it to go back to.
  func openRoot(_ kind: ScreenKind) {
    guard root == kind else { return open(kind) }
    ways.forget()
    cover(kind)
  }

  /// What closing leads to, in words and in short; nil where that is what the screen itself says.
  var wayBack: (text: String, short: String)? {
    if let place = ways.last {
      guard place.screen != .explorer else {
        return currentKind == .explorer ? ("back", "back") : nil
      }
      return ("back to " + word(of: place.screen), "back")
    }
    if currentKind == .explorer, other != nil { return ("back to the disk", "back") }
    return listToLeaveFor.map { ("back to " + word(of: $0), "back") }
  }

  /// What a screen is called.
  private func word(of kind: ScreenKind) -> String {
    screens.first { type(of: $0).kind == kind }.map { type(of: $0).word } ?? kind.name
  }

  /// Keeps the place that a jump begins at.
  func remember() {
    let location = location
    guard trail.last != location else { return }
    trail.append(location)
    if trail.count > 100 { trail.removeFirst() }
  }

  func goBack() {
    guard let location = trail.popLast() else {
      tell("there is no jump to go back from")
      return
    }
    go(to: location)
  }

  private func go(to location: Location) {
    if location.screen != currentKind, !ways.goesBack(to: location) {
      ways.leave(self.location, for: location.screen, location.state)
    }
    cover(location.screen)
    look(atState: location.state)
    for (screen, address) in zip(screens, location.addresses) { screen.restore(address) }
    cursor = location.cursor
    reanchor()
  }

  /// Keeps this place under a letter.
  func mark(_ letter: Character) { marks[letter] = location }

  /// To the place that a letter was given, or with `'` to where the last of these jumps began.
  ///
  /// - Throws: `CommandError` for a letter without a place.
  func go(toMark letter: Character) throws(CommandError) {
    guard let place = letter == "'" ? beforeMark : marks[letter] else {
      throw CommandError(
        letter == "'"
          ? "there was no jump to a mark yet" : "no place is marked as \(letter); \(key(.mark)) marks one")
    }
    remember()
    beforeMark = location
    go(to: place)
  }

  /// The partitions that the guest has, read when somebody asks.
  var partitions: [GuestLabel] {
    if let partitioned, partitioned.revision == revision { return partitioned.list }
    let list = PartitionTable.labels(scene.image)
    partitioned = (revision, list)
    return list
  }

  /// Another image is there: nothing of the one before can be gone back to.
  func forgetBefore() {
    trail = []
    ways.forget()
    marks = [:]
    beforeMark = nil
    labels = GuestLabels([])
    lesson = nil
    left = nil
    lastSearch = ""
  }

  /// What puts everything that the keys of panes change as it is now.
  func keepsake() -> () -> Void {
    let (cursor, shown, keepsakes) = (cursor, shown, screens.map { $0.keepsake() })
    return {
      self.cursor = cursor
      self.shown = shown
      for restore in keepsakes { restore() }
    }
  }

  /// Brings every window into a state that can be drawn: tops, selections, positions.
  func settle() {
    // What is done is done to the disk, and seen there; what another program does turns nobody's head.
    if let state = other, state.revision != session.revision, session.follower == nil,
      session.live == nil
    {
      other = nil
      looks += 1
    }
    if geometry.virtualSize > 0 { cursor.guest = min(cursor.guest, geometry.virtualSize - 1) }
    cursor.host = min(cursor.host, max(1, host.total) - 1)
    // The maps follow the cursor on every screen.
    for screen in screens where screen === current || type(of: screen).kind == .explorer { screen.settle() }
  }

  /// Goes on with another session on the image, as if it had been opened now.
  func replaceSession(_ new: Session) {
    session = new
    partitioned = nil
    other = nil
    looks += 1
    change = nil
    glow = Glow()
    changeByOthers = nil
    isPaused = false
    for screen in screens { screen.sessionWasReplaced() }
    settle()
    current.imageChanged(at: nil)
  }

  /// Shows another state of the image on all screens until the image changes; nil goes back to the disk. `name` is
  /// what it is called where its subject does not say that.
  func look(at scene: Scene?, as name: String? = nil) {
    other = scene.map { LookedAt(scene: $0, revision: session.revision, name: name) }
    looks += 1
    settle()
    current.imageChanged(at: nil)
  }

  // MARK: Words

  /// Says something in the message line.
  func tell(_ text: String, error: Bool = false) {
    message = Message(kind: error ? .error : .information, text: text)
  }

  /// How a sentence names a command here: by its key, or by what is typed.
  func key(_ id: CommandID, _ arguments: String...) -> String {
    keys.name(id, arguments, in: current.context)
  }

  // MARK: The cursor

  /// The file that host addresses on the screen are about.
  var host: HostFile { HostFile(scene, current.hostFile) }

  /// Moves one side; the other follows where there is a mapping.
  func setCursor(_ side: Side, _ offset: UInt64) {
    cursor.side = side
    if side == .guest { cursor.guest = offset } else { cursor.host = offset }
    cursorMoves &+= 1
    reanchor()
  }

  /// Finds the other address of the cursor again, as after an operation.
  func reanchor() {
    let place = place
    switch cursor.side {
    case .guest:
      cursor.isTwinned = false
      if let host = place.host {
        cursor.host = host.value
        cursor.file = place.isInDataFile && scene.dataMap != nil ? .data : .image
        // An entry may lead to where the file has no byte: then no cell of the other map is the same place.
        cursor.isTwinned = host.value < self.host.total
      }
    case .host:
      cursor.isTwinned = place.guest != nil
      if let guest = place.guest { cursor.guest = guest.value }
    }
  }

  /// Everything about the cursor.
  var place: Place {
    switch cursor.side {
    case .guest: .guest(GuestOffset(cursor.guest), in: scene.atlas)
    case .host:
      if cursor.file == .data, let map = scene.dataMap {
        .dataFile(HostOffset(cursor.host), in: map, scene.atlas)
      } else {
        .host(HostOffset(cursor.host), in: scene.owners)
      }
    }
  }

  /// "guest 0x100000 = host 0x60000".
  var cursorText: String {
    let guest = "guest 0x\(Notation.hex(cursor.guest))"
    let host = "host 0x\(Notation.hex(cursor.host))"
    switch cursor.side {
    case .guest: return guest + (cursor.isTwinned ? " = " + host : "")
    case .host: return host + (cursor.isTwinned ? " = " + guest : "")
    }
  }

  /// `:goto`, from any screen.
  ///
  /// - Throws: `CommandError` for a place behind the end.
  func go(to target: GotoTarget) throws(CommandError) {
    switch target {
    case .guest(let offset):
      guard offset < geometry.virtualSize else {
        throw CommandError(
          "0x\(Notation.hex(offset)) is behind the end of the disk at 0x\(Notation.hex(geometry.virtualSize))"
        )
      }
      jump(.guest, offset)
    case .host(let offset):
      guard offset < host.total else {
        throw CommandError(
          "0x\(Notation.hex(offset)) is behind the end of the file at 0x\(Notation.hex(host.length))"
        )
      }
      if !current.go(toHost: offset) { jump(.host, offset) }
    case .l1(let index): try openTable(index, entry: 0)
    case .l2(let l1Index, let l2Index):
      guard l2Index < geometry.l2EntriesPerTable else {
        throw CommandError("an L2 table has entries 0 to \(geometry.l2EntriesPerTable - 1)")
      }
      try openTable(l1Index, entry: 0)
      show(.table(l1Index, entry: l2Index, subcluster: 0))
    case .start: current.move(.first, 1)
    case .end: current.move(.last, 1)
    }
  }

  /// To a place of the maps that can be gone back from.
  func jump(_ side: Side, _ offset: UInt64) {
    remember()
    show(.maps(side == .guest ? .guestMap : .hostMap))
    setCursor(side, offset)
  }

  /// The L2 table of an L1 entry.
  ///
  /// - Throws: `CommandError` where there is none.
  func openTable(_ l1Index: Int, entry: Int, subcluster: Int = 0) throws(CommandError) {
    let count = scene.image.l1Count
    guard count > 0 else { throw CommandError("the L1 table has no entries") }
    guard l1Index < count else {
      throw CommandError("there is no L1[\(l1Index)]; the last one is L1[\(count - 1)]")
    }
    remember()
    show(.table(l1Index, entry: entry, subcluster: subcluster))
  }
}
