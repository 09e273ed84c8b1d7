// One thing that was asked for. A key press, a script line, a click and a test all become a command,
// so that nothing can be done with one of them that the others cannot.

/// The commands there are. The raw value is the name that is typed after `:`.
package enum CommandID: String, CaseIterable, Sendable {
  // Moving.
  case left, right, up, down
  case pageUp = "page-up"
  case pageDown = "page-down"
  case halfUp = "half-up"
  case halfDown = "half-down"
  case first, last
  case rowStart = "row-start"
  case rowEnd = "row-end"
  case nextUsed = "next-used"
  case previousUsed = "previous-used"
  case goto

  // Looking.
  case focus
  case nextPane = "next-pane"
  case previousPane = "previous-pane"
  case follow, back
  case otherSide = "other-side"
  case zoom, lens
  case lensList = "lens-list"
  case l2
  case previousTable = "previous-table"
  case nextTable = "next-table"
  case fold, hex, log
  case fragmentation, worst
  case dryRun = "dry-run"
  case copy, json
  case explorer
  case otherFile = "other-file"
  case search
  case searchNext = "search-next"
  case searchPrevious = "search-previous"

  // The lab.
  case lab
  case labRun = "lab-run"
  case labStep = "lab-step"
  case labFaster = "lab-faster"
  case labSlower = "lab-slower"
  case labRestart = "lab-restart"

  // Changing.
  case write, zero, discard, read, defrag, undo, redo
  case policy, pin, unpin
  case lesson

  // Saving and leaving.
  case save = "w"
  case saveAndQuit = "wq"
  case quit = "q"
  case close

  // The program.
  case help
  case prompt
  case cancel
  case set
  case ascii
  case mouse
  case saveScreen = "save-screen"
  case redraw
  case scan, reload
}

/// A command with what belongs to it.
package struct Command: Hashable, Sendable {
  package var id: CommandID
  /// Words behind the name, options included.
  package var arguments: [String]
  /// How many times, or how far; nil if not said.
  package var count: Int?
  /// Written with `!`: do it although something speaks against it.
  package var force: Bool

  package init(_ id: CommandID, _ arguments: [String] = [], count: Int? = nil, force: Bool = false) {
    self.id = id
    self.arguments = arguments
    self.count = count
    self.force = force
  }
}
