// Removing a persistent bitmap as a verb.

/// Removes a bitmap, also one that cannot be trusted.
package struct RemoveBitmap: NamedBitmapChange {
  /// The bitmap that is meant.
  package let name: String

  /// What people are told of it.
  package static let words = ChangeWords(
    "bitmap-remove", arguments: [.init("NAME", .bitmap)], hint: "remove bitmap",
    help: "remove a persistent bitmap, also one that was left in use and cannot be trusted")

  package init(_ name: String) { self.name = name }

  package func refusal(of image: Image) -> String? {
    ChangeWords.readOnly(image) ?? ChangeWords.noBitmap(name, image)
  }

  package var action: BitmapAction { .remove(name) }
}
