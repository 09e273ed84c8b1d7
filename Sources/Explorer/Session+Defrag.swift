// Putting the image in order while somebody watches: one batch at a time, each an operation of its own on
// the overlay, all of them one step of undo.

import Cartography
package import Qcow
import QcowFormat
import Storage

extension Session {
  /// A relocation under way.
  package struct Relocating {
    let change: Defrag
    let relocation: Relocation
    /// Of the steps that belong together.
    let group: Int
    /// Bytes of the file before.
    let lengthBefore: UInt64
    /// What will be done.
    package var forecast: RelocationForecast { relocation.forecast }
    /// How far it is.
    package var progress: RelocationProgress { relocation.progress }
  }

  /// What putting the image in order would do. Nothing is changed.
  ///
  /// - Throws: ``ImageError`` for an image that cannot be put in order.
  package func previewDefrag(_ change: Defrag) throws(ImageError) -> RelocationForecast {
    stopDefrag()
    if let refusal { throw ImageError(.readOnly, refusal) }
    var forecast: RelocationForecast?
    _ = try preview(Deed(change)) { () throws(ImageError) in
      try change.dropLeaks(of: image, by: try change.check(image))
      forecast = try change.begin(on: image).forecast
    }
    guard let forecast else { throw ImageError(.unsupported, "what it would do cannot be told") }
    return forecast
  }

  /// Checks the image and begins to put it in order; ``stepDefrag()`` does the work.
  ///
  /// - Throws: ``ImageError`` for an image that cannot be put in order.
  @discardableResult
  package func startDefrag(_ change: Defrag) throws(ImageError) -> RelocationForecast {
    stopDefrag()
    if let refusal { throw ImageError(.readOnly, refusal) }
    let group = revision
    let length = overlay.length
    let check = try change.check(image)
    if check.hasLeaks {
      _ = try record(Deed(change), group: group) { () throws(ImageError) in
        try change.dropLeaks(of: image, by: check)
      }
    }
    // Small batches, because they are watched.
    let batch = max(geometry.clusterSize, min(4 << 20, overlay.length / 64))
    let relocation = try change.begin(on: image, batchBytes: ByteCount(batch))
    defrag = Relocating(change: change, relocation: relocation, group: group, lengthBefore: length)
    return relocation.forecast
  }

  /// Does one batch; nil if that was the last one, and if it changed nothing.
  ///
  /// - Throws: ``ImageError`` for what cannot be read or written; nothing was changed then.
  @discardableResult
  package func stepDefrag() throws(ImageError) -> Step? {
    guard let defrag else { return nil }
    do throws(ImageError) {
      var isDone = false
      let step = try record(Deed(defrag.change), group: defrag.group) { () throws(ImageError) in
        isDone = try !defrag.relocation.step()
      }
      if isDone { stopDefrag() }
      return step
    } catch {
      stopDefrag()
      throw error
    }
  }

  /// Leaves the rest as it is. The image is sound after every batch.
  package func stopDefrag() { defrag = nil }
}
