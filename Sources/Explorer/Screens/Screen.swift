// What a screen is: its own state, its picture, and its answers to the commands that every screen has. A new
// one is a folder with a type of this kind, and a line in the list of screens.

import Cartography
import CellScreen
import QcowFormat

/// Which screen.
package struct ScreenKind: Hashable, Sendable {
  /// The word for it in commands and tests.
  package let name: String
  package init(_ name: String) { self.name = name }
}

/// A place of a screen: numbers that only the screen itself reads.
struct Address: Hashable, Sendable {
  let screen: ScreenKind
  let place: [UInt64]

  init(_ screen: ScreenKind, _ place: [UInt64] = []) {
    self.screen = screen
    self.place = place
  }

  /// One of the numbers; 0 if there are fewer.
  subscript(index: Int) -> UInt64 { place.indices.contains(index) ? place[index] : 0 }
}

/// A screen. It is made once, and keeps its state while others cover it.
protocol Screen: AnyObject, SendableMetatype {
  static var kind: ScreenKind { get }
  /// The places of keys that the screen has.
  static var contexts: [Context] { get }
  /// The commands that are its own.
  static var commands: [CommandSpec] { get }
  /// Its keys for commands that other screens have too; here they mean nothing else.
  static var keys: [CommandID: [KeyRule]] { get }
  /// What ``choose(_:)`` can be given, for completion.
  static var choices: [String] { get }

  init(_ desk: Desk)
  var desk: Desk { get }

  // MARK: What every screen says

  /// Where a key lands now.
  var context: Context { get }
  /// What the title says, the longest form first.
  var titles: [String] { get }
  /// The hints for its keys, the most important first.
  var hints: [HintRule] { get }
  /// A second row of hints, where nothing else is to be said in the last row.
  var secondHints: [HintRule] { get }
  func draw(_ frame: ScreenFrame, on canvas: inout Canvas)
  func move(_ movement: Movement, _ count: Int)
  /// A click at a point of the body.
  func click(at point: Point, _ frame: ScreenFrame)

  // MARK: What most screens leave as it is

  /// What it is about, if that is not the image; then the title names it, and nothing is said of scans of the image.
  var subject: String? { get }
  /// What a double click does behind the click, which is done already; nil for nothing.
  var doubleClick: CommandID? { get }
  /// What the right of the title says instead of the state of the session, the longest form first.
  var states: [String]? { get }
  /// The address of the cursor, beside the message; empty where the picture has it.
  var cursorText: String { get }
  /// What stands in the row of messages instead of the progress of the scans.
  var status: String? { get }
  /// What its own scans are about and how far they are, 0 ... 1; nil if they are done.
  var progress: (text: String, done: Double)? { get }
  /// What a check of what is shown has counted, on the screen that makes one; nil before it has found all.
  var checked: (errors: UInt64, leaks: UInt64)? { get }
  /// Why its figures do not cover all of the image.
  var partialReason: String? { get }
  /// The words of a lesson under way are left out, for more room.
  var hidesLesson: Bool { get }
  /// The file that host addresses on the screen are in.
  var hostFile: HostFileKind { get }

  /// Its place, for the way back and for going there from other screens.
  var address: Address { get }
  /// Takes the place it had.
  func restore(_ address: Address)
  /// Somebody goes to one of its places.
  func go(to address: Address)
  /// What puts the state that keys of panes change as it is now.
  func keepsake() -> () -> Void

  /// Brings its windows into a state that can be drawn.
  func settle()
  /// An operation changed the image, at an offset of the disk or anywhere.
  func imageChanged(at offset: UInt64?)
  func sessionWasReplaced()

  /// The keys go to another pane.
  func focus(_ pane: Int) throws(CommandError)
  /// Before a click or the wheel at a point.
  func focus(at point: Point, _ frame: ScreenFrame)
  /// The keys go so many panes on.
  func focusNext(_ step: Int)
  func follow() throws(CommandError)
  func goToOtherSide() throws(CommandError)
  /// Whether a command offers a look at the snapshot that alone has the host cluster of the cursor.
  func offersSnapshot(for command: CommandID) -> Bool
  func zoom(_ target: ZoomTarget, _ count: Int) throws(CommandError)
  /// The lens, or whatever else cells show on this screen; nil for the next.
  func choose(_ name: String?) throws(CommandError)
  /// Goes to the next match; false if there is none.
  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool
  /// Shows a place of the file itself, where another screen would go to the maps; false if it does not.
  func go(toHost offset: UInt64) -> Bool
  /// The byte of the file that the hex page is to begin with, and its file; nil if there is none.
  var hexStart: (offset: UInt64, file: HostFileKind)? { get }
  /// Where a search for bytes begins: on the disk or in a file; nil where there are none to be found.
  var searched: (side: Side, offset: UInt64, file: HostFileKind)? { get }
  /// Where ``find(_:forward:)`` looks, as a part of a sentence: "in the file"; empty where that is the screen.
  var searchScope: String { get }
  /// A dialog about the place of the cursor begins with what is left from there of so many bytes of the disk.
  var unit: UInt64 { get }
  /// The name of the snapshot that a dialog about one begins with; nil for the last.
  var snapshot: String? { get }
  /// The same of bitmaps.
  var bitmap: String? { get }
  /// The operation of the history that is selected, from 1; nil for the newest.
  var operation: Int? { get }
  /// One level up.
  func close() throws(CommandError)

