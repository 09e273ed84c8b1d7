// Adding, removing and changing single persistent bitmaps, with every check in the order in which users of QEMU
// see the messages. Only a removal writes at once; the rest is in the file when the image is closed.

package import QcowFormat
import Storage

/// What is done with bitmaps. Names have every byte.
package enum BitmapAction: Sendable {
  /// Adds a bitmap without a set bit. `granularity` is a power of two of at least 512, in bytes of the disk; nil
  /// for the usual one.
  case add(String, granularity: ByteCount?, recordsWrites: Bool)
  /// Takes a bitmap away, also one that cannot be trusted.
  case remove(String)
  /// Takes all bitmaps away.
  case removeAll
  /// Takes all bits of a bitmap back.
  case clear(String)
  /// Says whether a bitmap records what is written.
  case setRecording(String, Bool)
  /// Sets the bits of all ranges that have a bit in the first bitmap, of this image or of another one, which must
  /// have a disk of the same size.
  case merge(String, of: BitmapCopy?, into: String)
}

/// Changes the bitmaps of one image.
struct BitmapEditor {
  private let writer: GuestWriter

  init(_ writer: GuestWriter) { self.writer = writer }

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

  /// Throws ``ImageError/Code/invalidRequest`` for a name that is taken or that no bitmap has,
  /// ``ImageError/Code/option`` for a granularity or a name that cannot be, and ``ImageError/Code/bitmaps`` if
  /// the image can have no such bitmap, or if it cannot be trusted.
  func run(_ action: BitmapAction) throws(ImageError) {
    switch action {
    case .add(let name, let granularity, let recordsWrites):
      try add(name, granularity: granularity, recordsWrites: recordsWrites)
    case .remove(let name): try remove(name)
    case .removeAll:
      // The last one first, each with a new directory, as the genuine tool does.
      while let last = bitmaps.list.last { try remove(last.entry.name) }
    case .clear(let name):
      let index = try index(of: name)
      _ = try Self.bits(name, in: bitmaps)
      writer.bitmaps?.change(index) { $0.clear() }
    case .setRecording(let name, let isOn):
      let index = try index(of: name)
      _ = try Self.bits(name, in: bitmaps)
      writer.bitmaps?.setRecording(index, isOn)
    case .merge(let source, let other, let name): try merge(source, of: other, into: name)
    }
  }

  private func add(_ name: String, granularity: ByteCount?, recordsWrites: Bool) throws(ImageError) {
    guard !name.isEmpty else { throw ImageError(.option, "Bitmap name cannot be empty") }
    let granularity = granularity?.value ?? usualGranularity
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
    writer.bitmaps?.append(PersistentBitmaps.Bitmap(entry: entry, bits: bits))
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

  private func remove(_ name: String) throws(ImageError) {
    let index = try index(of: name)
    try writer.bitmaps?.remove(index, with: writer.editor)
    if bitmaps.list.isEmpty { writer.bitmaps = nil }
  }

  private func merge(_ source: String, of other: BitmapCopy?, into name: String) throws(ImageError) {
    let index = try index(of: name)
    let bits = try Self.bits(source, in: other.map { $0.bitmaps ?? PersistentBitmaps() } ?? bitmaps)
    try other?.requireSize(geometry.virtualSize)
    _ = try Self.bits(name, in: bitmaps)
    writer.bitmaps?.change(index) { $0.merge(bits) }
  }
}
