// What `create -f raw` was asked for: a file of a size, with the words of the genuine tool.

import Cartography
package import Qcow

/// A request to make a raw file.
package struct RawCreateRequest {
  /// Why the words make no sense.
  package typealias Refusal = CreateRequest.Refusal

  /// Bytes of the disk as asked for; the file has whole sectors.
  package var size: UInt64
  /// How much of the file is reserved at once.
  package var preallocation = Image.CreateOptions.Preallocation.off
  /// "Formatting 'x.raw', fmt=raw …".
  package var announcement: String
  /// The options came out well formed and cannot be met; said after the announcement.
  package var refusal: Refusal?

  private static let known: Set<String> = ["size", "preallocation", "nocow", "extent_size_hint"]

  /// A new file of that size for a copy; see ``CreateRequest/init(copy:size:lists:backing:backingFormat:)``.
  ///
  /// - Throws: ``Refusal`` with the sentence of the genuine tool for wrong words.
  package init(copy file: String, size: UInt64, lists: [String], backing: String?, backingFormat: String?)
    throws(Refusal)
  {
    do throws(Refusal) {
      try self.init(
        file: file, given: try CreateRequest.split(lists, file, known: Self.known), size: size,
        backing: backing, backingFormat: backingFormat)
    } catch { throw error.unnamed }
    refusal = refusal?.unnamed
  }

  /// Reads the words of `create -f raw`.
  ///
  /// - Throws: ``Refusal`` with the sentence of the genuine tool for wrong words.
  package init(file: String, size: String?, lists: [String], backing: String?, backingFormat: String?)
    throws(Refusal)
  {
    let given = try CreateRequest.split(lists, file, known: Self.known)
    let asked = try CreateRequest.size(operand: size, option: given["size"], file)
    try self.init(file: file, given: given, size: asked, backing: backing, backingFormat: backingFormat)
  }

  private init(
    file: String, given: [String: String], size: UInt64?, backing: String?, backingFormat: String?
  ) throws(Refusal) {
    let name = Escaping.human(file)
    guard backing == nil else {
      throw Refusal(of: file, "Backing file not supported for file format 'raw'")
    }
    guard backingFormat == nil else {
      throw Refusal(of: file, "Backing file format not supported for file format 'raw'")
    }
    guard let bytes = size else {
      throw Refusal(of: file, "Image creation needs a size parameter")
    }
    self.size = bytes
    announcement = "Formatting '\(name)', fmt=raw size=\(bytes)"
    _ = try CreateRequest.flag("nocow", given, file)
    let hint = try CreateRequest.bytes("extent_size_hint", given, file)
    if let value = given["nocow"] { announcement += " nocow=\(value)" }
    if let mode = given["preallocation"] {
      announcement += " preallocation=\(Escaping.human(mode))"
      switch Image.CreateOptions.Preallocation(rawValue: mode) {
      case .metadata: refusal = Refusal(of: file, "Unsupported preallocation mode: metadata")
      case .some(let known): preallocation = known
      case nil: refusal = Refusal(of: file, "invalid parameter value: \(Escaping.human(mode))")
      }
    }
    if let hint { announcement += " extent_size_hint=\(hint)" }
    announcement += "\n"
  }
}
