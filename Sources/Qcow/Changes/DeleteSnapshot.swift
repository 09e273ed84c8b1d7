// Deleting an internal snapshot as a verb.

/// Deletes the first snapshot of a name.
package struct DeleteSnapshot: Change {
  package let name: String

  package static let words = ChangeWords(
    "snapshot-delete", arguments: [.init("NAME", .snapshot)], hint: "delete snapshot",
    help: "delete the first internal snapshot of that name",
    writesSharedTables: true)

  package init(_ name: String) { self.name = name }
  package init(_ values: ChangeValues) throws(ImageError) { self.init(try values.text(0)) }

  package var arguments: [String] { [name] }

  package func run(on image: Image) throws(ImageError) { try image.deleteSnapshot(name: name) }
}
