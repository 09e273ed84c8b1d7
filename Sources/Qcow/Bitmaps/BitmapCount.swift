// How much of the disk a persistent bitmap marks, and where, counted a piece of its bits at a time.

package import QcowFormat
import Storage

/// A bitmap with the count of its set bits.
package struct BitmapCount {
  /// Its entry in the directory; a table at 0 is not in the file yet.
  package let entry: BitmapDirectoryEntry
  /// It records what is written.
  package let recordsWrites: Bool
  /// Its bits are known. Those of a bitmap that was left in use are not.
  package var isKnown: Bool { bits != nil }
  /// Bytes of the disk that set bits stand for, as far as they are counted.
  package private(set) var marked = ByteCount(0)
  /// The same for each part of the disk; the parts are of equal size.
  package private(set) var parts: [ByteCount]
  private let bits: BitmapBits?
  private let size: UInt64
  private var next = 0

  /// Counters of all bitmaps, as the session of `image` knows them; of an image that is only read, as the file has
  /// them. `parts` is how many parts of the disk are told apart.
  ///
  /// - Throws: ``ImageError`` for bitmaps that cannot be read.
  package static func all(of image: Image, parts: Int) throws(ImageError) -> [BitmapCount] {
    var known = (try? image.changing())?.bitmaps
    if known == nil, !image.isWritable {
      known = try PersistentBitmaps(try OpenedTables(image.storage, writable: false), image.storage)
    }
    return (known?.list ?? []).map { BitmapCount($0, image.geometry, parts: parts) }
  }

  private init(_ bitmap: PersistentBitmaps.Bitmap, _ geometry: Geometry, parts: Int) {
    entry = bitmap.entry
    recordsWrites = bitmap.recordsWrites
    bits = bitmap.bits
    size = geometry.virtualSize
    let count = max(1, min(UInt64(max(1, parts)), size))
    self.parts = Array(repeating: ByteCount(0), count: Int(count))
  }

  /// Everything is counted.
  package var isDone: Bool { next >= (bits?.pieceCount ?? 0) }
  /// How far it is, 0 ... 1.
  package var progress: Double { Double(next) / Double(max(1, bits?.pieceCount ?? 1)) }

  /// Where a part of the disk begins; that behind the last one is its end.
  package func start(ofPart part: Int) -> GuestOffset {
    let (high, low) = UInt64(max(0, part)).multipliedFullWidth(by: size)
    let count = UInt64(parts.count)
    return GuestOffset(high >= count ? size : count.dividingFullWidth((high, low)).quotient)
  }

  /// Counts one piece of the bits, a cluster of the file; `tells` hears the bytes of the disk that each of its runs
  /// marks, in order.
  package mutating func step(_ tells: (Range<UInt64>) -> Void = { _ in }) {
    guard let bits, !isDone else { return }
    let index = next
    next += 1
    guard let bytes = bits.piece(index) else { return }
    var runs: [Range<UInt64>] = []
    bits.forEachRun(in: index, bytes) { runs.append($0) }
    for run in runs {
      var at = run.lowerBound * bits.granularity
      let end = min(size, run.upperBound * bits.granularity)
      marked = marked + ByteCount(end - min(end, at))
      if at < end { tells(at..<end) }
      var part = part(of: GuestOffset(at))
      while at < end, part < parts.count {
        let stop = min(end, start(ofPart: part + 1).value)
        if stop > at { parts[part] = parts[part] + ByteCount(stop - at) }
        at = max(at, stop)
        part += 1
      }
    }
  }

  /// The part that a byte is in.
  private func part(of guest: GuestOffset) -> Int {
    let count = UInt64(parts.count)
    let (high, low) = guest.value.multipliedFullWidth(by: count)
    var part = high >= size ? parts.count - 1 : Int(size.dividingFullWidth((high, low)).quotient)
    // The starts are rounded down.
    while part + 1 < parts.count, start(ofPart: part + 1) <= guest { part += 1 }
    return part
  }
}
