// What lies over a screen and takes all keys: the prompt, a dialog, a menu. There is one at a time.

import Cartography
import CellScreen

/// What a key did to an overlay.
enum OverlayOutcome {
  case stays
  case closes
  /// It closes, and then something is done; what that throws is told.
  case closesAnd((Explorer) throws(CommandError) -> Void)
}

/// A key of an overlay: what footers and hints call it is what it is.
struct OverlayKey {
  let key: Key
  /// In the hints.
  let word: String
  /// In the footer; nil where that says nothing about the key.
  var footer: String?

  var hint: Hint { Hint(key.notation, word, press: key) }

  static func footer(_ keys: [OverlayKey]) -> String {
    keys.compactMap { key in key.footer.map { "\(key.key.notation) \($0)" } }.joined(separator: "   ")
  }
}

protocol Overlay: AnyObject {
  /// The line below the screen is its own.
  var takesPromptRow: Bool { get }
  /// The address of the cursor gives way to it.
  var hidesCursorText: Bool { get }
  var hints: [Hint] { get }
  func press(_ key: Key) -> OverlayOutcome
  /// Pasted text; nil if it has no use for it.
  func paste(_ text: String) -> OverlayOutcome?
  func draw(_ frame: ScreenFrame, on canvas: inout Canvas)
}

extension Overlay {
  var takesPromptRow: Bool { false }
  var hidesCursorText: Bool { false }
  func paste(_ text: String) -> OverlayOutcome? { nil }
}
