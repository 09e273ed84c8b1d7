// Stopping a persistent bitmap as a verb.

/// Lets a bitmap stay as it is.
package struct DisableBitmap: NamedBitmapChange {
  /// The bitmap that is meant.
  package let name: String

  /// What people are told of it.
  package static let words = ChangeWords(
    "bitmap-disable", arguments: [.init("NAME", .bitmap)], hint: "disable bitmap",
    help: "let a bitmap stay as it is, whatever is written")

  package init(_ name: String) { self.name = name }

  package var action: BitmapAction { .setRecording(name, false) }
}
