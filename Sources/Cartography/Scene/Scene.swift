// One state of one image to look at: its bytes, the image opened on them, and the maps of both. Screens look
// through a scene and do not know whether it is the live image, a moment of the past or a layer below.

package import Qcow
package import QcowFormat
package import Storage

/// One state of one image.
///
/// Not safe for use from two threads at once. Looking at it writes nothing.
package final class Scene {
  /// What state it is.
  package enum Subject: Hashable, Sendable {
    /// The image that is worked on, as it is at any time.
    case live
    /// A moment of its history.
    case moment(HistoryMoment)
    /// A file as it is now.
    case file(String)
    /// A layer below, 1 for the one directly below the image.
    case layer(Int)
    /// An internal snapshot, by its index.
    case snapshot(Int)
    /// A column of the lab, by the name of its policy.
    case column(String)
  }

  /// What is looked at.
  package let subject: Subject
  /// The image; a scene that is not live cannot write.
  package let image: Image
  /// What both maps show; filled by ``works``.
  package let atlas: Atlas
  /// Finds who uses a host cluster.
  package let owners: Owners
  /// Names the bytes of the file.
  package let byteMap: ByteMap
  /// The map of the external data file; nil for images without one, and if it is not open.
  package let dataMap: DataFileMap?

  /// What fills the maps, the most urgent first.
  package var works: [any Work] { [atlas] + (dataMap.map { [$0] } ?? []) }

  /// The bytes of the image file.
  package var storage: any Storage { image.storage }
  /// The sizes of the image.
  package var geometry: Geometry { image.geometry }

  /// A scene of an image that is open already.
  package init(_ image: Image, of subject: Subject = .live) {
    self.image = image
    self.subject = subject
    atlas = Atlas(image)
    owners = Owners(atlas)
    byteMap = ByteMap(owners)
    dataMap = DataFileMap(image)
  }

  /// Another state of the files of `image`, opened for looking only; parts that are damaged there are left out.
  ///
  /// - Parameters:
  ///   - storage: the bytes of the image file in that state.
  ///   - data: those of the external data file; nil if it is not open.
  ///   - layers: the layer below in that state; nil if there is none.
  /// - Throws: the engine's error if that state is no image that can be read.
  package convenience init(
    _ storage: any Storage, data: (any Storage)?, like image: Image, on layer: (any GuestLayer)?,
    of subject: Subject
  ) throws(ImageError) {
    var options = Image.Options()
    options.backing = layer
    options.standsAlone = image.options.standsAlone
    options.dataFile = data
    self.init(
      try Image.lookedAt(options) { (options) throws(ImageError) in
        // An image may have come to its data file only later.
        let opened = try? Image(storage, options: options)
        if let opened { return opened }
        var alone = options
        alone.dataFile = nil
        return try Image(storage, options: alone)
      }, of: subject)
  }

  /// A layer below `image`; 1 is the one directly below.
  /// - Throws: ``ImageError`` if there is none that is a qcow2 image.
  package convenience init(layer depth: Int, below image: Image) throws(ImageError) {
    var layer: (any GuestLayer)? = image
    for _ in 0..<max(0, depth) { layer = layer?.layerBelow }
    guard depth > 0, let found = layer as? Image else {
      throw ImageError(.invalidRequest, "layer \(depth) below the image is no qcow2 image that is open")
    }
    self.init(found, of: .layer(depth))
  }
}
