// Stopping a persistent bitmap as a verb.

/// Lets a bitmap stay as it is.
package struct DisableBitmap: BitmapChange {
  /// The name of the bitmap, with every byte of it.
  package let name: String

  /// What people are told of it.
  package static let words = ChangeWords(
    "bitmap-disable", arguments: [.init("NAME", .bitmap)], hint: "disable bitmap",
    help: "let a bitmap stay as it is, whatever is written")

  package init(_ name: String) { self.name = name }
  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) { self.init(try values.text(0)) }

  package var arguments: [String] { [name] }

  package func refusal(of image: Image) -> String? { ChangeWords.noBits(name, image) }

  package var action: BitmapAction { .setRecording(name, false) }
}
