// Clearing a persistent bitmap as a verb.

/// Takes all bits of a bitmap back.
package struct ClearBitmap: BitmapChange {
  /// The name of the bitmap, with every byte of it.
  package let name: String

  /// What people are told of it.
  package static let words = ChangeWords(
    "bitmap-clear", arguments: [.init("NAME", .bitmap)], hint: "clear bitmap",
    help: "take all bits of a bitmap back; it records what is written from now on, if it does")

  package init(_ name: String) { self.name = name }
  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) { self.init(try values.text(0)) }

  package var arguments: [String] { [name] }

  package func refusal(of image: Image) -> String? { ChangeWords.noBits(name, image) }

  package var action: BitmapAction { .clear(name) }
}
