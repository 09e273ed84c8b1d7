// What the explorer remembers between two commands beside the image itself: where the cursor is, what
// is open, how the maps are zoomed. A picture follows from the session, this value and nothing else.

package import CellScreen
import Cartography
import QcowFormat

/// Which of the two addresses of the cursor was moved last.
package enum Side: Hashable, Sendable { case guest, host }

/// Which file a host address is in: the image file, or its external data file.
package enum HostFileKind: Hashable, Sendable { case image, data }

/// One position with two addresses.
package struct TwinCursor: Hashable, Sendable {
  package var side = Side.guest
  /// Bytes; both always lie on their map.
  package var guest: UInt64 = 0
  package var host: UInt64 = 0
  /// The file that ``host`` is an address of.
  package var file = HostFileKind.image
  /// The other address is the same place; otherwise it is where that side was left.
  package var isTwinned = false
}

/// What covers the screen.
package enum ScreenKind: Hashable, Sendable { case explorer, table, hex, fragmentation, lab, help }

/// How much one cell of a map stands for.
package enum Zoom: Hashable, Sendable {
  /// One cluster if that fits a few pages, else all in one view.
  case automatic
  /// All in one view.
  case fit
  /// 2^n clusters; negative for parts of a cluster.
  case clusters(Int)
}

/// A line about what just happened.
package struct Message: Hashable, Sendable {
  package enum Kind: Hashable, Sendable { case information, error }
  package var kind: Kind
  package var text: String
}

/// Where a jump began, for `b`.
struct Location: Hashable, Sendable {
  var screen: ScreenKind
  var focus: Int
  var cursor: TwinCursor
  var tableL1: Int
  var tableEntry: Int
  var subcluster: Int
  var hexOffset: UInt64
  var hexFile: HostFileKind
}

/// The rows of a map that are seen.
struct MapWindow: Hashable, Sendable {
  var zoom = Zoom.automatic
  /// First visible row.
  var top: UInt64 = 0
}

/// What ``Explorer`` shows.
struct UIState: Sendable {
  var width: Int
  var height: Int
  var glyphs: GlyphSet
  var mouse: Bool
  var screen = ScreenKind.explorer
  /// What is under the help page.
  var screenUnderHelp = ScreenKind.explorer
  /// The pane of the explorer that has the keys, 1 ... 4.
  var focus = 1
  /// On small screens the log stands where "Where is it?" else is.
  var showsLog = false
  var cursor = TwinCursor()
  /// The first line that "Where is it?" shows.
  var placeTop = 0
  var guest = MapWindow()
  var host = MapWindow()
  var lens = Lens.kind
  var lensMenu: Int?
  var tableL1 = 0
  var tableEntry = 0
  var subcluster = 0
  var tableFolded = true
  var tableTop = 0
  var hexOffset: UInt64 = 0
  var hexFile = HostFileKind.image
  var hexTop: UInt64 = 0
  var fragmentation = FragmentationView()
  var helpTop = 0
  var helpFound: Int?
  var lab = LabState()
  var logSelected = 0
  var logTop = 0
  var trail: [Location] = []
  /// Digits typed before a key.
  var pendingCount = ""
  var prompt: PromptState?
  var dialog: DialogState?
  var message: Message?
  /// What the last operation changed, for the marks.
  var change: Narration?
  var lastSearch = ""
  var lesson: LessonState?
  /// What another program did to the file, in words.
  var changeByOthers: String?
  /// Esc stopped the scans; what they have not reached stays unknown.
  var isPaused = false
  /// The last picture's places for clicks.
  var isFinished = false
}

/// How the lab goes on.
struct LabState: Hashable, Sendable {
  /// The policy that has the cursor.
  var selected = 0
  var isRunning = false
  /// Requests to do before the next picture.
  var target = 0
  /// Requests between two pictures while it runs.
  var perFrame = 1
}

/// The open prompt.
struct PromptState: Sendable {
  enum Kind: Sendable { case command, search }
  var kind: Kind
  var editor: LineEditor
  var label: String { kind == .command ? ":" : "/" }
}

/// What the program around the explorer is to do.
package enum Effect: Hashable, Sendable {
  case quit
  case redraw
  case setMouse(Bool)
  case setGlyphs(GlyphSet)
  /// A text for the clipboard of the terminal.
  case copy(String)
}
