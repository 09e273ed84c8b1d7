// Merging persistent bitmaps as a verb.

/// Sets the bits of all ranges that have a bit in another bitmap.
package struct MergeBitmap: BitmapChange {
  /// The bitmap whose bits are taken.
  package let source: String
  /// The bitmap that gets them.
  package let name: String

  /// What people are told of it.
  package static let words = ChangeWords(
    "bitmap-merge", arguments: [.init("SOURCE", .bitmap), .init("NAME", .bitmap)], hint: "merge bitmaps",
    help: "set the bits of all that has a bit in the bitmap SOURCE in the bitmap NAME as well")

  package init(_ source: String, into name: String) {
    self.source = source
    self.name = name
  }

  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) {
    self.init(try values.text(0), into: try values.text(1))
  }

  package var arguments: [String] { [source, name] }

  package func refusal(of image: Image) -> String? {
    ChangeWords.noBits(source, image) ?? ChangeWords.noBits(name, image)
  }

  package var action: BitmapAction { .merge(source, of: nil, into: name) }
}
