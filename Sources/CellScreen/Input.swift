// What a person or the system can send to the program, as pure values: keys, mouse, sizes, signals.
// The terminal makes them from bytes, scripts and tests make them from text; screens see no difference.

/// A mouse action; the origin of the coordinates is the upper left cell, 0, 0.
package struct Mouse: Hashable, Sendable {
  /// Which button; `none` for a wheel.
  package enum Button: UInt8, Sendable { case left, middle, right, none }
  /// What was done with it.
  package enum Kind: UInt8, Sendable { case press, release, doubleClick, wheelUp, wheelDown }

  /// Column, from 0.
  package var x: Int
  /// Row, from 0.
  package var y: Int
  /// The button.
  package var button: Button
  /// What was done with it.
  package var kind: Kind

  package init(x: Int, y: Int, button: Button = .left, kind: Kind) {
    self.x = x
    self.y = y
    self.button = button
    self.kind = kind
  }
}

/// One thing that happened.
package enum InputEvent: Hashable, Sendable {
  case key(Key)
  case mouse(Mouse)
  /// The terminal has a new size in cells.
  case resize(width: Int, height: Int)
  /// Text pasted in one piece; line ends are newlines.
  case paste(String)
  /// The person asked to stop the program (`^Z`).
  case suspendRequested
  /// The program runs again after a stop; everything needs drawing.
  case resumed
  /// The terminal is gone. Reported once; there will be no further event.
  case hangup
  /// A signal that asks the program to end.
  case signal(Int32)
}