  // MARK: Time

  /// Scans that the picture needs before all others, the most urgent first.
  var scans: [any Work] { get }
  /// What goes on also while scans are stopped; when all of it is done the picture can be seen.
  var works: [any Work] { get }
  /// The picture changes by itself as time goes by.
  var isAnimating: Bool { get }
  /// A picture was seen, and the next may be made.
  func beginFrame()
  /// Ends its own work; false if there was none.
  func cancel() -> Bool
}

extension Screen {
  static var commands: [CommandSpec] { [] }
  static var keys: [CommandID: [KeyRule]] { [:] }
  static var choices: [String] { [] }

  /// What a command of this screen does.
  static func run(
    _ body: @escaping @Sendable (Self, Command) throws(CommandError) -> Void
  ) -> CommandSpec.Run {
    { (explorer, command) throws(CommandError) in
      guard let screen = explorer.desk.screen(Self.self) else {
        throw CommandError("there is no such screen")
      }
      try body(screen, command)
    }
  }

  /// Why a command of this screen cannot be done.
  static func refusal(_ body: @escaping @Sendable (Self) -> String?) -> CommandSpec.Refusal {
    { explorer in explorer.desk.screen(Self.self).flatMap(body) }
  }

  /// Whether it covers the screen.
  var isShown: Bool { desk.current === self }
  private var maps: MapsScreen? { desk.screen(MapsScreen.self) }

  var subject: String? { nil }
  var doubleClick: CommandID? { .follow }
  var states: [String]? { nil }
  var cursorText: String { desk.cursorText }
  var status: String? { nil }
  var progress: (text: String, done: Double)? { nil }
  var partialReason: String? { desk.scene.atlas.partialReason }
  var hidesLesson: Bool { false }
  var hostFile: HostFileKind { desk.cursor.file }
  var address: Address { Address(Self.kind) }
  func restore(_ address: Address) {}
  func go(to address: Address) { restore(address) }
  func keepsake() -> () -> Void { {} }
  func settle() {}
  func imageChanged(at offset: UInt64?) { desk.reanchor() }
  func sessionWasReplaced() {}
  func focus(_ pane: Int) throws(CommandError) { try maps?.focus(pane) }
  func focus(at point: Point, _ frame: ScreenFrame) {}
  func focusNext(_ step: Int) { maps?.focusNext(step) }
  func follow() throws(CommandError) {}
  func goToOtherSide() throws(CommandError) { try maps?.goToOtherSide() }
  func offersSnapshot(for command: CommandID) -> Bool { false }
  func zoom(_ target: ZoomTarget, _ count: Int) throws(CommandError) { try maps?.zoom(target, count) }
  func choose(_ name: String?) throws(CommandError) { try maps?.choose(name) }
  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool { false }
  func go(toHost offset: UInt64) -> Bool { false }
  var hexStart: (offset: UInt64, file: HostFileKind)? { (desk.cursor.host, desk.cursor.file) }
  var searched: (side: Side, offset: UInt64, file: HostFileKind)? { nil }
  var unit: UInt64 { desk.geometry.clusterSize }
  var snapshot: String? { nil }
  var bitmap: String? { nil }
  var operation: Int? { nil }
  func close() throws(CommandError) { _ = desk.leave() }
  var secondHints: [HintRule] { [] }
  var searchScope: String { "" }
  var checked: (errors: UInt64, leaks: UInt64)? { nil }

  /// The command that opens it; its sentence says what the screen answers.
  static var opener: CommandSpec? {
    commands.first { [.looking, .lab, .live, .program].contains($0.group) }
  }
  /// What it is called in a word or two.
  static var word: String { opener.map { $0.hint.isEmpty ? $0.name : $0.hint } ?? kind.name }
  var scans: [any Work] { [] }
  var works: [any Work] { [] }
  var isAnimating: Bool { false }
  func beginFrame() {}
  func cancel() -> Bool { false }
}
