// Letting a persistent bitmap record as a verb.

/// Lets a bitmap record what is written.
package struct EnableBitmap: BitmapChange {
  /// The name of the bitmap, with every byte of it.
  package let name: String

  /// What people are told of it.
  package static let words = ChangeWords(
    "bitmap-enable", arguments: [.init("NAME", .bitmap)], hint: "enable bitmap",
    help: "let a bitmap record what is written from now on")

  package init(_ name: String) { self.name = name }
  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) { self.init(try values.text(0)) }

  package var arguments: [String] { [name] }

  package func refusal(of image: Image) -> String? { ChangeWords.noBits(name, image) }

  package var action: BitmapAction { .setRecording(name, true) }
}
