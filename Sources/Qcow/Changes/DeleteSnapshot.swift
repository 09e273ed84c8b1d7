// Deleting an internal snapshot as a verb.

/// Deletes the first snapshot of a name.
package struct DeleteSnapshot: Change {
  /// The name of the snapshot, with every byte of it.
  package let name: String

  /// What people are told of it.
  package static let words = ChangeWords(
    "snapshot-delete", arguments: [.init("NAME", .snapshot)], hint: "delete snapshot",
    help: "delete the first internal snapshot of that name",
    writesSharedTables: true)

  package init(_ name: String) { self.name = name }
  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) { self.init(try values.text(0)) }

  package var arguments: [String] { [name] }

  package func run(on image: Image) throws(ImageError) { try image.deleteSnapshot(name: name) }
}
