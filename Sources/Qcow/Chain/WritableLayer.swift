// How a layer that is read becomes one that is written, through its file.

import QcowFormat
package import Storage

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
    secret: (any Storage) throws(ImageError) -> Secret?
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
