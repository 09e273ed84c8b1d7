// Going back to an internal snapshot as a verb.

/// Makes the disk what it was when a snapshot was taken; what it is now is lost.
package struct ApplySnapshot: Change {
  /// An ID or, if no snapshot has it, a name.
  package let snapshot: String

  /// What people are told of it.
  package static let words = ChangeWords(
    "snapshot-apply", arguments: [.init("SNAPSHOT", .snapshot)], hint: "go back to snapshot",
    help: "make the disk what it was at the snapshot of that ID or name; what it is now is lost",
    writesSharedTables: true)

  package init(_ snapshot: String) { self.snapshot = snapshot }
  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) { self.init(try values.text(0)) }

  package var arguments: [String] { [snapshot] }

  /// What bitmaps record would no longer be true behind a jump, so that there may be none.
  package func refusal(of image: Image) -> String? {
    if let reason = ChangeWords.readOnly(image) { return reason }
    let names = image.bitmaps.map { "'\($0.name)'" }
    guard !names.isEmpty else { return nil }
    return "going back would make the persistent bitmaps wrong, which say what was written; remove "
      + "\(names.joined(separator: ", ")) first, with bitmap-remove"
  }

  package func run(on image: Image) throws(ImageError) { try image.applySnapshot(snapshot) }
}
