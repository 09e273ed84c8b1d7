// What the verbs for persistent bitmaps have in common: the file holds the bitmaps when one is done, and what is
// the matter is said in plain words before.

import Storage

/// A verb that changes bitmaps.
package protocol BitmapChange: Change {
  /// What it does.
  var action: BitmapAction { get }
}

extension BitmapChange {
  /// Leaves the file as the genuine tool does when it has done this one thing.
  /// - Throws: ``ImageError`` for what cannot be done to the bitmap or written.
  package func run(on image: Image) throws(ImageError) {
    try image.changeBitmaps(action)
    try image.storeBitmaps()
  }
}

/// A verb for the bitmap of one name.
package protocol NamedBitmapChange: BitmapChange {
  /// The name of the bitmap, with every byte of it.
  var name: String { get }
  /// For the bitmap of that name.
  init(_ name: String)
}

extension NamedBitmapChange {
  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) { self.init(try values.text(0)) }

  package var arguments: [String] { [name] }

  /// Its bits have to be known.
  package func refusal(of image: Image) -> String? { ChangeWords.noBits(name, image) }
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
