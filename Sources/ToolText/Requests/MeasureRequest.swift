// What `qatlas measure` was asked for: a target format with options, of which only those count that change the size
// of its file, with the words of the genuine tool for what is wrong.

import Cartography
package import Qcow

/// The target of a measurement.
package struct MeasureRequest {
  /// Why the words make no sense.
  package typealias Refusal = CreateRequest.Refusal

  /// The options of an image; nil for a raw file.
  package var options: Image.CreateOptions?
  /// The encryption of the image, for which a passphrase is to be found.
  package let encryption: EncryptionRequest?

  /// - Throws: ``Refusal`` with the sentences of the genuine tool.
  package init(format: String, lists: [String]) throws(Refusal) {
    guard LayerName.known.contains(format) else {
      throw Refusal("Unknown file format '\(Escaping.human(format))'")
    }
    let create = try Self.read(format, lists)
    options = create?.options
    // The older method takes no room.
    encryption = create?.encryption.flatMap { $0.method == .luks ? $0 : nil }
    if let create { try Self.check(create.options, CreateRequest.words(lists)) }
  }

  /// The target as it would be made; nil for a raw file.
  private static func read(_ format: String, _ lists: [String]) throws(Refusal) -> CreateRequest? {
    switch format {
    case "qcow2":
      return try CreateRequest(copy: "", size: 0, lists: lists, backing: nil, backingFormat: nil)
    case "raw":
      _ = try RawCreateRequest(copy: "", size: 0, lists: lists, backing: nil, backingFormat: nil)
      return nil
    default: throw Refusal("Block driver '\(format)' does not support size measurement")
    }
  }

  /// What is wrong with the options that count, in the order in which they are read.
  private static func check(_ options: Image.CreateOptions, _ given: [String: String]) throws(Refusal) {
    do throws(ImageError) { try options.checkClusters() } catch { throw Refusal(error.description) }
    if let word = given["preallocation"], Image.CreateOptions.Preallocation(rawValue: word) == nil {
      throw Refusal("invalid parameter value: \(Escaping.human(word))")
    }
    if let word = given["compat"], !["0.10", "1.1", "v2", "v3"].contains(word) {
      throw Refusal("Invalid compatibility level: '\(Escaping.human(word))'")
    }
    if options.version < 3, options.refcountBits != 16, options.refcountBits.nonzeroBitCount == 1 {
      throw Refusal(
        "Different refcount widths than 16 bits require compatibility level 1.1 or above (use compat=1.1 or "
          + "greater)")
    }
  }
}
