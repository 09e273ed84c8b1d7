// Layers below an open image: which of them a word means, and how one that is read becomes one that is written.

import QcowFormat
package import Storage

/// Layers of a chain by the words for them.
package struct LayerSearch {
  private let layers: [any GuestLayer]

  /// Looks for layers below `image`.
  package init(below image: Image) { layers = image.layers }

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

extension ImageOpening {
  /// Opens the file of a layer that is read once more, for writing, with the layers below it as they are. The
  /// reader stays open, and sees nothing of what is written.
  ///
  /// An image is looked at as at every opening for writing: one that was not closed cleanly is repaired, a damaged
  /// one refused.
  ///
  /// - Throws: ``Failure``, also for an image that cannot be written.
  package static func writer(
    of layer: any GuestLayer, _ options: Image.Options,
    secret: (FileStorage) throws(ImageError) -> Secret?
  ) throws(Failure) -> any GuestDisk {
    var options = options
    options.writable = true
    let image = layer as? Image
    let reader = image?.storage ?? (layer as? RawLayer)?.storage
    let file: FileStorage
    do throws(StorageError) {
      file = try FileOpener.openWriter(layer.layerName, .image, beside: reader as? FileStorage)
      if let image, image.hasExternalData, let data = image.dataStorage {
        options.dataFile = try FileOpener.openWriter(data.name, .data, beside: data as? FileStorage)
      }
    } catch { throw .file(error) }
    guard let image else { return RawDisk(file, options, isGuessed: false) }
    do throws(ImageError) {
      options.backing = image.backing
      if image.header.cryptMethod != 0 { options.secret = try secret(file) }
      let writable = try Image(file, options: options)
      if let reason = writable.readOnlyReason { throw ImageError(.readOnly, reason) }
      return writable
    } catch { throw .image(error) }
  }
}
