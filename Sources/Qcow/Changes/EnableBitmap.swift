// Letting a persistent bitmap record as a verb.

/// Lets a bitmap record what is written.
package struct EnableBitmap: NamedBitmapChange {
  /// The bitmap that is meant.
  package let name: String

  /// What people are told of it.
  package static let words = ChangeWords(
    "bitmap-enable", arguments: [.init("NAME", .bitmap)], hint: "enable bitmap",
    help: "let a bitmap record what is written from now on")

  package init(_ name: String) { self.name = name }

  package var action: BitmapAction { .setRecording(name, true) }
}
