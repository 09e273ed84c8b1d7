// The files that an open image consists of: its own, those of the layers below it, and the external data files
// of all of them. Each lies under an overlay, so that a change of several is one step.

import Cartography
package import Qcow
package import Storage

/// The files of one image under their overlays.
package struct ImageFiles {
  /// What a file is to the image.
  package struct Part: Equatable, Sendable {
    /// 0 for the image, and 1 for the layer directly below it.
    package let depth: Int
    /// With tables, with the data of a file with tables, or raw.
    package let kind: FileOpener.Saved

    /// What people call it; "the file" for the image's own.
    var words: String {
      let layer = depth == 1 ? "the backing file" : "layer \(depth)"
      if kind == .data { return "the data file" + (depth == 0 ? "" : " of \(layer)") }
      return depth == 0 ? "the file" : layer
    }
  }

  /// All of them with one history; the image file comes first, and a data file behind its tables.
  package let set: FileSet
  /// What they are, in the same order.
  package let parts: [Part]

  /// The files of an image that was opened on `overlay`, with those layers that were opened on overlays.
  init(_ image: Image, on overlay: OverlayStorage) {
    var files: [OverlayStorage] = []
    var parts: [Part] = []
    func add(_ storage: (any Storage)?, _ depth: Int, _ kind: FileOpener.Saved) {
      guard let file = storage as? OverlayStorage else { return }
      files.append(file)
      parts.append(Part(depth: depth, kind: kind))
    }
    for (depth, layer) in image.layers.enumerated() {
      if let image = layer as? Image {
        if depth > 0 { add(image.storage, depth, .image) }
        if image.hasExternalData { add(image.dataStorage, depth, .data) }
      } else if let layer = layer as? RawLayer {
        add(layer.storage, depth, .raw)
      }
    }
    set = FileSet(overlay, files)
    self.parts = [Part(depth: 0, kind: .image)] + parts
  }

  /// Each file with what it is.
  package var all: Zip2Sequence<[OverlayStorage], [Part]> { zip(set.files, parts) }

  /// The file of a layer's tables or bytes, or of its data; nil for one that is not open, or that has none.
  package subscript(depth: Int, kind: FileOpener.Saved) -> OverlayStorage? {
    number(depth, kind).flatMap { set[$0] }
  }

  /// The number of the same file in the set.
  func number(_ depth: Int, _ kind: FileOpener.Saved) -> FileNumber? {
    parts.firstIndex { $0.depth == depth && $0.kind == kind }.map(FileNumber.init)
  }

  /// What an operation did to the files of layers below: which they are, and their parts of it.
  func below(_ operation: FileOperation) -> [(part: Part, operation: StorageOperation)] {
    operation.parts.compactMap { part in
      let what = parts[part.file.value]
      return what.depth > 0 ? (what, part.operation) : nil
    }
  }

  /// Layers below read their tables again if an operation changed them.
  ///
  /// - Throws: ``ImageError`` for a layer that is no image then.
  func reloadLayers(of image: Image, behind operation: FileOperation) throws(ImageError) {
    let changed = Set(below(operation).map(\.part.depth))
    // From the lowest on, since an image looks at the one below it.
    for depth in changed.sorted(by: >) { try LayersBelow(image).reload(depth) }
  }
}
