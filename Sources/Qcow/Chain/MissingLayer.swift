// The place of a layer that cannot be opened. The layers above it can be read as far as they go; what
// only this one knows is an error that names it.

package import QcowFormat

/// A layer that is not there.
package final class MissingLayer: GuestLayer {
  /// The name of the file that is not there.
  package let layerName: String
  /// Why it could not be opened.
  package let reason: String

  package init(name: String, reason: String) {
    layerName = name
    self.reason = reason
  }

  /// Nobody knows where it ends.
  package var virtualSize: UInt64 { .max }
  package var layerBelow: (any GuestLayer)? { nil }
  package var isMissing: Bool { true }

  /// Reads nothing.
  /// - Throws: `.storage` always, with the guest offset, the name and the reason.
  package func readLayer(
    at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer
  ) throws(ImageError) {
    throw ImageError(
      .storage, "guest offset \(hex(guest.value)) needs the missing layer '\(layerName)': \(reason)")
  }

  package func layerExtent(at guest: GuestOffset, limit: ByteCount) throws(ImageError) -> LayerExtent {
    LayerExtent(.missing, length: limit)
  }
}

extension Image {
  /// The layer where the chain below ends because it could not be opened; nil if it is whole.
  package var missingLayer: MissingLayer? { layers.last as? MissingLayer }
}
