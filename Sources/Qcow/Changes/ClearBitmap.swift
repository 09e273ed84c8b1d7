// Clearing a persistent bitmap as a verb.

/// Takes all bits of a bitmap back.
package struct ClearBitmap: NamedBitmapChange {
  /// The bitmap that is meant.
  package let name: String

  /// What people are told of it.
  package static let words = ChangeWords(
    "bitmap-clear", arguments: [.init("NAME", .bitmap)], hint: "clear bitmap",
    help: "take all bits of a bitmap back; it records what is written from now on, if it does")

  package init(_ name: String) { self.name = name }

  package var action: BitmapAction { .clear(name) }
}
