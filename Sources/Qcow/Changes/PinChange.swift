// Pinning as a verb: the one shift of all clusters becomes a property of the image.

/// Makes the pin a property of the image, after a look at all its clusters.
package struct Pin: Change {
  /// What people are told of it.
  package static let words = ChangeWords(
    "pin", hint: "pin",
    help: "make the one shift of all clusters a property of the image; they keep their places",
    abstract: "Keep every cluster at guest offset + one shift, whatever the guest does.",
    discussion: """
      Every mapped cluster must have the same shift; 'qatlas create -o contiguous=on' and \
      'qatlas defrag --contiguous' make such images. On a pinned image the command looks again whether \
      all clusters are at their places. Exit codes: 0 all are, 3 some are elsewhere, 1 it failed.
      """)

  package init() {}
  /// Takes the flags that were given.
  package init(_ values: ChangeValues) {}

  package func run(on image: Image) throws(ImageError) { _ = try image.setPin() }
}
