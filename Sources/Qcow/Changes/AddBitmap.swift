// Adding a persistent bitmap as a verb.

import QcowFormat
import Storage

/// Adds a bitmap without a set bit.
package struct AddBitmap: BitmapChange {
  /// The name of the bitmap, with every byte of it.
  package let name: String
  /// It records what is written from now on.
  package let recordsWrites: Bool

  /// What people are told of it.
  package static let words = ChangeWords(
    "bitmap-add", arguments: [.init("NAME", .name)],
    options: [
      .init(
        "--disable", "it does not record yet what is written",
        sentence: "The bitmap does not record yet what is written.")
    ], hint: "add bitmap", help: "add a persistent bitmap, which records what is written from now on")

  package init(_ name: String, recordsWrites: Bool = true) {
    self.name = name
    self.recordsWrites = recordsWrites
  }

  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) {
    self.init(try values.text(0), recordsWrites: !values.flags.contains("--disable"))
  }

  package var arguments: [String] { (recordsWrites ? [] : ["--disable"]) + [name] }

  package func refusal(of image: Image) -> String? {
    if let reason = ChangeWords.readOnly(image) { return reason }
    if image.header.version < 3 {
      return "an image of version 2 cannot have bitmaps; 'amend compat=1.1' makes it version 3"
    }
    return image.bitmaps.contains { ByteText.areSame($0.name, name) }
      ? "there is a bitmap '\(name)' already" : nil
  }

  package var action: BitmapAction { .add(name, granularity: nil, recordsWrites: recordsWrites) }
}
