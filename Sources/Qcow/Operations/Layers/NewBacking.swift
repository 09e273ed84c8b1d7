// The name of another backing file in the header of an image. What the guest reads changes with it, unless a rebase
// came before.

import QcowFormat
import Storage

/// What an image is to name as its backing file.
package struct NewBacking: Sendable {
  private let name: String?
  private let format: String?

  /// `name` is nil for none; see ``Image/backingFileName``.
  package init(_ name: String?, format: String?) {
    self.name = name
    self.format = format
  }

  /// Whether ``install(in:)`` would be done: asked before work that would be in vain.
  ///
  /// - Throws: ``ImageError/Code/option`` for a name that is too long or an image that cannot have one, and
  ///   ``ImageError/Code/format(_:)`` if it does not fit into the header.
  package func check(_ image: Image) throws(ImageError) {
    if let name {
      guard name.utf8.count <= 1023 else {
        throw ImageError(.option, "a name of more than 1023 bytes cannot be stored")
      }
      guard !image.header.autoclear.contains(.rawExternalData) else {
        throw ImageError(.option, "the external data file is to be the whole disk; nothing can lie below it")
      }
    }
    var cluster = HeaderCluster(
      header: image.header, extensions: image.extensions, backingFileName: image.backingFileName)
    put(into: &cluster)
    do throws(FormatError) {
      _ = try cluster.header.encodeCluster(
        extensions: cluster.extensions, backingName: cluster.backingFileName)
    } catch { throw ImageError(error) }
  }

  /// Writes it into the header. The open image keeps the layer that it has, and should be closed next. A layer that is
  /// missing does not stand in the way.
  ///
  /// - Throws: As ``check(_:)``, ``ImageError/Code/readOnly``, and what the host says.
  package func install(in image: Image) throws(ImageError) {
    if let reason = Self.refusal(of: image) { throw ImageError(.readOnly, reason) }
    try check(image)
    try image.flush()
    try image.tables.rewriteHeader { put(into: &$0) }
  }

  /// Writes it into the header, and the open image reads from `layer` from then on.
  ///
  /// - Throws: As ``install(in:)``, and what reading the tables again says.
  package func install(in image: Image, reading layer: (any GuestLayer)?) throws(ImageError) {
    try install(in: image)
    var known = image.isWritable ? image.session : nil
    image.reader.read(through: layer)
    try image.reload()
    known?.backing = LayerReference(layer)
    if let known, image.isWritable { image.session = known }
  }

  /// Why the header of an image cannot be changed; nil if it can, also where the layers below stand in the way of
  /// all other changes.
  package static func refusal(of image: Image) -> String? {
    if image.isWritable { return nil }
    guard image.options.writable, image.storage.isWritable else { return "it is open read-only" }
    do throws(ImageError) {
      return try OpenedTables(image.storage, writable: true).unsupportedForWriting(
        nil, image.dataStorage, image.reader.cipher, standsAlone: true)
    } catch { return error.description }
  }

  private func put(into cluster: inout HeaderCluster) {
    cluster.backingFileName = name
    cluster.extensions.backingFormat = format
  }
}
