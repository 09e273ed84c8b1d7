// A pane of the main screen: a frame of its own with a state of its own, which takes the keys while it has the
// focus.

import Cartography
import CellScreen

/// Where a pane stands.
struct PaneRoom {
  /// With the frame; empty where the pane is not shown.
  var frame: Rect
  var isFocused: Bool
  /// It is the only pane.
  var isAlone: Bool

  /// Inside the frame.
  var inner: Rect { frame.inset(1, 1) }
}

protocol Pane: AnyObject {
  var desk: Desk { get }
  var maps: MapsScreen { get }
  var context: Context { get }
  var hints: [HintRule] { get }
  func draw(_ room: PaneRoom, _ place: Place, on canvas: inout Canvas)
  func move(_ movement: Movement, _ count: Int, _ room: PaneRoom)
  func follow() throws(CommandError)
  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool
  func click(at point: Point, _ room: PaneRoom)
  func settle(_ room: PaneRoom)
  /// What puts its state as it is now.
  func keepsake() -> () -> Void
}

extension Pane {
  func click(at point: Point, _ room: PaneRoom) {}
  func settle(_ room: PaneRoom) {}
  func keepsake() -> () -> Void { {} }
}
