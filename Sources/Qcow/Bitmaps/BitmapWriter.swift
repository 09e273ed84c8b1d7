// Writing persistent bitmaps: claims clusters for bits, tables and a directory, fills them, and lets the header
// name them. What is claimed and not named in the end is given back.

import QcowFormat
import Storage

/// Writes bitmaps of one image to new clusters.
struct BitmapWriter {
  private let editor: TableEditor
  private var claimed: [(offset: HostOffset, length: ByteCount)] = []

  init(_ editor: TableEditor) { self.editor = editor }

  private var tables: TableWriter { editor.tables }

  private mutating func claim(_ length: ByteCount) throws(ImageError) -> HostOffset {
    let offset = try editor.allocator.allocate(ClusterCount(tables.geometry.clustersCovering(length.value)))
    claimed.append((offset, length))
    return offset
  }

  private func write(_ bytes: [UInt8], at offset: HostOffset) throws(ImageError) {
    try tables.writeNew(bytes, .bitmaps, .writeBack, at: offset)
  }

  /// Writes the pieces that have set bits, and their table.
  ///
  /// - Returns: the host offset of the table.
  mutating func write(_ bits: BitmapBits) throws(ImageError) -> HostOffset {
    var table = [UInt8](repeating: 0, count: bits.pieceCount * 8)
    for index in bits.piecesInOrder {
      guard let piece = bits.piece(index) else { continue }
      let place = try claim(ByteCount(piece.count))
      try write(piece, at: place)
      BigEndian.put(place.value, width: 8, into: &table, at: index * 8)
    }
    let place = try claim(ByteCount(table.count))
    try write(table, at: place)
    return place
  }

  /// Writes a new directory and lets the header name it; without entries the header names none any more.
  mutating func publish(_ entries: [BitmapDirectoryEntry]) throws(ImageError) {
    guard !entries.isEmpty else {
      try editor.flush()
      try tables.rewriteHeader {
        $0.extensions.bitmaps = nil
        $0.header.autoclear.remove(.bitmaps)
      }
      return try tables.flush()
    }
    let bytes = entries.flatMap(\.encoded)
    let place = BitmapsExtension(
      count: UInt32(clamping: entries.count), directorySize: UInt64(bytes.count),
      directoryOffset: try claim(ByteCount(bytes.count)).value)
    try write(bytes, at: HostOffset(place.directoryOffset))
    try editor.flush()
    try tables.rewriteHeader {
      $0.extensions.bitmaps = place
      $0.header.autoclear.insert(.bitmaps)
    }
    try tables.flush()
  }

  /// Writes the directory over the one in use. While it is written the header does not vouch for it.
  func overwrite(_ entries: [BitmapDirectoryEntry], insteadOf old: [BitmapDirectoryEntry]) throws(ImageError)
  {
    guard let place = tables.extensions.bitmaps else { return }
    try requireWholeNames(entries)
    try vouch(false)
    try tables.overwriteBitmapDirectory(entries, at: HostOffset(place.directoryOffset), insteadOf: old)
    try tables.flush()
    try vouch(true)
  }

  private func vouch(_ isReliable: Bool) throws(ImageError) {
    try tables.rewriteHeader {
      if isReliable { $0.header.autoclear.insert(.bitmaps) } else { $0.header.autoclear.remove(.bitmaps) }
    }
    try tables.flush()
  }

  /// Gives back what was claimed, because nothing names it.
  func giveUp() {
    for extent in claimed { editor.allocator.release(extent.offset, extent.length, .other) }
  }

  /// Frees the directory that the header named before, and leaves these entries in its place.
  func freeDirectory(_ old: BitmapsExtension?, of entries: [BitmapDirectoryEntry]) throws(ImageError) {
    guard let old else { return }
    try write(entries.flatMap(\.encoded), at: HostOffset(old.directoryOffset))
    editor.allocator.release(HostOffset(old.directoryOffset), ByteCount(old.directorySize), .other)
  }

  /// Throws if a directory cannot be written back as it is: a name with a zero byte in it is shorter for everybody
  /// but the directory.
  func requireWholeNames(_ entries: [BitmapDirectoryEntry]) throws(ImageError) {
    guard let place = tables.extensions.bitmaps,
      entries.reduce(0, { $0 + UInt64($1.encoded.count) }) != place.directorySize
    else { return }
    throw ImageError(
      .unsupported, "the directory of bitmaps has names that cannot be written back; nothing was changed")
  }

  /// Frees the bits and the table that an entry named before. A table with damaged entries stays, and what it
  /// names: they leak.
  func free(_ entry: BitmapDirectoryEntry) throws(ImageError) {
    let size = ByteCount(UInt64(entry.tableSize) * 8)
    let bytes: [UInt8]
    do throws(StorageError) {
      bytes = try tables.storage.bytes(at: entry.tableOffset.value, count: Int(size.value))
    } catch { throw ImageError(error) }
    let places = (0..<Int(entry.tableSize)).map { BitmapTableEntry(BigEndian.u64(bytes, $0 * 8)) }
    guard places.allSatisfy({ $0.isSound(tables.geometry) }) else { return }
    for place in places {
      if let cluster = place.cluster {
        editor.allocator.release(cluster, ByteCount(tables.geometry.clusterSize), .always)
      }
    }
    editor.allocator.release(entry.tableOffset, size, .other)
  }
}
