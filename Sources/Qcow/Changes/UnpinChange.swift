// Unpinning as a verb: the property goes, the clusters stay where they are.

/// Removes the pin of an image.
package struct Unpin: Change {
  /// What people are told of it.
  package static let words = ChangeWords(
    "unpin", hint: "unpin", help: "remove that property; nothing moves",
    abstract: "Remove the pin of an image; nothing moves.")

  package init() {}
  /// Takes the flags that were given.
  package init(_ values: ChangeValues) {}

  package func run(on image: Image) throws(ImageError) { try image.removePin() }
}
