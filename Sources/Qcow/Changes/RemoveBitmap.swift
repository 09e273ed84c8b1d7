// Removing a persistent bitmap as a verb, and what the verbs for bitmaps that there are have in common.

import Storage

/// Removes a bitmap, also one that cannot be trusted.
package struct RemoveBitmap: Change {
  /// The name of the bitmap, with every byte of it.
  package let name: String

  /// What people are told of it.
  package static let words = ChangeWords(
    "bitmap-remove", arguments: [.init("NAME", .bitmap)], hint: "remove bitmap",
    help: "remove a persistent bitmap, also one that was left in use and cannot be trusted")

  package init(_ name: String) { self.name = name }
  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) { self.init(try values.text(0)) }

  package var arguments: [String] { [name] }

  package func refusal(of image: Image) -> String? {
    ChangeWords.readOnly(image) ?? ChangeWords.noBitmap(name, image)
  }

  package func run(on image: Image) throws(ImageError) { try image.removeBitmap(name) }
}

extension ChangeWords {
  /// Why nothing can be done with a bitmap of that name; nil if there is one.
  static func noBitmap(_ name: String, _ image: Image) -> String? {
    if image.bitmaps.contains(where: { ByteText.areSame($0.name, name) }) { return nil }
    let names = image.bitmaps.map { "'\($0.name)'" }.joined(separator: ", ")
    return "no bitmap is called '\(name)'; " + (names.isEmpty ? "there is none" : "there are \(names)")
  }

  /// Why the bits of a bitmap cannot be used; nil if they can.
  static func noBits(_ name: String, _ image: Image) -> String? {
    if let reason = readOnly(image) ?? noBitmap(name, image) { return reason }
    guard image.bitmaps.contains(where: { ByteText.areSame($0.name, name) && $0.isInconsistent }) else {
      return nil
    }
    return
      "the bitmap '\(name)' was left in use by a program that did not store it, so that nobody knows what "
      + "it should say; it can only be removed"
  }
}
