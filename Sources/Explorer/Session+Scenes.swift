// Scenes of a session other than the live one: moments of its history, its internal snapshots and the layers
// below. Looking at one changes nothing, neither what is shown nor any file, whatever the mode.

package import Cartography
package import Qcow
package import Storage

extension Session {
  /// The image as it was at a moment of the history, counted in operations that were done or taken back and,
  /// behind them, in events over all files.
  /// - Throws: ``ImageError`` if there is no such moment, or if no image could be opened then.
  package func scene(at moment: HistoryMoment) throws(ImageError) -> Scene {
    guard let views = overlays.views(at: moment) else {
      throw ImageError(.invalidRequest, "the history has no such moment")
    }
    return try Scene(
      views[0], data: data(in: views, of: 0), like: image, on: layers(in: views), of: .moment(moment))
  }

  /// The bytes of the data file of a layer at a moment.
  private func data(in views: [GenerationView], of depth: Int) -> (any Storage)? {
    imageFiles.number(depth, .data).map { views[$0.value] }
  }

  /// The layers below as they were at a moment. They are those that are open, unless an operation has changed one.
  private func layers(in views: [GenerationView]) throws(ImageError) -> (any GuestLayer)? {
    let layers = Array(image.layers.dropFirst())
    let changed = layers.indices.last { index in
      imageFiles.all.contains { file, part in
        part.depth == index + 1 && !(file.applied.isEmpty && file.undone.isEmpty)
      }
    }
    guard let changed else { return layers.first }
    var below = layers.indices.contains(changed + 1) ? layers[changed + 1] : nil
    for index in (0...changed).reversed() {
      let depth = index + 1
      if let image = layers[index] as? Image {
        let view = imageFiles.number(depth, .image).map { views[$0.value] as any Storage }
        var options = image.options
        options.backing = below
        options.dataFile = data(in: views, of: depth)
        below = try Image(view ?? image.storage, options: options)
      } else if let number = imageFiles.number(depth, .raw) {
        below = RawLayer(views[number.value])
      } else {
        below = layers[index]
      }
    }
    return below
  }

  /// The disk as an internal snapshot keeps it; the index is that of ``Image/snapshots``.
  /// - Throws: ``ImageError`` if there is no such snapshot or it cannot be read.
  package func scene(ofSnapshot index: Int) throws(ImageError) -> Scene {
    guard let views = overlays.views(at: HistoryMoment(generation: generation)) else {
      throw ImageError(.invalidRequest, "the history has no such moment")
    }
    return try Scene(snapshot: index, of: image, on: views[0], data: data(in: views, of: 0))
  }

  /// A qcow2 layer below; 1 is the one directly below the image.
  /// - Throws: ``ImageError`` if there is none that is open.
  package func scene(ofLayer depth: Int) throws(ImageError) -> Scene {
    try Scene(layer: depth, below: image)
  }
}
