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
    var bytes: [Int: LayersBelow.Bytes] = [:]
    for (file, part) in imageFiles.all where part.depth > 0 && file.hasHistory {
      guard let number = imageFiles.number(part.depth, part.kind == .data ? .image : part.kind) else {
        continue
      }
      bytes[part.depth] = LayersBelow.Bytes(
        layer: views[number.value], data: data(in: views, of: part.depth))
    }
    return try LayersBelow(image).with(bytes)
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
