// Persistent bitmaps of one image for another one, with all their bits: what `convert --bitmaps` does when the
// disk itself has been copied, and what `bitmap --merge -b` takes.

import QcowFormat
import Storage

/// The persistent bitmaps of an image that is only read, to be added to another one.
package struct BitmapCopy: Sendable {
  /// Why a bitmap could not be added.
  package struct Failure: Error, Sendable {
    /// "create" or "populate".
    package let verb: String
    package let name: String
    package let error: ImageError
  }

  let bitmaps: PersistentBitmaps?
  /// Bytes of the disk.
  let size: UInt64

  /// No bitmap.
  package init() {
    bitmaps = nil
    size = 0
  }

  /// Reads the bitmaps of an image.
  ///
  /// - Throws: ``ImageError`` for bitmaps that cannot be read.
  package init(_ image: Image) throws(ImageError) {
    bitmaps = try PersistentBitmaps(try OpenedTables(image.storage, writable: false), image.storage)
    size = image.virtualSize
  }

  /// The names of those that cannot be trusted, the last one first, as the genuine tool meets them.
  package var inconsistent: [String] {
    bitmaps?.list.reversed().filter { $0.bits == nil }.map(\.entry.name) ?? []
  }

  /// The directory entries of all.
  var entries: [BitmapDirectoryEntry] { bitmaps?.list.map(\.entry) ?? [] }

  /// Adds all bitmaps that can be trusted to an image, which is open for writing and brings them to its file when
  /// it is closed.
  ///
  /// - Throws: ``Failure`` for a bitmap that the image cannot have.
  package func add(to image: Image) throws(Failure) {
    for bitmap in bitmaps?.list ?? [] {
      guard let bits = bitmap.bits else { continue }
      func failure(_ verb: String, _ error: ImageError) -> Failure {
        Failure(verb: verb, name: bitmap.entry.name, error: error)
      }
      let writer: GuestWriter
      var all: PersistentBitmaps
      do throws(ImageError) {
        writer = try image.changing()
        all = writer.bitmaps ?? PersistentBitmaps()
        try all.add(bitmap.entry, BitmapBits(bits, image.geometry))
      } catch { throw failure("create", error) }
      do throws(ImageError) { try requireSize(image.virtualSize) } catch { throw failure("populate", error) }
      writer.bitmaps = all
    }
  }

  /// Throws ``ImageError/Code/bitmaps`` unless a disk of that many bytes can take these bits.
  func requireSize(_ target: UInt64) throws(ImageError) {
    guard size != target else { return }
    throw ImageError(
      .bitmaps,
      "Bitmaps are of different sizes (destination size is \(target), source size is \(size)) and can't be merged"
    )
  }
}

extension PersistentBitmaps {
  /// Adds a bitmap, which so far only memory has. Throws ``ImageError/Code/option`` for one that the image has
  /// already or that is too large.
  fileprivate mutating func add(
    _ entry: BitmapDirectoryEntry, _ bits: BitmapBits
  ) throws(ImageError) {
    guard index(of: entry.name) == nil else {
      throw ImageError(.option, "Bitmap already exists: \(entry.name)")
    }
    var entry = entry
    entry.tableOffset = HostOffset(0)
    entry.tableSize = 0
    append(Bitmap(entry: entry, bits: bits))
  }
}
