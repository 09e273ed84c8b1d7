// Reading the bitmap directory and its tables, with every check in the order in which users of QEMU see
// the messages. The check of an image and an image that is opened for writing read them alike.

import Glibc
import QcowFormat
import Storage

/// Reads persistent bitmaps.
enum BitmapReading {
  /// Entries of one piece of a bitmap table.
  static let piece = 1 << 13

  /// Reads and checks the bitmap directory, and the tables of bitmaps that are not in use.
  static func directory(
    _ opened: OpenedTables, _ reader: CheckReader
  ) throws(ImageError) -> [BitmapDirectoryEntry] {
    guard let bitmaps = opened.extensions.bitmaps else { return [] }
    let geometry = opened.header.geometry
    var entries: [BitmapDirectoryEntry] = []
    var at: UInt64 = 0
    func refuse(_ text: String) -> ImageError {
      ImageError(
        .corrupt, text, at: .bitmaps, index: UInt64(entries.count), HostOffset(bitmaps.directoryOffset &+ at))
    }
    guard bitmaps.directorySize > 0 else { throw refuse("Requested bitmap directory size is zero") }
    while at < bitmaps.directorySize {
      let left = bitmaps.directorySize - at
      guard left >= UInt64(BitmapDirectoryEntry.fixedSize) else { throw refuse("Broken bitmap directory") }
      guard entries.count < Int(bitmaps.count) else {
        throw refuse("More bitmaps found than specified in header extension")
      }
      let bytes = try directoryBytes(
        HostOffset(bitmaps.directoryOffset) + at, Int(min(left, 1 << 17)), reader)
      let extra = BigEndian.u32(bytes, 20)
      let name = Int(BigEndian.u16(bytes, 18))
      // The sum is one of 32-bit integers with a sign.
      let size = Int32(truncatingIfNeeded: (Int(extra) + name + BitmapDirectoryEntry.fixedSize + 7) & ~7)
      guard size < 0 || UInt64(size) <= left else { throw refuse("Broken bitmap directory") }
      guard extra == 0 else { throw refuse("Bitmap extra data is not supported") }
      guard var entry = BitmapDirectoryEntry(parsing: bytes, at: 0) else {
        throw refuse("Broken bitmap directory")
      }
      entry.name = String(entry.name.prefix { $0 != "\0" })
      guard isSound(entry, nameLength: name, geometry) else {
        throw refuse("Bitmap '\(entry.name)' doesn't satisfy the constraints")
      }
      entries.append(entry)
      at += UInt64(size)
    }
    guard entries.count == Int(bitmaps.count) else {
      throw refuse("Less bitmaps found than specified in header extension")
    }
    try loadTables(entries, geometry, reader)
    return entries
  }

  private static func directoryBytes(
    _ offset: HostOffset, _ count: Int, _ reader: CheckReader
  ) throws(ImageError) -> [UInt8] {
    do throws(CheckStop) {
      return unsafe [UInt8](try reader.bytes(at: offset, count: count))
    } catch {
      throw ImageError(
        .corrupt, "Failed to read bitmap directory: \(FileStorage.reason(error.error))", at: .bitmaps,
        offset)
    }
  }

  private static func isSound(_ entry: BitmapDirectoryEntry, nameLength: Int, _ geometry: Geometry) -> Bool {
    guard entry.tableSize != 0, entry.tableOffset.value != 0, geometry.isAligned(entry.tableOffset.value),
      entry.tableSize <= 1 << 27, (9...31).contains(entry.granularityBits), entry.flags & ~3 == 0,
      nameLength <= 1023, entry.type == 1
    else { return false }
    let bytes = geometry.byteCount(ofClusters: UInt64(entry.tableSize))
    guard bytes <= 512 << 20 else { return false }
    return entry.isInUse || geometry.virtualSize <= bytes * 8 * entry.granularity
  }

  private static func loadTables(
    _ entries: [BitmapDirectoryEntry], _ geometry: Geometry, _ reader: CheckReader
  ) throws(ImageError) {
    // Names are bytes: two that only look alike are two.
    var names: Set<[UInt8]> = []
    for (index, entry) in entries.enumerated() {
      func damage(_ text: String) -> ImageError {
        ImageError(.corrupt, text, at: .bitmaps, index: UInt64(index), entry.tableOffset)
      }
      guard names.insert(ByteText.bytes(entry.name)).inserted else {
        throw damage("Bitmap already exists: \(entry.name)")
      }
      guard !entry.isInUse else { continue }
      let failure: Int32?
      do throws(CheckStop) {
        failure = try walkTable(entry, geometry, reader) { _, _ in } ? nil : EINVAL
      } catch { failure = error.error }
      if let failure {
        throw damage(
          "Could not read bitmap_table table from image for bitmap '\(entry.name)': \(FileStorage.reason(failure))"
        )
      }
      guard UInt64(entry.tableSize) == entry.wantedTableSize(geometry) else {
        throw damage("Could not read bitmap '\(entry.name)' from image: \(FileStorage.reason(EINVAL))")
      }
    }
  }

  /// Calls `body` with the index of every entry of a bitmap's table that is not empty; false if an entry is
  /// damaged. `body` must not use `reader`.
  static func walkTable(
    _ entry: BitmapDirectoryEntry, _ geometry: Geometry, _ reader: CheckReader,
    _ body: (Int, BitmapTableEntry) throws(CheckStop) -> Void
  ) throws(CheckStop) -> Bool {
    for start in stride(from: 0, to: Int(entry.tableSize), by: piece) {
      guard try walkPiece(entry, from: start, geometry, reader, body) else { return false }
    }
    return true
  }

  /// The same for ``piece`` entries from `start` on, or for those that are left.
  static func walkPiece(
    _ entry: BitmapDirectoryEntry, from start: Int, _ geometry: Geometry, _ reader: CheckReader,
    _ body: (Int, BitmapTableEntry) throws(CheckStop) -> Void
  ) throws(CheckStop) -> Bool {
    let count = min(piece, Int(entry.tableSize) - start)
    guard count > 0 else { return true }
    let bytes = try unsafe reader.bytes(at: entry.tableOffset + ByteCount(start * 8), count: count * 8)
    for index in 0..<count {
      let raw = BitmapTableEntry(unsafe CheckReader.word(bytes, index))
      guard raw.isSound(geometry) else { return false }
      if raw.raw != 0 { try body(start + index, raw) }
    }
    return true
  }
}
