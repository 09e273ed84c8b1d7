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
      views[0], data: views.count > 1 ? views[1] : nil, like: image, of: .moment(moment))
  }

  /// The disk as an internal snapshot keeps it; the index is that of ``Image/snapshots``.
  /// - Throws: ``ImageError`` if there is no such snapshot or it cannot be read.
  package func scene(ofSnapshot index: Int) throws(ImageError) -> Scene {
    guard let views = overlays.views(at: HistoryMoment(generation: generation)) else {
      throw ImageError(.invalidRequest, "the history has no such moment")
    }
    return try Scene(snapshot: index, of: image, on: views[0], data: views.count > 1 ? views[1] : nil)
  }

  /// A qcow2 layer below; 1 is the one directly below the image.
  /// - Throws: ``ImageError`` if there is none that is open.
  package func scene(ofLayer depth: Int) throws(ImageError) -> Scene {
    try Scene(layer: depth, below: image)
  }
}
