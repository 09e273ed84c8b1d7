// Committing as a verb: what an image holds goes into its backing file, which then reads as the image did.

/// Writes what an image holds into the layer directly below it, and empties the image.
package struct CommitDown: Change, Equatable {
  /// The image stays as it is.
  package let keepsImage: Bool

  /// What people are told of it.
  package static let words = ChangeWords(
    "commit",
    options: [
      .init(
        "--keep", "leave the image as it is; else it is emptied",
        sentence: "Leave the image as it is; else it is emptied.")
    ], hint: "commit",
    help: "write what the image holds into its backing file; other images on that change with it")

  package init(keepsImage: Bool = false) { self.keepsImage = keepsImage }

  /// Takes the values that were given.
  package init(_ values: ChangeValues) { self.init(keepsImage: values.flags.contains("--keep")) }

  package var arguments: [String] { keepsImage ? ["--keep"] : [] }

  package func refusal(of image: Image) -> String? {
    guard let below = image.backing else { return "the image has no backing file" }
    guard !below.isMissing else { return "the backing file is not open" }
    return ChangeWords.readOnly(image)
  }

  package func run(on image: Image) throws(ImageError) {
    try image.flush()
    let layers = LayersBelow(image)
    let disk = try layers.forWriting(1)
    let work = try Commit(image, into: disk, depth: 1, perSecond: nil)
    while try work.step() {}
    try disk.close()
    try layers.reload(1)
    if !keepsImage { try Emptying(image).run() }
  }
}
