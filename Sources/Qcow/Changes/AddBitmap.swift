// Adding a persistent bitmap as a verb.

package import QcowFormat
import Storage

/// Adds a bitmap without a set bit.
package struct AddBitmap: BitmapChange {
  /// The name of the bitmap, with every byte of it.
  package let name: String
  /// It records what is written from now on.
  package let recordsWrites: Bool
  /// Bytes of the disk that a bit stands for; nil for what is usual.
  package let granularity: ByteCount?

  /// What people are told of it.
  package static let words = ChangeWords(
    "bitmap-add", arguments: [.init("NAME", .name)],
    options: [
      .init(
        "-g", value: .init("SIZE", .size),
        "bytes of the disk that a bit stands for, a power of two from 512 on",
        sentence: "Bytes of the disk that a bit stands for, a power of two from 512 on."),
      .init(
        "--disable", "it does not record yet what is written",
        sentence: "The bitmap does not record yet what is written."),
    ], hint: "add bitmap", help: "add a persistent bitmap, which records what is written from now on")

  package init(_ name: String, recordsWrites: Bool = true, granularity: ByteCount? = nil) {
    self.name = name
    self.recordsWrites = recordsWrites
    self.granularity = granularity
  }

  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing, and for a granularity that is no size.
  package init(_ values: ChangeValues) throws(ImageError) {
    var granularity: ByteCount?
    if let size = values.size(behind: "-g") {
      guard case .to(let bytes) = size else { throw ImageError(.option, "-g needs a size without a sign") }
      granularity = ByteCount(bytes)
    }
    self.init(
      try values.text(0), recordsWrites: !values.flags.contains("--disable"), granularity: granularity)
  }

  package var arguments: [String] {
    (granularity.map { ["-g", DiskSize.short($0)] } ?? []) + (recordsWrites ? [] : ["--disable"]) + [name]
  }

  package func refusal(of image: Image) -> String? {
    if let reason = ChangeWords.readOnly(image) { return reason }
    if image.header.version < 3 {
      return "an image of version 2 cannot have bitmaps; 'amend compat=1.1' makes it version 3"
    }
    return image.bitmaps.contains { ByteText.areSame($0.name, name) }
      ? "there is a bitmap '\(name)' already" : nil
  }

  package var action: BitmapAction { .add(name, granularity: granularity, recordsWrites: recordsWrites) }
}
