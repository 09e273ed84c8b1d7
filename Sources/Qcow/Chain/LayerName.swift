// What the name of a backing file or a data file in an image stands for: a path, "file:" and a path, the address of an
// export, or "json:" and a list of options. Everything else leads somewhere else and is refused.

import Nbd
import Storage

/// A layer as an image names it, resolved as far as that goes without the host.
package struct LayerName: Equatable, Sendable {
  /// What a layer may be.
  package enum Format: String, Sendable {
    case qcow2, raw
  }

  /// The path as seen from the folder the program runs in, or an address as it is asked for and remembered.
  package var path: String
  /// Nil if nobody says what the file is.
  package var format: Format?

  /// `format` is the backing format of the header; it counts more than a driver in the name.
  /// Relative paths are relative to the folder of the image at `imagePath`; those behind "file:" and
  /// in "json:" are relative to the folder the program runs in, as with QEMU.
  ///
  /// - Throws: ``ImageError`` for a format or a way to a file that is not supported.
  package init(_ name: String, format: String? = nil, imagePath: String) throws(ImageError) {
    self.format = try format.map { (word) throws(ImageError) in try Self.format(word) }
    if ByteText.starts(name, with: "json:") {
      path = ""
      try readOptions(String(name.utf8.dropFirst(5)) ?? "")
    } else if ByteText.starts(name, with: "file:") {
      path = String(name.utf8.dropFirst(5)) ?? ""
      isPath = true
    } else if NbdAddress.isAddress(name) {
      path = try Self.address { () throws(NbdAddress.Refusal) in try NbdAddress(name) }
    } else if ByteText.starts(name, with: "nbd:") {
      path = try Self.address { () throws(NbdAddress.Refusal) in try NbdAddress(short: name) }
    } else if let scheme = Self.scheme(of: name) {
      throw Self.foreign(scheme)
    } else {
      guard name.utf8.first == UInt8(ascii: "/") || !NbdAddress.isAddress(imagePath) else {
        throw ImageError(.option, "'\(name)' is to lie beside the image, and beside an address lies nothing")
      }
      path = Self.combine(imagePath, name)
    }
    // A path may begin as an address does.
    if isPath, NbdAddress.isAddress(path) { path = "./" + path }
    guard !path.isEmpty, !path.utf8.contains(0) else {
      throw ImageError(.option, "the name of the file is empty or invalid")
    }
    // The same file is the same layer, however it was named.
    isPath = false
  }

  /// The options name a file of the host. Only of use while the name is read.
  private var isPath = false

  private static func address(
    _ address: () throws(NbdAddress.Refusal) -> NbdAddress
  ) throws(ImageError) -> String {
    do throws(NbdAddress.Refusal) { return try address().uri } catch {
      throw ImageError(.option, error.reason)
    }
  }

  /// "nbd" of "nbd:localhost:10809"; nil for paths.
  package static func scheme(of name: String) -> String? {
    let end = name.utf8.firstIndex { $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: "/") }
    guard let end, name.utf8[end] == UInt8(ascii: ":") else { return nil }
    return String(name[..<end])
  }

  /// The path of a file that an image names, from where the program runs.
  package static func combine(_ imagePath: String, _ name: String) -> String {
    if name.utf8.first == UInt8(ascii: "/") || scheme(of: name) != nil { return name }
    // A protocol in front of the image's own path stays there.
    let start = ByteText.starts(imagePath, with: "file:") ? 5 : 0
    return ByteText.folder(of: imagePath, from: start) + name
  }

  private static func foreign(_ scheme: String) -> ImageError {
    ImageError(
      .unsupported,
      "'\(scheme):' leads away from the files of this host; for an image files are opened, and NBD by its address"
    )
  }

  private static func format(_ word: String) throws(ImageError) -> Format {
    // "file" is the host file itself, which is what raw shows of it.
    if word == "file" || word == "nbd" { return .raw }
    guard known.contains(word) else { throw ImageError(.unsupported, "Unknown driver '\(word)'") }
    guard let format = Format(rawValue: word) else {
      throw ImageError(.unsupported, "the format '\(word)' is not supported for layers, only qcow2 and raw")
    }
    return format
  }

  /// Words that a header may name a format with, whoever reads it.
  package static let known: Set<String> = [
    "bochs", "cloop", "dmg", "file", "host_device", "luks", "nbd", "parallels", "qcow", "qcow2", "qed", "raw",
    "vdi", "vhdx", "vmdk", "vpc",
  ]

  /// Options that say how a file is read, not what is in it.
  private static let harmless: Set<String> = [
    "node-name", "read-only", "auto-read-only", "discard", "detect-zeroes", "force-share", "cache.direct",
    "cache.no-flush", "locking", "aio", "cache-size", "l2-cache-size", "l2-cache-entry-size",
    "refcount-cache-size", "cache-clean-interval", "lazy-refcounts", "overlap-check",
  ]

  private mutating func readOptions(_ text: String) throws(ImageError) {
    let members: [String: String]
    do throws(JsonName.Failure) { members = try JsonName(text).members } catch {
      throw ImageError(.option, "Could not parse the JSON options: \(error.reason)")
    }
    var prefix = ""
    var driver = format?.rawValue ?? members["driver"] ?? "raw"
    if format == nil, let word = members["driver"] { format = try Self.format(word) }
    // What the header says of the format is said of what lies behind the server.
    if members["driver"] == "nbd" { driver = "nbd" }
    var used: Set<String> = ["driver"]
    // A format driver has a node "file" below; a few raw ones may be stacked.
    while driver != "file", driver != "nbd" {
      guard driver == "raw" || driver == "qcow2" && prefix.isEmpty else { throw Self.unsupported(driver) }
      prefix += "file."
      driver = members[prefix + "driver"] ?? "file"
      used.insert(prefix + "driver")
      guard prefix.utf8.count < 64 else {
        throw ImageError(.option, "the JSON options are nested too deeply")
      }
    }
    if driver == "nbd" {
      path = try Self.address { () throws(NbdAddress.Refusal) in
        try NbdAddress(options: members, prefix, &used)
      }
    } else {
      used.insert(prefix + "filename")
      path = members[prefix + "filename"] ?? ""
      isPath = true
      guard members[prefix + "filename"] != nil else {
        throw ImageError(.option, "A block device must be specified for \"file\"")
      }
    }
    for name in members.keys.sorted() where !used.contains(name) {
      var option = Substring(name)
      while option.hasPrefix("file.") { option = option.dropFirst(5) }
      guard Self.harmless.contains(String(option)) else {
        throw ImageError(.unsupported, "the option '\(name)' is not supported in the JSON options of a layer")
      }
    }
  }

  private static func unsupported(_ driver: String) -> ImageError {
    ImageError(
      .unsupported, "the driver '\(driver)' is not supported for layers, only qcow2, raw, file and nbd")
  }
}
