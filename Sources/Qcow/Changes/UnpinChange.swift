// Unpinning as a verb: the property goes, the clusters stay where they are.

/// Removes the pin of an image.
package struct Unpin: Change {
  package static let words = ChangeWords(
    "unpin", hint: "unpin", help: "remove that property; nothing moves",
    abstract: "Remove the pin of an image; nothing moves.")

  package init() {}
  package init(_ values: ChangeValues) {}

  package func run(on image: Image) throws(ImageError) { try image.removePin() }
}
