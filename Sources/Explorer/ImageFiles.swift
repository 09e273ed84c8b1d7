// The files that an open image consists of: its own, those of the layers below it, and the external data files
// of all of them. Each lies under an overlay, so that a change of several is one step.

import Cartography
package import Qcow
package import Storage

/// The files of one image under their overlays. A file that was a layer once stays one of them, for the way back.
package final class ImageFiles {
  /// What a file is to the image.
  package struct Part: Equatable, Sendable {
    /// 0 for the image, and 1 for the layer directly below it; nil for a layer that a rebase has put aside.
    package let depth: Int?
    /// With tables, with the data of a file with tables, or raw.
    package let kind: FileOpener.Saved

    /// What people call it; "the file" for the image's own.
    var words: String {
      guard let depth else { return "the former layer" }
      let layer = depth == 1 ? "the backing file" : "layer \(depth)"
      if kind == .data { return "the data file" + (depth == 0 ? "" : " of \(layer)") }
      return depth == 0 ? "the file" : layer
    }
  }

  /// All of them with one history; the image file comes first, and a data file behind its tables.
  package let set: FileSet
  /// What each was when it joined.
  private var kinds: [FileOpener.Saved]
  private let image: Image

  /// The files of an image that was opened on `overlay`, with those layers that were opened on overlays.
  init(_ image: Image, on overlay: OverlayStorage) {
    self.image = image
    let others = Self.files(image.layers).filter { $0.file !== overlay }
    set = FileSet(overlay, others.map(\.file))
    kinds = [.image] + others.map(\.part.kind)
  }

  /// The files of a chain that lie under overlays, and what they are.
  private static func files(_ layers: [any GuestLayer]) -> [(file: OverlayStorage, part: Part)] {
    var files: [(file: OverlayStorage, part: Part)] = []
    func add(_ storage: (any Storage)?, _ depth: Int, _ kind: FileOpener.Saved) {
      if let file = storage as? OverlayStorage { files.append((file, Part(depth: depth, kind: kind))) }
    }
    for (depth, layer) in layers.enumerated() {
      if let image = layer as? Image {
        add(image.storage, depth, .image)
        if image.hasExternalData { add(image.dataStorage, depth, .data) }
      } else if let layer = layer as? RawLayer {
        add(layer.storage, depth, .raw)
      }
    }
    return files
  }

  /// The overlay over a file of a layer that is being opened: the one that there is, with its changes, or a new one.
  func overlay(over file: any Storage, _ kind: FileOpener.Saved) -> OverlayStorage {
    if let identity = (file as? FileStorage)?.hostIdentity,
      let known = set.files.first(where: { ($0.base as? FileStorage)?.hostIdentity == identity })
    {
      return known
    }
    let overlay = OverlayStorage(base: file)
    set.add(overlay)
    kinds.removeLast(max(0, kinds.count - set.files.count + 1))
    kinds.append(kind)
    return overlay
  }

  /// What the files of the set are, in their order, to the image above `backing`.
  package func parts(over backing: (any GuestLayer)?) -> [Part] {
    let known = Self.files([image] + (backing?.chain ?? []))
    return zip(set.files, kinds).map { file, kind in
      known.first { $0.file === file }?.part ?? Part(depth: nil, kind: kind)
    }
  }

  /// What they are now.
  package var parts: [Part] { parts(over: image.backing) }

  /// Each file with what it is.
  package var all: Zip2Sequence<[OverlayStorage], [Part]> { zip(set.files, parts) }

  /// The file of a layer's tables or bytes, or of its data; nil for one that is not open, or that has none.
  package subscript(depth: Int, kind: FileOpener.Saved) -> OverlayStorage? {
    parts.firstIndex { $0.depth == depth && $0.kind == kind }.map { set.files[$0] }
  }

  /// What an operation did to the files of layers below: which they are, and their parts of it.
  func below(
    _ operation: FileOperation
  ) -> [(depth: Int, file: OverlayStorage, words: String, operation: StorageOperation)] {
    let parts = parts
    return operation.parts.compactMap { part in
      let index = part.file.value
      // A file that joined in an operation that was dropped has left with it.
      guard parts.indices.contains(index), let depth = parts[index].depth, depth > 0 else { return nil }
      return (depth, set.files[index], parts[index].words, part.operation)
    }
  }

  /// Layers below read their tables again if an operation changed them.
  ///
  /// - Throws: ``ImageError`` for a layer that is no image then.
  package func reloadLayers(of image: Image, behind operation: FileOperation) throws(ImageError) {
    let changed = Set(below(operation).map(\.depth))
    // From the lowest on, since an image looks at the one below it.
    for depth in changed.sorted(by: >) { try LayersBelow(image).reload(depth) }
  }
}
