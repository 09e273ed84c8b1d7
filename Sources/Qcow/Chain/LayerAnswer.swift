// Which layer of a chain answers for a byte of the disk, and where its file keeps it.

package import QcowFormat

/// The answer to "which layer?".
package struct LayerAnswer: Equatable, Sendable {
  /// 0 is the image itself. If nobody answers, the last layer that was asked.
  package var depth: Int
  /// Its file.
  package var name: String
  /// What it says; `unallocated` if no layer says anything, so that the guest reads zeroes.
  package var kind: LayerExtent.Kind
  /// The byte in its file, where it has one.
  package var offset: HostOffset?
  /// Asked behind the end of that layer's disk.
  package var isBehindEnd = false
}

extension Image {
  /// Asks the layers from the top for one byte.
  ///
  /// - Throws: ``ImageError`` for a table that cannot be read.
  package func answer(at guest: GuestOffset) throws(ImageError) -> LayerAnswer {
    var depth = 0
    var layer: any GuestLayer = self
    while true {
      var answer = LayerAnswer(depth: depth, name: layer.layerName, kind: .unallocated)
      guard guest.value < layer.virtualSize else {
        answer.isBehindEnd = true
        return answer
      }
      let extent = try layer.layerExtent(at: guest, limit: 1)
      answer.kind = extent.kind
      answer.offset = extent.offset
      guard extent.kind == .unallocated, let below = layer.layerBelow else { return answer }
      layer = below
      depth += 1
    }
  }
}
