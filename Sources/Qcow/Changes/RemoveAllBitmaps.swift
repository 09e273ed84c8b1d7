// Removing all persistent bitmaps as a verb.

/// Removes all bitmaps, also those that cannot be trusted.
package struct RemoveAllBitmaps: BitmapChange {
  /// What people are told of it.
  package static let words = ChangeWords(
    "bitmap-remove-all", hint: "remove bitmaps", help: "remove all persistent bitmaps")

  package init() {}
  /// Takes the flags that were given.
  package init(_ values: ChangeValues) {}

  package var action: BitmapAction { .removeAll }
}
