// The options that a new file can have, as `create -o help` lists them.

/// Names, types and meanings of the options of `create`.
package enum CreateHelp {
  /// Whether a list of options asks what there is.
  package static func isAsked(_ lists: [String]) -> Bool {
    lists.contains { list in list.split(separator: ",").contains { $0 == "help" || $0 == "?" } }
  }

  /// The list; with a file named, the options of its place in the file system are among them.
  package static func text(format: String, namesFile: Bool, ours: Bool) -> String {
    var rows = format == "raw" ? [size] : image
    if ours && format != "raw" { rows += own }
    if namesFile { rows += format == "raw" ? place + [rawPreallocation] : place }
    var text = namesFile ? "Supported options:\n" : "Supported \(format) options:\n"
    for (name, meaning) in rows.sorted(by: { $0.name < $1.name }) {
      text += "  " + name + String(repeating: " ", count: max(0, 22 - name.utf8.count)) + " - \(meaning)\n"
    }
    guard !namesFile else { return text }
    return text + "\nThe protocol level may support further options.\n"
      + "Specify the target filename to include those options.\n"
  }

  /// How options of a new image begin, `size=`, ours among them.
  package static var nameWords: [String] { (image + own).map { nameOf($0) + "=" } }

  /// The names of all options of a new image.
  static var names: [String] { image.map { nameOf($0) } }

  /// What is said of options of these names.
  static func rows(of names: [String]) -> [(name: String, meaning: String)] {
    image.filter { names.contains(nameOf($0)) }
  }

  private static func nameOf(_ row: Row) -> String { String(row.name.prefix { $0 != "=" }) }

  private typealias Row = (name: String, meaning: String)
  private static let size: Row = ("size=<size>", "Virtual disk size")
  private static let rawPreallocation: Row = (
    "preallocation=<str>", "Preallocation mode (allowed values: off, falloc, full)"
  )
  private static let place: [Row] = [
    ("extent_size_hint=<size>", "Extent size hint for the image file, 0 to disable"),
    ("nocow=<bool (on/off)>", "Turn off copy-on-write (valid only on btrfs)"),
  ]
  private static let own: [Row] = [
    ("contiguous=<bool (on/off)>", "All data in one run behind the tables"),
    ("pinned=<bool (on/off)>", "Every cluster keeps its place"),
    ("reserve=<size>", "Room for growing to this size"),
  ]
  private static let image: [Row] = [
    size,
    ("backing_file=<str>", "File name of a base image"),
    ("backing_fmt=<str>", "Image format of the base image"),
    ("cluster_size=<size>", "qcow2 cluster size"),
    ("compat=<str>", "Compatibility level (v2 [0.10] or v3 [1.1])"),
    ("compression_type=<str>", "Compression method used for image cluster compression"),
    ("data_file=<str>", "File name of an external data file"),
    ("data_file_raw=<bool (on/off)>", "The external data file must stay valid as a raw image"),
    ("encrypt.cipher-alg=<str>", "Name of encryption cipher algorithm"),
    ("encrypt.cipher-mode=<str>", "Name of encryption cipher mode"),
    ("encrypt.format=<str>", "Encrypt the image, format choices: 'aes', 'luks'"),
    ("encrypt.hash-alg=<str>", "Name of encryption hash algorithm"),
    ("encrypt.iter-time=<num>", "Time to spend in PBKDF in milliseconds"),
    ("encrypt.ivgen-alg=<str>", "Name of IV generator algorithm"),
    ("encrypt.ivgen-hash-alg=<str>", "Name of IV generator hash algorithm"),
    ("encrypt.key-secret=<str>", "ID of secret providing qcow AES key or LUKS passphrase"),
    (
      "encryption=<bool (on/off)>",
      "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"
    ),
    ("extended_l2=<bool (on/off)>", "Extended L2 tables"),
    (
      "keep_data_file=<bool (on/off)>", "Assume the external data file already exists and do not overwrite it"
    ),
    ("lazy_refcounts=<bool (on/off)>", "Postpone refcount updates"),
    ("preallocation=<str>", "Preallocation mode (allowed values: off, metadata, falloc, full)"),
    ("refcount_bits=<num>", "Width of a reference count entry in bits"),
  ]
}
