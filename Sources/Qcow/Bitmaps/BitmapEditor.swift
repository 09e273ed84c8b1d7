// Adding, removing and changing single persistent bitmaps, with every check in the order in which users of QEMU
// see the messages. Only a removal writes at once; the rest is in the file when the image is closed.

import QcowFormat
import Storage

/// Changes the bitmaps of one image.
struct BitmapEditor {
  private let writer: GuestWriter

  /// Throws what marking the bitmaps as in use throws.
  init(_ writer: GuestWriter) throws(ImageError) {
    self.writer = writer
    try writer.bitmaps?.mark(with: writer.editor)
  }

  /// The longest name in bytes.
  static let longestName = 1023
  /// The most bitmaps that an image can have.
  static let maximumCount = 65535
  /// Bytes of the bits of one bitmap, at most.
  private static let maximumBytes: UInt64 = 512 << 20

  private var geometry: Geometry { writer.geometry }
  private var bitmaps: PersistentBitmaps { writer.bitmaps ?? PersistentBitmaps() }

  /// The granularity of a bitmap for which none is asked: a cluster, but no less than 4 KiB and no more than
  /// 64 KiB.
  private var usualGranularity: UInt64 { min(65536, max(4096, geometry.clusterSize)) }

  /// Adds a bitmap without a set bit; `granularity` is in bytes of the disk. Throws
  /// ``ImageError/Code/invalidRequest`` for a name that is taken, ``ImageError/Code/option`` for a granularity or
  /// a name that cannot be, and ``ImageError/Code/bitmaps`` if the image can have no such bitmap.
  func add(_ name: String, granularity: UInt64?, recordsWrites: Bool) throws(ImageError) {
    guard !name.isEmpty else { throw ImageError(.option, "Bitmap name cannot be empty") }
    let granularity = granularity ?? usualGranularity
    guard granularity >= 512, granularity <= 1 << 31, granularity & (granularity - 1) == 0 else {
      throw ImageError(.option, "Granularity must be power of 2 and at least 512")
    }
    guard bitmaps.index(of: name) == nil else {
      throw ImageError(.invalidRequest, "Bitmap already exists: \(name)")
    }
    let entry = BitmapDirectoryEntry(
      name: name, granularityBits: UInt8(granularity.trailingZeroBitCount), recordsWrites: recordsWrites)
    if let reason = refusal(of: entry) {
      throw ImageError(
        .bitmaps, "Can't make bitmap '\(name)' persistent in '\(writer.tables.storage.name)': \(reason)")
    }
    let bits = BitmapBits(granularity: ByteCount(granularity), geometry)
    if writer.bitmaps == nil { writer.bitmaps = PersistentBitmaps() }
    writer.bitmaps?.append(entry, bits)
  }

  /// Why the file cannot hold such a bitmap; nil if it can.
  private func refusal(of entry: BitmapDirectoryEntry) -> String? {
    guard writer.tables.header.version >= 3 else { return "Cannot store dirty bitmaps in qcow2 v2 files" }
    let bytes = ceil(ceil(geometry.virtualSize, entry.granularity), 8)
    guard bytes <= Self.maximumBytes, bytes <= geometry.byteCount(ofClusters: 1 << 27) else {
      return "Too much space will be occupied by the bitmap. Use larger granularity"
    }
    guard ByteText.bytes(entry.name).count <= Self.longestName else {
      return "Name length exceeds maximum (\(Self.longestName) characters)"
    }
    guard bitmaps.list.count < Self.maximumCount else {
      return "Maximum number of persistent bitmaps is already reached"
    }
    let directory = bitmaps.list.reduce(entry.entrySize) { $0 + $1.entry.entrySize }
    return directory <= 1024 * Self.maximumCount ? nil : "Not enough space in the bitmap directory"
  }

  private func index(of name: String) throws(ImageError) -> Int { try Self.index(of: name, in: bitmaps) }

