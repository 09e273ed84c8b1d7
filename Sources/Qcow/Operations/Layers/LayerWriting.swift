// Layers below an image that is open on overlays: they are written through the same bytes that they are read from.

import QcowFormat
import Storage

extension Image {
  /// A layer below once more, for writing. Who reads it sees what was written after ``reloadLayer(_:)``.
  ///
  /// - Parameter depth: 1 for the layer directly below.
  /// - Throws: ``ImageError/Code/readOnly`` for a layer that is not there or is not written, with the reason, and
  ///   what opening it says.
  package func layerForWriting(_ depth: Int) throws(ImageError) -> any GuestDisk {
    let layers = layers
    guard depth > 0, layers.indices.contains(depth), !layers[depth].isMissing else {
      throw ImageError(.readOnly, "the image has no layer \(depth) below it that is open")
    }
    var options = Options()
    options.writable = true
    if let layer = layers[depth] as? RawLayer, layer.storage.isWritable {
      let above = layers[depth - 1] as? Image
      return RawDisk(layer.storage, options, isGuessed: above?.extensions.backingFormat == nil)
    }
    guard let layer = layers[depth] as? Image, layer.storage.isWritable else {
      throw ImageError(.readOnly, "the backing file '\(layers[depth].layerName)' is only read")
    }
    options.cache = .writeback
    options.lazyRefcounts = false
    options.marksCorruption = false
    options.backing = layer.backing
    options.standsAlone = layer.options.standsAlone
    options.dataFile = layer.hasExternalData ? layer.dataStorage : nil
    options.cipher = layer.reader.cipher
    let writer = try Image(layer.storage, options: options)
    guard let reason = writer.readOnlyReason else { return writer }
    var refused = ImageError(.readOnly, reason)
    refused.file = layer.layerName
    throw refused
  }

  /// A layer below reads its tables again.
  ///
  /// - Throws: ``ImageError`` for what is no image that can be read any more.
  package func reloadLayer(_ depth: Int) throws(ImageError) {
    let layers = layers
    if layers.indices.contains(depth) { try (layers[depth] as? Image)?.reload() }
  }
}
