// Putting an image in order as a verb: at once, or batch by batch for whoever watches.

package import QcowFormat

/// Puts the clusters of an image in guest order.
package struct Defrag: Change, Equatable {
  /// Every cluster goes to its guest offset plus one shift, with holes where nothing is mapped.
  package let isContiguous: Bool
  /// Leaked clusters that hold data are given back, and the data with them.
  package let dropsLeaks: Bool

  /// What people are told of it.
  package static let words = ChangeWords(
    "defrag",
    options: [
      .init(
        "--contiguous", "guest offset plus one shift; holes stay where nothing is mapped",
        sentence: "Put every cluster at its guest offset plus one shift, with holes where nothing is mapped."),
      .init(
        "--drop-leaks", "give leaked clusters back although they hold data",
        sentence: "Give leaked clusters back although they hold data, which is then lost."),
    ], hint: "defrag",
    help: "put the clusters in guest order, batch by batch as you watch; Esc stops, undo takes all back",
    abstract: "Put the clusters of an image in order, in place.",
    discussion: """
      Tables go in front, data clusters behind them in guest order in one run, compressed clusters behind \
      the data, and the file is cut. What is in place already is not copied. An interruption harms nothing; \
      run the command again to go on. Leaked clusters are given back if they hold nothing or are what an \
      interrupted run left; others are named and left alone. Images with internal snapshots, \
      bitmaps, encryption or an external data file are refused, and so are damaged ones.
      """)

  package init(isContiguous: Bool = false, dropsLeaks: Bool = false) {
    self.isContiguous = isContiguous
    self.dropsLeaks = dropsLeaks
  }

  /// Takes the flags that were given.
  package init(_ values: ChangeValues) {
    self.init(
      isContiguous: values.flags.contains("--contiguous"), dropsLeaks: values.flags.contains("--drop-leaks"))
  }

  package var arguments: [String] {
    (isContiguous ? ["--contiguous"] : []) + (dropsLeaks ? ["--drop-leaks"] : [])
  }

  /// Looks at the whole image on its storage; linear in it.
  /// - Throws: ``ImageError`` with the reason if it cannot be put in order.
  package func check(_ image: Image) throws(ImageError) -> RelocationCheck {
    try image.flush()
    return try RelocationCheck(image.storage, dropsLeaks: dropsLeaks)
  }

  /// Gives back what `check` found leaked.
  /// - Throws: ``ImageError`` if that fails.
  package func dropLeaks(of image: Image, by check: RelocationCheck) throws(ImageError) {
    guard check.hasLeaks else { return }
    try check.dropLeaks(on: image.storage)
    try image.reload()
  }

  /// Plans the work on an image that was checked and has no leaks. `batchBytes` are copied between two steps, nil
  /// for what is usual.
  /// - Throws: ``ImageError`` if there is no room for the image in order.
  package func begin(on image: Image, batchBytes: ByteCount? = nil) throws(ImageError)
    -> Relocation
  {
    try Relocation(image, layout: try image.orderedLayout(contiguous: isContiguous), batchBytes: batchBytes)
  }

  package func run(on image: Image) throws(ImageError) {
    try dropLeaks(of: image, by: try check(image))
    let relocation = try begin(on: image)
    while try relocation.step() {}
  }
}
