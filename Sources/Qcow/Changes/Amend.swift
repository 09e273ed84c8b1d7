// Changing options of an image as a verb. What loses something has to be asked for by name.

import QcowFormat

/// Gives options of an image new values.
package struct Amend: Change {
  /// The new values.
  package let amendment: Amendment
  /// A smaller disk was asked for by name.
  package let maySqueeze: Bool

  /// What people are told of it.
  package static let words = ChangeWords(
    "amend", arguments: [.init("OPTIONS", .options)],
    options: [
      .init(
        "--shrink", "allow a smaller disk, which loses what lies behind its new end",
        sentence: "Allow a smaller disk, which loses what lies behind its new end.")
    ], hint: "amend",
    help:
      "change options: compat, refcount_bits, lazy_refcounts, size, data_file, data_file_raw, as in compat=1.1,size=2G",
    abstract: "Change options of an image.",
    discussion: """
      Steps are done in a fixed order, and one that fails leaves the earlier ones done: version 3, key slots, \
      width of refcounts, data file, lazy refcounts, size, version 2.
      """, writesSharedTables: true)

  package init(_ amendment: Amendment, maySqueeze: Bool = false) {
    self.amendment = amendment
    self.maySqueeze = maySqueeze
  }

  /// Takes the values that were given.
  /// - Throws: ``ImageError`` if one is missing.
  package init(_ values: ChangeValues) throws(ImageError) {
    self.init(try values.options(0), maySqueeze: values.flags.contains("--shrink"))
  }

  package var arguments: [String] {
    var words: [String] = []
    func add(_ name: String, _ value: String?) { if let value { words.append("\(name)=\(value)") } }
    add("compat", amendment.compat)
    add("refcount_bits", amendment.refcountBits.map(String.init))
    add("lazy_refcounts", amendment.lazyRefcounts.map { $0 ? "on" : "off" })
    add("size", amendment.size.map { DiskSize.short(ByteCount($0)) })
    add("data_file", amendment.dataFile)
    add("data_file_raw", amendment.dataFileRaw.map { $0 ? "on" : "off" })
    add("backing_file", amendment.backingFile)
    add("backing_fmt", amendment.backingFormat)
    return (maySqueeze ? ["--shrink"] : []) + [words.joined(separator: ",")]
  }

  package func refusal(of image: Image) -> String? {
    if let size = amendment.size, size != 0, size < image.geometry.virtualSize, !maySqueeze {
      return "a smaller disk loses what lies behind its new end; --shrink allows it"
    }
    if image.hasExternalData, amendment.dataFile == "" {
      return "without the name of its data file the image cannot be opened by its name any more"
    }
    return ChangeWords.readOnly(image)
  }

  package func run(on image: Image) throws(ImageError) { try image.amend(amendment) }
}
