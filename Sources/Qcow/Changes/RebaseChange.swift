// Another backing file as a verb: the image gets what the two files differ in, so that its disk reads as before, and
// names the new one; the open image reads from it at once.

package import QcowFormat
import Storage

/// Puts an image onto another backing file, or onto none.
package struct RebaseOnto: Change, Equatable {
  /// The new backing file as the image is to name it, from its own folder on; nil for none.
  package let name: String?
  /// Its format as the image is to name it; nil for that of a layer that is there already, and for qcow2.
  package let format: String?
  /// Nothing but the name changes, whatever is there.
  package let onlyName: Bool
  /// What is copied becomes compressed.
  package let compresses: Bool
  /// Snapshots may change with the file that they read from.
  package let snapshotsFollow: Bool

  /// What people are told of it.
  package static let words = ChangeWords(
    "rebase", arguments: [.init("BASE", .layer)],
    options: [
      .init(
        "-F", value: .init("FORMAT", .name), "the format of BASE, qcow2 or raw; qcow2 if not given",
        sentence: "The format of BASE, qcow2 or raw."),
      .init(
        "-u", "change the name alone, for a backing file that was moved",
        sentence: "Change the name alone, for a backing file that was moved."),
      .init("-c", "compress what is copied", sentence: "Compress what is copied."),
      .init(
        "--snapshots-follow", "snapshots may change with the backing file that they read from",
        sentence: "Snapshots may change with the backing file that they read from."),
    ], hint: "rebase",
    help:
      "put the image onto another backing file, named from the image's folder, or onto none (\"\"); the disk reads as before",
    mendsReadOnly: true)

  package init(
    _ name: String?, format: String? = nil, onlyName: Bool = false, compresses: Bool = false,
    snapshotsFollow: Bool = false
  ) {
    self.name = name == "" ? nil : name
    self.format = format
    self.onlyName = onlyName
    self.compresses = compresses
    self.snapshotsFollow = snapshotsFollow
  }

  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) {
    self.init(
      try values.text(0), format: values.text(behind: "-F"), onlyName: values.flags.contains("-u"),
      compresses: values.flags.contains("-c"), snapshotsFollow: values.flags.contains("--snapshots-follow"))
  }

  package var arguments: [String] {
    (format.map { ["-F", $0] } ?? []) + (onlyName ? ["-u"] : []) + (compresses ? ["-c"] : [])
      + (snapshotsFollow ? ["--snapshots-follow"] : []) + [name ?? ""]
  }

  package func refusal(of image: Image) -> String? {
    guard !onlyName else { return NewBacking.refusal(of: image).map { "this image is only read: \($0)" } }
    if let missing = image.missingLayer {
      return "the layer '\(missing.layerName)' is missing, so that nothing can be compared; "
        + "-u changes the name alone"
    }
    return ChangeWords.readOnly(image)
  }

  package func meaning(entries: Int, bytes: ByteCount) -> String? {
    if onlyName { return "nothing is copied: where the two files differ the disk reads otherwise" }
    guard entries > 0 else { return "nothing has to be copied: the disk reads as before" }
    return
      "\(counted(entries, "cluster")) get\(entries == 1 ? "s" : "") the bytes of the old backing file, so "
      + "that the disk reads as before"
  }

  package func run(on image: Image) throws(ImageError) {
    let new = try name.map { (name) throws(ImageError) in try layer(name, of: image) }
    let named = NewBacking(name, format: new.map { format ?? ($0 is RawLayer ? "raw" : "qcow2") })
    try named.check(image)
    if !onlyName {
      if let reason = Rebase.harm(to: image, onto: new, snapshotsFollow: snapshotsFollow) {
        throw ImageError(.unsupported, reason)
      }
      let work = Rebase(image, onto: new, compresses: compresses)
      do throws(RebaseFailure) {
        while try work.step() { image.hearsProgress?(work.progress) }
      } catch { throw error.error }
    }
    try named.install(in: image, reading: new)
  }

  /// The new layer: one of those below already, or another file with what it names.
  private func layer(_ name: String, of image: Image) throws(ImageError) -> any GuestLayer {
    let wanted = try LayerName(name, format: format, imagePath: image.storage.name)
    if let depth = LayersBelow(image).depth(ofFile: wanted.path), !image.layers[depth].isMissing {
      let layer = image.layers[depth]
      if wanted.format == nil || (wanted.format == .raw) == (layer is RawLayer) { return layer }
    }
    guard let opener = image.options.layers else {
      throw ImageError(.unsupported, "this image lies in no folder, so that no file can be put below it")
    }
    do throws(ImageError) {
      return try opener.openNamed(wanted, below: image.storage.name)
    } catch {
      guard onlyName, wanted.format != nil else { throw error }
      return MissingLayer(name: wanted.path, reason: error.description)
    }
  }
}
