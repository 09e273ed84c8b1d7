// Order and pins: a pinned image has its order already, which is the pin's shift.

import QcowFormat

extension Image {
  /// The layout that puts the image in order; `contiguous` with holes where nothing is mapped.
  ///
  /// - Throws: ``ImageError/Code/option`` for a pinned image that is to be packed.
  package func orderedLayout(contiguous: Bool) throws(ImageError) -> TargetLayout {
    guard pinState != .none, let pin = extensions.pin else {
      return contiguous ? .shifted(by: nil) : .packed(base: nil)
    }
    guard contiguous else {
      throw ImageError(
        .option,
        "the image is pinned, its clusters have their places; use --contiguous, or 'qatlas unpin' first")
    }
    return .shifted(by: ClusterCount(geometry.wholeClusters(pin.shift)))
  }

  /// Puts clusters of a pinned image that are elsewhere back to their places. The image must have passed
  /// a ``RelocationCheck`` and must be open under the policy ``MappingPolicy/qemu``.
  package func restorePin(
    progress: (RelocationProgress) -> Void = { _ in }
  ) throws(ImageError) -> PlacesReport {
    guard pinState != .none, let pin = extensions.pin else {
      throw ImageError(.option, "the image is not pinned")
    }
    try relocate(
      .shifted(by: ClusterCount(geometry.wholeClusters(pin.shift))), scope: .dataOnly, progress: progress)
    return try setPin()
  }
}
