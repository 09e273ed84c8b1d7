// Committing as a verb: what an image holds goes into its backing file, or into a layer further down, which then
// reads as the image did.

package import QcowFormat

/// Writes what an image holds into a layer below it, and empties the image if that is the next one.
package struct CommitDown: Change, Equatable {
  /// The image stays as it is.
  package let keepsImage: Bool
  /// The layer to write into, as the one above it names it; nil for the next one.
  package let base: String?

  /// What people are told of it.
  package static let words = ChangeWords(
    "commit",
    options: [
      .init(
        "-d", "leave the image as it is; else it is emptied",
        sentence: "Leave the image as it is; else it is emptied."),
      .init(
        "-b", value: .init("BASE", .layer),
        "write into this layer further down; the image stays as it is then",
        sentence: "Write into this layer further down; the image stays as it is then."),
    ], hint: "commit",
    help: "write what the image holds into its backing file; other images on that change with it")

  package init(keepsImage: Bool = false, base: String? = nil) {
    self.keepsImage = keepsImage
    self.base = base
  }

  /// Takes the values that were given.
  package init(_ values: ChangeValues) {
    self.init(keepsImage: values.flags.contains("-d"), base: values.text(behind: "-b"))
  }

  package var arguments: [String] { (keepsImage ? ["-d"] : []) + (base.map { ["-b", $0] } ?? []) }

  /// The place of the layer in the chain; nil if it is not there.
  private func depth(in image: Image) -> Int? {
    guard let base else { return image.backing == nil ? nil : 1 }
    let layers = LayersBelow(image)
    return layers.depth(ofLayer: base) ?? layers.depth(ofFile: base)
  }

  package func refusal(of image: Image) -> String? {
    guard let below = image.backing else { return "the image has no backing file" }
    guard !below.isMissing else { return "the backing file is not open" }
    guard depth(in: image) != nil else { return "no layer below the image is '\(base ?? "")'" }
    return ChangeWords.readOnly(image)
  }

  package func meaning(entries: Int, bytes: ByteCount) -> String? {
    if base != nil { return "layers between the image and its base read otherwise then" }
    return keepsImage ? "the image stays as it is" : "the image holds nothing then; all it held is below"
  }

  package func run(on image: Image) throws(ImageError) {
    guard let depth = depth(in: image) else { throw ImageError(.option, "there is no such layer") }
    try image.flush()
    let layers = LayersBelow(image)
    let disk = try layers.forWriting(depth)
    let work = try Commit(image, into: disk, depth: depth, perSecond: nil)
    while try work.step() { image.hearsProgress?(work.progress) }
    try disk.close()
    try layers.reload(depth)
    if !keepsImage, base == nil { try Emptying(image).run() }
  }
}
