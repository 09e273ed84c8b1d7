// Opening an image to look at it: a damaged accessory, which the disk itself does not need, does not keep it
// shut. Whoever shows the image says which part is left out and why.

import QcowFormat
import Storage

extension Image {
  /// Opens with `options`; if that fails because snapshots or bitmaps cannot be read, without them
  /// (``damagedParts``). Nothing may be written to such an image, because nobody knows what the lost part
  /// uses.
  ///
  /// - Throws: the error of the first attempt, if leaving these parts out is no help.
  package static func lookedAt(
    _ options: Options, _ open: (Options) throws(ImageError) -> Image
  ) throws(ImageError) -> Image {
    var looking = options
    looking.writable = false
    do throws(ImageError) {
      let image = try open(looking)
      guard image.hasSnapshotsBehindEnd else { return image }
      looking.leavesOutDamage = true
      return (try? open(looking)) ?? image
    } catch {
      looking.leavesOutDamage = true
      guard let image = try? open(looking), !image.damagedParts.isEmpty else { throw error }
      return image
    }
  }

  /// The table of snapshots reaches behind the end of the file, where it reads as zeroes: snapshots without
  /// a name and without an L1 table.
  package var hasSnapshotsBehindEnd: Bool {
    guard header.snapshotCount > 0 else { return false }
    let length = storage.length
    return header.snapshotsOffset > length || tables.snapshotTableSize.value > length - header.snapshotsOffset
  }

  /// "damaged: the snapshot table: ..."; nil if nothing was left out.
  package var damageText: String? {
    damagedParts.isEmpty ? nil : "damaged: " + damagedParts.joined(separator: "; ")
  }
}
