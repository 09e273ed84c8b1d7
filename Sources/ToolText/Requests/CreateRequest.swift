// What `qatlas create` was asked for: the options of `qemu-img create` with their words for what is
// wrong, and the line that says what is made.

import Cartography
package import Qcow
import Storage

/// A request to make an image, checked as far as that goes without a file.
package struct CreateRequest {
  /// What is wrong with a request, as complete lines without the program's name.
  package struct Refusal: Error, CustomStringConvertible, Equatable, Sendable {
    package var description: String
    /// Further lines, which the genuine tool prints without its name in front.
    package var hint: String?
    /// Why something cannot be opened, if it is that: a command that names the file itself says only this.
    package private(set) var reasonAgainstOpening: String?

    package init(_ description: String, hint: String? = nil) {
      self.description = description
      self.hint = hint
    }

    /// What is to be opened cannot be, for that reason.
    package init(cannotOpen reason: String) {
      self.init("can't open: " + reason)
      reasonAgainstOpening = reason
    }

    /// What is wrong with a file that is named in front of the sentence.
    init(of file: String, _ sentence: String, hint: String? = nil) {
      self.init("\(Escaping.human(file)): \(sentence)", hint: hint)
      withoutName = sentence
    }

    /// The sentence without the name of the file that it may have in front.
    private var withoutName: String?

    /// The words of a list of options are wrong, whatever is to be made of them.
    package private(set) var isOfWords = false

    /// The same without the name of the file in front, as an error of words.
    var unnamed: Self {
      var result = withoutName.map { Self($0, hint: hint) } ?? self
      result.isOfWords = true
      return result
    }
  }

  /// The options that the engine takes.
  package var options: Image.CreateOptions
  /// The encryption, for which a passphrase is to be found.
  package var encryption: EncryptionRequest?
  /// The external data file to make, as the header is to name it.
  package var dataFile: String?
  /// The external data file is there, and what it holds is the disk's content.
  package var keepsDataFile = false
  /// An external data file that is there and holds bytes may be emptied, as the genuine tool does
  /// without asking.
  package var mayEmptyDataFile = false
  /// "Formatting 'x.qcow2', fmt=qcow2 …", printed before the file is made.
  package var announcement: String
  /// The options came out well formed and cannot be met; said after the announcement.
  package var refusal: Refusal?

  /// What there is to know of a backing file.
  package struct Backing: Sendable {
    /// Bytes of the disk.
    package var size: UInt64
    /// The format it was opened with.
    package var format: String
    package init(size: UInt64, format: String) {
      self.size = size
      self.format = format
    }
  }

  /// `lists` are the values of `-o`, each with options separated by commas; `size` is the operand.
  /// `open` looks at the backing file, by its name and its format; nil leaves that to the user.
  ///
  /// - Throws: ``Refusal`` with the sentence of the genuine tool for wrong words.
  package init(
    file: String, size: String?, lists: [String], backing: String? = nil, backingFormat: String? = nil,
    open: ((String, String?) throws(Refusal) -> Backing)? = nil
  ) throws(Refusal) {
    var given = try Self.split(lists, file, known: Self.known)
    if let backing { given["backing_file"] = backing }
    if let backingFormat { given["backing_fmt"] = backingFormat }
    var bytes = try Self.size(operand: size, option: given["size"], file)
    if let backing = given["backing_file"] {
      guard !backing.isEmpty else { throw Refusal(of: file, "Expected backing file name, got empty string") }
      guard !ByteText.areSame(backing, file) else {
        throw Refusal(
          of: file, "Error: Trying to create an image with the same filename as the backing file")
      }
      let opened = try open.map { (open) throws(Refusal) in try open(backing, given["backing_fmt"]) }
      guard given["backing_fmt"] != nil else {
        throw Refusal(
          of: file, "Backing file specified without backing format",
          hint: opened.map { "Detected format of \($0.format).\n" })
      }
      if bytes == nil { bytes = opened?.size }
    }
    guard let bytes else { throw Refusal(of: file, "Image creation needs a size parameter") }
    options = Image.CreateOptions(size: bytes)
    announcement = "Formatting '\(Escaping.human(file))', fmt=qcow2"
    refusal = nil
    try read(given, file)
  }

  /// A new image of that size for a copy, which is announced by nobody. What is wrong is said without the name
  /// of the file in front.
  ///
  /// - Throws: ``Refusal`` with the sentence of the genuine tool for wrong words.
  package init(
    copy file: String, size: UInt64, lists: [String], backing: String?, backingFormat: String?
  ) throws(Refusal) {
    options = Image.CreateOptions(size: size)
    announcement = ""
    do throws(Refusal) {
      var given = try Self.split(lists, file, known: Self.known)
      if let backing { given["backing_file"] = backing }
      if let backingFormat { given["backing_fmt"] = backingFormat }
      try read(given, file)
    } catch { throw error.unnamed }
    refusal = refusal?.unnamed
  }

  /// The options that are read, in the order in which the announcement names them.
  private mutating func read(_ given: [String: String], _ file: String) throws(Refusal) {
    let clusterSize = try Self.bytes("cluster_size", given, file) ?? 65536
    let extended = try Self.flag("extended_l2", given, file)
    let lazy = try Self.flag("lazy_refcounts", given, file)
    let refcountBits = try Self.number("refcount_bits", given, file) ?? 16
    let isEncrypted = try Self.flag("encryption", given, file)
    let milliseconds = try Self.number("encrypt.iter-time", given, file)
    dataFile = given["data_file"]
    options.dataFileRaw = try Self.flag("data_file_raw", given, file)
    keepsDataFile = try Self.flag("keep_data_file", given, file)
    let preallocation = given["preallocation"]
    let compression = given["compression_type"] ?? "zlib"
    let compat = given["compat"]
    for name in EncryptionRequest.names {
      if let value = given[name] { announcement += " \(name)=\(Escaping.human(value))" }
    }
    announcement += " cluster_size=\(clusterSize) extended_l2=\(given["extended_l2"] ?? "off")"
    if let preallocation { announcement += " preallocation=\(Escaping.human(preallocation))" }
    announcement += " compression_type=\(Escaping.human(compression))"
    if let keep = given["keep_data_file"] { announcement += " keep_data_file=\(keep)" }
    announcement += " size=\(options.size)"
    if let compat { announcement += " compat=\(Escaping.human(compat))" }
    if let backing = given["backing_file"] {
      let doubled = backing.unicodeScalars.map { $0 == "," ? ",," : String($0) }.joined()
      announcement += " backing_file=\(Escaping.human(doubled))"
    }
    if let format = given["backing_fmt"] { announcement += " backing_fmt=\(Escaping.human(format))" }
    if let dataFile { announcement += " data_file=\(Escaping.human(dataFile))" }
    if let raw = given["data_file_raw"] { announcement += " data_file_raw=\(raw)" }
    announcement += " lazy_refcounts=\(given["lazy_refcounts"] ?? "off") refcount_bits=\(refcountBits)"
    // These two are for the file system; the image is the same without them.
    _ = try Self.flag("nocow", given, file)
    if let nocow = given["nocow"] { announcement += " nocow=\(nocow)" }
    if let hint = try Self.bytes("extent_size_hint", given, file) {
      announcement += " extent_size_hint=\(hint)"
    }
    for name in ["contiguous", "reserve", "pinned"] {
      if let value = given[name] { announcement += " \(name)=\(Escaping.human(value))" }
    }
    announcement += "\n"

    options.contiguous = try Self.flag("contiguous", given, file)
    options.pinned = try Self.flag("pinned", given, file)
    options.reserve = try Self.bytes("reserve", given, file)
    options.clusterSize = clusterSize
    options.extendedL2 = extended
    options.lazyRefcounts = lazy
    options.refcountBits = Int(clamping: refcountBits)
    func refuse(_ text: String) { if refusal == nil { refusal = Refusal(of: file, text) } }
    if keepsDataFile, let problem = keepProblem(preallocation) { refuse(problem) }
    do throws(Refusal) {
      encryption = try EncryptionRequest(
        given, isOn: isEncrypted, milliseconds: milliseconds)
    } catch { refuse(error.description) }
    options.backingFile = given["backing_file"]
    options.backingFormat = given["backing_fmt"]
    if let format = given["backing_fmt"], !LayerName.known.contains(format) {
      refuse("Parameter 'backing-fmt' does not accept value '\(Escaping.human(format))'")
    }
    switch compat {
    case nil, "1.1", "v3": options.version = 3
    case "0.10", "v2": options.version = 2
    case .some(let other): refuse("Parameter 'version' does not accept value '\(Escaping.human(other))'")
    }
    if let preallocation {
      if let known = Image.CreateOptions.Preallocation(rawValue: preallocation) {
        options.preallocation = known
      } else {
        refuse("Parameter 'preallocation' does not accept value '\(Escaping.human(preallocation))'")
      }
    }
    if compression == "zstd" {
      options.compressionType = 1
    } else if compression != "zlib" {
      refuse("Parameter 'compression-type' does not accept value '\(Escaping.human(compression))'")
    }
  }

  /// Why what the data file holds cannot be kept, or would not be seen.
  private func keepProblem(_ preallocation: String?) -> String? {
    if dataFile == nil { return "Must not use 'keep_data_file=on' without 'data_file'" }
    if preallocation == "falloc" || preallocation == "full" {
      return "Preallocating more than only metadata would overwrite the external data file's content and is "
        + "therefore incompatible with 'keep_data_file=on'"
    }
    if options.dataFileRaw || preallocation == "metadata" { return nil }
    return
      "'keep_data_file=on' requires 'preallocation=metadata' or 'data_file_raw=on', or the file contents "
      + "will not be visible"
  }

  // MARK: Option lists

  /// Names and values of lists that have been read before.
  static func words(_ lists: [String]) throws(Refusal) -> [String: String] {
    try split(lists, "", known: known)
  }

  private static let known = Set([
    "size", "compat", "backing_file", "backing_fmt", "cluster_size", "extended_l2", "preallocation",
    "lazy_refcounts", "refcount_bits", "compression_type", "data_file", "data_file_raw",
    "keep_data_file",
    "contiguous", "reserve", "pinned", "nocow", "extent_size_hint",
  ]).union(EncryptionRequest.names)
  private static let flags: Set<String> = [
    "extended_l2", "lazy_refcounts", "data_file_raw", "keep_data_file", "contiguous", "pinned", "encryption",
    "nocow",
  ]

  /// Names and values; a doubled comma stands for one in a value, the last of equal names wins.
  static func split(
    _ lists: [String], _ file: String, known: Set<String>
  ) throws(Refusal) -> [String: String] {
    var result: [String: String] = [:]
    for list in lists {
      for item in try items(of: list) {
        let (name, value) = pair(item)
        guard known.contains(name) else {
          throw Refusal(of: file, "Invalid parameter '\(Escaping.human(name))'")
        }
        result[name] = value
      }
    }
    return result
  }

  /// The items of a comma-separated list, with the doubled commas of values undone; with `firstIsValue` the
  /// first item may be a value whose name is left out.
  ///
  /// - Throws: ``Refusal`` for a list that cannot be cut into options.
  package static func items(of list: String, firstIsValue: Bool = false) throws(Refusal) -> [String] {
    var items: [String] = []
    // Scalar by scalar: a comma stays one when a mark that joins it follows.
    var item = String.UnicodeScalarView()
    let text = Array(list.unicodeScalars)
    var at = 0
    var isValue = firstIsValue
    while at < text.count {
      if text[at] != "," {
        if text[at] == "=" { isValue = true }
        item.append(text[at])
      } else if isValue, at + 1 < text.count, text[at + 1] == "," {
        item.append(",")
        at += 1
      } else {
        items.append(String(item))
        item = String.UnicodeScalarView()
        isValue = false
        guard at + 1 < text.count else { throw Refusal("Invalid option list: \(Escaping.human(list))") }
      }
      at += 1
    }
    guard text.first != "," || firstIsValue && text.starts(with: [",", ","]) else {
      throw Refusal("Invalid option list: \(Escaping.human(list))")
    }
    return items + [String(item)]
  }

  /// The two sides of the first "=" of an item; no value without one.
  package static func sides(of item: String) -> (name: String, value: String?) {
    let scalars = item.unicodeScalars
    guard let equals = scalars.firstIndex(of: "=") else { return (item, nil) }
    return (String(scalars[..<equals]), String(scalars[scalars.index(after: equals)...]))
  }

  /// `name=value`; a bare name is a flag that is on, with "no" in front one that is off.
  private static func pair(_ item: String) -> (name: String, value: String) {
    let (name, value) = sides(of: item)
    if let value { return (name, value) }
    if item.hasPrefix("no"), flags.contains(String(item.dropFirst(2))) {
      return (String(item.dropFirst(2)), "off")
    }
    return (item, "on")
  }

  static func flag(_ name: String, _ given: [String: String], _ file: String) throws(Refusal) -> Bool {
    switch given[name] {
    case nil, "off", "no", "false", "n": return false
    case "on", "yes", "true", "y": return true
    default: throw Refusal(of: file, "Parameter '\(name)' expects 'on' or 'off'")
    }
  }

  static func bytes(_ name: String, _ given: [String: String], _ file: String) throws(Refusal)
    -> UInt64?
  {
    guard let text = given[name] else { return nil }
    if let value = try? Notation.parse(text) { return value }
    throw Refusal(
      of: file, "Parameter '\(name)' expects a non-negative number below 2^64",
      hint: """
        Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-
        and exabytes, respectively.

        """)
  }

  private static func number(_ name: String, _ given: [String: String], _ file: String) throws(Refusal)
    -> UInt64?
  {
    guard let text = given[name] else { return nil }
    let isHexadecimal = text.hasPrefix("0x") || text.hasPrefix("0X")
    let value = isHexadecimal ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
    guard let value else { throw Refusal(of: file, "Parameter '\(name)' expects a number") }
    return value
  }

  /// The size as it stands behind the name of the file, which is read before anything else.
  ///
  /// - Throws: ``Refusal`` for what is no size.
  package static func operand(_ size: String?) throws(Refusal) -> UInt64? {
    guard let size else { return nil }
    do throws(Notation.ParseError) { return try Notation.parse(size) } catch {
      if case .tooLarge = error {
        throw Refusal("Invalid image size specified. Must be between 0 and 9223372036854775807.")
      }
      throw Refusal(invalidNumber("image size", size))
    }
  }

  /// The size from the operand or the option, never both.
  static func size(operand: String?, option: String?, _ file: String) throws(Refusal) -> UInt64? {
    let result = try Self.operand(operand)
    guard let option else { return result }
    guard operand == nil else {
      throw Refusal(of: file, "The image size must be specified only once")
    }
    return try bytes("size", ["size": option], file)
  }

  /// The line for a number that cannot be read.
  package static func invalidNumber(_ what: String, _ text: String) -> String {
    "Invalid \(what) specified: '\(Escaping.human(text))'"
  }
}
