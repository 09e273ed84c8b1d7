// An image without what its guest wrote: the tables at their places, everything else a hole. Such a copy shows all
// about the mapping and nothing about the data, so that it can be given to others.

import Qcow
import QcowFormat
package import Storage

/// Copies of the parts of an image.
package struct Skeleton {
  /// What a copy leaves out of the tables.
  package struct Blanks: Sendable {
    /// The names of backing file, external data file, snapshots and bitmaps become rows of `x` of the same length.
    package var names = false
    /// Salts, digest and key material of the encryption header become zeroes, so that no passphrase fits.
    package var keys = false

    package init() {}
  }

  /// Bytes that are copied at once.
  private static let piece = 1 << 20

  private let atlas: Atlas
  /// Asked before every row of bytes that is written, with the share that is done; true ends the work.
  package var stops: ((Double) -> Bool)?

  /// The parts of an image whose atlas is complete.
  package init(of atlas: Atlas) { self.atlas = atlas }

  private var image: Image { atlas.image }
  private var clusterSize: UInt64 { image.geometry.clusterSize }

  /// Why some of the tables may be missing in a copy; nil if all of them are known.
  package var problem: String? { atlas.partialReason }

  /// Bytes of the tables.
  package var byteCount: UInt64 { rows(\.isMetadata).reduce(0) { $0 &+ UInt64($1.count) } }

  /// Rows of bytes of the file that hold what `isWanted` says, in rising order, cut at the end of the file.
  private func rows(_ isWanted: (HostState) -> Bool) -> [Range<UInt64>] {
    var rows: [Range<UInt64>] = []
    let end = image.storage.length
    atlas.hostRuns { first, count, facts in
      guard isWanted(facts.state) else { return }
      let start = first &* clusterSize
      let behind = min(end, (first &+ count) &* clusterSize)
      guard start < behind else { return }
      if let last = rows.last, last.upperBound == start {
        rows[rows.count - 1] = last.lowerBound..<behind
      } else {
        rows.append(start..<behind)
      }
    }
    return rows
  }

  /// Writes the tables to an empty file, which gets the length of the image.
  ///
  /// - Returns: the bytes that were written.
  /// - Throws: ``StorageError`` for tables that cannot be read, and for a file without room.
  package func write(to file: any Storage, _ blanks: Blanks = Blanks()) throws(StorageError) -> UInt64 {
    try file.truncate(to: image.storage.length, tag: .untagged)
    var written: UInt64 = 0
    let length = Double(max(1, image.storage.length))
    for row in rows(\.isMetadata) {
      if stops?(Double(row.lowerBound) / length) == true {
        throw StorageError(.write, name: file.name, detail: "given up")
      }
      written &+= try Self.copy(row, from: image.storage, to: file)
    }
    try clearSlack(in: file)
    if blanks.names { try blankNames(in: file) }
    if blanks.keys { try blankKeys(in: file) }
    try file.flush()
    return written
  }

  /// Writes the tables of this image, and what they say holds data with the bytes that `data` has there, to an
  /// empty file: the image of a skeleton and of the file that it was made from.
  ///
  /// - Returns: the bytes of data that were written.
  /// - Throws: ``StorageError`` for what cannot be read, and for a file without room.
  package func fill(_ file: any Storage, from data: any Storage) throws(StorageError) -> UInt64 {
    try file.truncate(to: image.storage.length, tag: .untagged)
    for row in rows(\.isMetadata) { _ = try Self.copy(row, from: image.storage, to: file) }
    var written: UInt64 = 0
    for row in rows({ $0.isContent }) {
      written &+= try Self.copy(
        row.clamped(to: 0..<min(row.upperBound, data.length)), from: data, to: file)
    }
    try file.flush()
    return written
  }

  /// Copies what the host stores of a row; holes stay holes.
  private static func copy(
    _ row: Range<UInt64>, from source: any Storage, to target: any Storage
  ) throws(StorageError) -> UInt64 {
    let buffer = CopyBuffer(piece)
    var written: UInt64 = 0
    var at = row.lowerBound
    while at < row.upperBound {
      let extent = source.extent(at: at)
      let end = min(row.upperBound, max(extent.end, at + 1))
      guard !extent.isHole else {
        at = end
        continue
      }
      let count = min(UInt64(piece), end - at)
      let bytes = unsafe buffer.part(0, Int(count))
      try unsafe source.read(at: at, into: bytes)
      let read = UnsafeRawBufferPointer(bytes)
      if unsafe !read.isZero {
        try unsafe target.write(read, at: at, tag: .untagged)
        written &+= count
      }
      at += count
    }
    return written
  }

  // MARK: Blanks

  /// What lies behind a table in its last cluster is not written with the table, and may be what the guest had
  /// there before.
  private func clearSlack(in file: any Storage) throws(StorageError) {
    let header = image.header
    var tables = [(header.l1TableOffset, UInt64(header.l1Size) &* 8)]
    tables += image.snapshots.map { ($0.l1TableOffset, UInt64($0.l1Size) &* 8) }
    let entries = image.snapshots.reduce(UInt64(0)) { $0 &+ UInt64($1.entrySize) }
    if header.snapshotsOffset > 0 { tables.append((header.snapshotsOffset, entries)) }
    if let encryption = image.extensions.encryption { tables.append((encryption.offset, encryption.length)) }
    if let bitmaps = image.extensions.bitmaps {
      tables.append((bitmaps.directoryOffset, bitmaps.directorySize))
      try bitmapEntries(in: file) { (entry, _) throws(StorageError) in
        tables.append((entry.tableOffset.value, UInt64(entry.tableSize) &* 8))
      }
    }
    for (start, length) in tables {
      let (end, overflow) = start.addingReportingOverflow(length)
      guard !overflow, end < file.length, end % clusterSize > 0 else { continue }
      let rest = min(clusterSize - end % clusterSize, file.length - end)
      try file.writeZeroes(at: end, count: rest, tag: .untagged)
    }
  }

  /// Calls `body` for the entries of the bitmap directory and where they begin in it.
  private func bitmapEntries(
    in file: any Storage, _ body: (BitmapDirectoryEntry, Int) throws(StorageError) -> Void
  ) throws(StorageError) {
    guard let extent = image.extensions.bitmaps else { return }
    let directory = try file.bytes(at: extent.directoryOffset, count: Int(clamping: extent.directorySize))
    var at = 0
    while let entry = BitmapDirectoryEntry(parsing: directory, at: at) {
      try body(entry, at + BitmapDirectoryEntry.fixedSize + Int(BigEndian.u32(directory, at + 20)))
      at += entry.entrySize
    }
  }

  private func blank(_ count: Int, at place: UInt64, in file: any Storage, with byte: UInt8)
    throws(StorageError)
  {
    guard count > 0, place &+ UInt64(count) <= file.length else { return }
    try file.write([UInt8](repeating: byte, count: count), at: place)
  }

  private func blankNames(in file: any Storage) throws(StorageError) {
    let letter = UInt8(ascii: "x")
    let header = image.header
    let first = try file.bytes(at: 0, count: Int(min(clusterSize, file.length)))
    if header.backingFileOffset > 0 {
      try blank(
        image.backingFileName.map(ByteText.bytes)?.count ?? 0, at: header.backingFileOffset, in: file,
        with: letter)
    }
    for place in HeaderExtensions.places(of: HeaderExtension.dataFileNameType, in: first) {
      try blank(place.count, at: UInt64(place.lowerBound), in: file, with: letter)
    }
    var entry = header.snapshotsOffset
    for snapshot in image.snapshots {
      let name =
        entry &+ UInt64(SnapshotEntry.fixedSize) &+ UInt64(snapshot.extraDataSize)
        &+ UInt64(snapshot.storedID.count)
      try blank(snapshot.storedName.count, at: name, in: file, with: letter)
      entry &+= UInt64(snapshot.entrySize)
    }
    try blankBitmapNames(in: file)
  }

  /// No two bitmaps may have one name, so that they are numbered as far as the length allows.
  private func blankBitmapNames(in file: any Storage) throws(StorageError) {
    guard let extent = image.extensions.bitmaps else { return }
    var taken: Set<[UInt8]> = []
    var number = 0
    try bitmapEntries(in: file) { (entry, nameStart) throws(StorageError) in
      let length = ByteText.bytes(entry.name).count
      var name: [UInt8]
      repeat {
        let digits = Array(String(number, radix: 36).utf8)
        name = [UInt8](repeating: UInt8(ascii: "x"), count: max(0, length - digits.count))
        name += digits.suffix(length)
        number += 1
      } while taken.contains(name) && number < 1 << 20
      taken.insert(name)
      try file.write(name, at: extent.directoryOffset &+ UInt64(nameStart))
    }
  }

  private func blankKeys(in file: any Storage) throws(StorageError) {
    guard let encryption = image.extensions.encryption else { return }
    for field in LUKSHeader.secrets where UInt64(field.upperBound) <= encryption.length {
      try blank(field.count, at: encryption.offset &+ UInt64(field.lowerBound), in: file, with: 0)
    }
    // Behind the header lies the material of the slots.
    let start = UInt64(LUKSHeader.size)
    guard encryption.length > start else { return }
    try file.writeZeroes(
      at: encryption.offset &+ start, count: encryption.length - start, tag: .untagged)
  }
}
