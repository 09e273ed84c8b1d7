// What shall be different about an image as a whole: its version, the width of its refcounts, its size and the
// rest of what can be chosen when an image is made and still be changed afterwards.

import QcowFormat

/// Options of an image with new values; nil leaves one as it is.
package struct Amendment: Equatable, Sendable {
  /// "0.10" or "v2", "1.1" or "v3".
  package var compat: String?
  /// Bits of a refcount.
  package var refcountBits: UInt64?
  /// Refcounts may wait until the image is closed.
  package var lazyRefcounts: Bool?
  /// Bytes of the disk; 0 leaves it as it is.
  package var size: UInt64?
  /// The name of the external data file; an empty one is forgotten.
  package var dataFile: String?
  /// The external data file is by itself a correct raw image; this can only be switched off.
  package var dataFileRaw: Bool?
  /// The name of the backing file, which must be the one that the image has.
  package var backingFile: String?
  /// Its format, likewise.
  package var backingFormat: String?

  package init() {}

  /// 2 or 3; nil if none is asked for. Throws ``ImageError/Code/option`` for a level that there is not.
  func version() throws(ImageError) -> UInt32? {
    switch compat {
    case nil: return nil
    case "0.10", "v2": return 2
    case "1.1", "v3": return 3
    case .some(let other): throw ImageError(.option, "Unknown compatibility level \(other)")
    }
  }

  /// Checks what can be said without a change, in the order in which users of QEMU see the messages. Throws
  /// ``ImageError/Code/option``, and ``ImageError/Code/bitmaps`` if bitmaps would be lost.
  func check(_ image: Image) throws(ImageError) {
    let asked = try version()
    guard dataFile == nil || image.hasExternalData else {
      throw ImageError(.option, "data-file can only be set for images that use an external data file")
    }
    guard dataFileRaw != true || image.header.autoclear.contains(.rawExternalData) else {
      throw ImageError(.option, "data-file-raw cannot be set on existing images")
    }
    if let bits = refcountBits {
      guard (1...64).contains(bits), bits & (bits - 1) == 0 else {
        throw ImageError(.option, "Refcount width must be a power of two and may not exceed 64 bits")
      }
    }
    // The genuine tool goes on: the bitmaps are lost, and their clusters leak.
    if asked == 2, !image.bitmaps.isEmpty {
      let names = image.bitmaps.map { "'\($0.name)'" }.joined(separator: ", ")
      throw ImageError(
        .bitmaps,
        "Cannot downgrade an image with persistent bitmaps, which would be lost: \(names); remove them first")
    }
  }
}