  private static func index(of name: String, in bitmaps: PersistentBitmaps) throws(ImageError) -> Int {
    if let index = bitmaps.index(of: name) { return index }
    throw ImageError(.invalidRequest, "Dirty bitmap '\(name)' not found")
  }

  /// The bits of a bitmap that can be trusted. Throws ``ImageError/Code/bitmaps`` if it cannot.
  private static func bits(_ name: String, in bitmaps: PersistentBitmaps) throws(ImageError) -> BitmapBits {
    if let bits = bitmaps.list[try index(of: name, in: bitmaps)].bits { return bits }
    throw ImageError(
      .bitmaps, "Bitmap '\(name)' is inconsistent and cannot be used",
      hint: "Try block-dirty-bitmap-remove to delete this bitmap from disk")
  }

  /// Takes a bitmap away, also one that cannot be trusted. Throws ``ImageError/Code/invalidRequest`` if there
  /// is none, as the others do, and as ``PersistentBitmaps/remove(_:with:)``.
  func remove(_ name: String) throws(ImageError) {
    let index = try index(of: name)
    try writer.bitmaps?.remove(index, with: writer.editor)
    if bitmaps.list.isEmpty { writer.bitmaps = nil }
  }

  /// Takes all bitmaps away, the last one first.
  func removeAll() throws(ImageError) {
    while let last = bitmaps.list.last { try remove(last.entry.name) }
  }

  /// Takes all bits of a bitmap back. Throws ``ImageError/Code/bitmaps`` if it cannot be trusted, as the others
  /// do.
  func clear(_ name: String) throws(ImageError) {
    let index = try index(of: name)
    _ = try Self.bits(name, in: bitmaps)
    writer.bitmaps?.change(index) { $0.clear() }
  }

  /// Says whether a bitmap records what is written from now on.
  func setRecording(_ name: String, _ isOn: Bool) throws(ImageError) {
    let index = try index(of: name)
    _ = try Self.bits(name, in: bitmaps)
    writer.bitmaps?.setRecording(index, isOn)
  }

  /// Sets the bits of all that has a bit in another bitmap, of this image or of another one, which must have a
  /// disk of the same size; see ``BitmapBits/merge(_:)``. Throws ``ImageError/Code/bitmaps`` if the sizes differ.
  func merge(_ source: String, of other: BitmapCollection?, into name: String) throws(ImageError) {
    let index = try index(of: name)
    let others = other ?? BitmapCollection(bitmaps, diskSize: ByteCount(geometry.virtualSize))
    let bits = try Self.bits(source, in: others.bitmaps)
    guard others.diskSize.value == geometry.virtualSize else {
      throw ImageError(
        .bitmaps,
        "Bitmaps are of different sizes (destination size is \(geometry.virtualSize), source size is "
          + "\(others.diskSize.value)) and can't be merged")
    }
    _ = try Self.bits(name, in: bitmaps)
    writer.bitmaps?.change(index) { $0.merge(bits) }
  }
}

/// The bitmaps of an image that is only read, to merge from.
package struct BitmapCollection: Sendable {
  fileprivate let bitmaps: PersistentBitmaps
  fileprivate let diskSize: ByteCount

  fileprivate init(_ bitmaps: PersistentBitmaps, diskSize: ByteCount) {
    self.bitmaps = bitmaps
    self.diskSize = diskSize
  }

  /// No bitmap.
  package init() { self.init(PersistentBitmaps(), diskSize: 0) }

  /// Reads all bitmaps of an image as its file has them.
  /// - Throws: ``ImageError`` for a directory, tables or bits that cannot be read.
  package init(of image: Image) throws(ImageError) {
    let opened = try OpenedTables(image.storage, writable: false)
    self.init(
      try PersistentBitmaps(opened, image.storage) ?? PersistentBitmaps(),
      diskSize: ByteCount(image.geometry.virtualSize))
  }
}
