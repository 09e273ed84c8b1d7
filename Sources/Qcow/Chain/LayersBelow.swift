// The layers below an open image as things to work with: found by a name, written through the same bytes that they are read from,
// read again behind a change, or opened once more as they were before.

import QcowFormat
package import Storage

/// What lies below an image; depth 1 is the layer directly below it.
package struct LayersBelow {
  private let layers: [any GuestLayer]

  /// The layers below `image` as they are now.
  package init(_ image: Image) { layers = image.layers }

  /// The same with another layer directly below it.
  package init(_ image: Image, over below: (any GuestLayer)?) { layers = [image] + (below?.chain ?? []) }

  /// A layer once more, for writing. Who reads it sees what was written after ``reload(_:)``.
  ///
  /// - Throws: ``ImageError/Code/readOnly`` for a layer that is not there or is not written, with the reason, and
  ///   what opening it says.
  package func forWriting(_ depth: Int) throws(ImageError) -> any GuestDisk {
    guard depth > 0, layers.indices.contains(depth), !layers[depth].isMissing else {
      throw ImageError(.readOnly, "the image has no layer \(depth) below it that is open")
    }
    var options = Image.Options()
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

  /// A layer reads its tables again.
  ///
  /// - Throws: ``ImageError`` for what is no image that can be read any more.
  package func reload(_ depth: Int) throws(ImageError) {
    if layers.indices.contains(depth) { try (layers[depth] as? Image)?.reload() }
  }

  /// Bytes of the files of a layer.
  package struct Bytes {
    /// Those of the layer itself.
    package var layer: any Storage
    /// Those of its external data file; nil without one.
    package var data: (any Storage)?

    package init(layer: any Storage, data: (any Storage)?) {
      self.layer = layer
      self.data = data
    }
  }

  /// All layers with other bytes, opened for looking only. The lowest ones of which `bytes` has none are those that
  /// are open already.
  ///
  /// - Throws: ``ImageError`` if such bytes are no image.
  package func with(_ bytes: [Int: Bytes]) throws(ImageError) -> (any GuestLayer)? {
    guard let lowest = bytes.keys.max(), lowest > 0, layers.indices.contains(lowest) else {
      return layers.dropFirst().first
    }
    var below = layers.dropFirst(lowest + 1).first
    for depth in (1...lowest).reversed() {
      guard let image = layers[depth] as? Image else {
        below = bytes[depth].map { RawLayer($0.layer) } ?? layers[depth]
        continue
      }
      var options = image.options
      options.backing = below
      options.cipher = image.reader.cipher
      let bytes = bytes[depth] ?? Bytes(layer: image.storage, data: image.dataStorage)
      options.dataFile = image.hasExternalData ? bytes.data : nil
      below = try Image(bytes.layer, options: options)
    }
    return below
  }

  // MARK: By name

  /// The place in the chain of the file at a path, 1 or more; nil if no layer below is that file.
  package func depth(ofFile path: String) -> Int? {
    guard let wanted = Self.identity(path) else { return nil }
    return layers.indices.dropFirst().first { Self.identity(layers[$0].layerName) == wanted }
  }

  /// The same for a name as the layer above it could have it in its header.
  package func depth(ofLayer name: String) -> Int? {
    guard !name.isEmpty else { return nil }
    return layers.indices.dropFirst().first { depth in
      let above = layers[depth - 1]
      if LayerName.scheme(of: name) != nil { return (above as? Image)?.backingFileName == name }
      guard let wanted = Self.identity(LayerName.combine(above.layerName, name)) else { return false }
      return Self.identity(layers[depth].layerName) == wanted
    }
  }

  private static func identity(_ path: String) -> HostFile.Identity? { try? HostFile.find(path).identity }
}
