// The persistent bitmaps of an image that is open for writing: read when it is opened, marked in use before
// the first change, kept up to date by every request, written anew when it is closed. A program that dies in
// between leaves them marked, and nobody trusts them any more.

import QcowFormat
import Storage

/// The bitmaps of one image, in the order of its directory.
///
/// A value: a copy is what undo goes back to. Pieces of bits are shared between copies.
struct PersistentBitmaps: Equatable {
  /// One bitmap.
  struct Bitmap: Equatable {
    /// What the directory says in the file.
    var entry: BitmapDirectoryEntry
    /// The bits; nil for a bitmap that was in use when the image was opened and cannot be trusted.
    var bits: BitmapBits?
    /// It records what is written, whatever the file says.
    var recordsWrites: Bool

    init(entry: BitmapDirectoryEntry, bits: BitmapBits?) {
      self.entry = entry
      self.bits = bits
      recordsWrites = entry.recordsWrites
    }

    /// The directory in the file names it; one that was added by this session has no table yet.
    var isInFile: Bool { entry.tableOffset.value != 0 }
  }

  private(set) var list: [Bitmap]
  /// The file says that they are in use.
  private var areMarked = false
  /// What this session knows is not in the file.
  private(set) var areAhead = false

  /// No bitmap.
  init() { list = [] }

  /// Reads directory, tables and bits.
  ///
  /// Throws what the genuine tool refuses to open, and with code ``ImageError/Code/unsupported`` bits of more
  /// than a gibibyte.
  init?(_ opened: OpenedTables, _ storage: any Storage) throws(ImageError) {
    guard opened.extensions.bitmaps != nil else { return nil }
    let geometry = opened.header.geometry
    let work = CheckWork(limit: CheckWork.limit(allocatedBytes: ByteCount(storage.allocatedBytes)))
    let reader = CheckReader(storage, work, largest: Int(geometry.clusterSize))
    list = []
    var room = ByteCount(1 << 30)
    for entry in try BitmapReading.directory(opened, reader) {
      let bits = entry.isInUse ? nil : try Self.bits(of: entry, geometry, reader, storage, &room)
      list.append(Bitmap(entry: entry, bits: bits))
    }
  }

  private static func bits(
    of entry: BitmapDirectoryEntry, _ geometry: Geometry, _ reader: CheckReader, _ storage: any Storage,
    _ room: inout ByteCount
  ) throws(ImageError) -> BitmapBits {
    var bits = BitmapBits(granularity: ByteCount(entry.granularity), geometry)
    var entries: [(index: Int, place: BitmapTableEntry)] = []
    do throws(CheckStop) {
      // Judged when the directory was read.
      _ = try BitmapReading.walkTable(entry, geometry, reader) { entries.append(($0, $1)) }
    } catch {
      throw ImageError(
        .storage, "Could not read bitmap '\(entry.name)' from image: \(FileStorage.reason(error.error))",
        at: .bitmaps, entry.tableOffset)
    }
    for (index, place) in entries {
      guard room >= ByteCount(geometry.clusterSize) else {
        throw ImageError(
          .unsupported,
          "the bits of the persistent bitmaps take more than 1 GiB of memory; the image can only be read")
      }
      room = room - ByteCount(geometry.clusterSize)
      guard let cluster = place.cluster else {
        if place.isAllOnes { bits.fill(index) }
        continue
      }
      do throws(StorageError) {
        bits.load(index, try storage.bytes(at: cluster.value, count: Int(geometry.clusterSize)))
      } catch {
        throw ImageError(
          .storage, "Could not read bitmap '\(entry.name)' from image: \(FileStorage.reason(error.errno))",
          at: .bitmaps, index: UInt64(index), cluster)
      }
    }
    return bits
  }

  /// The first bitmap that cannot be trusted; nil if all can.
  var firstInconsistent: String? { list.first { $0.bits == nil }?.entry.name }

  /// Why the disk cannot become that of a snapshot; nil if there is no bitmap.
  var refusalOfJump: String? { list.isEmpty ? nil : "Device has active dirty bitmaps" }

  /// Some bitmap has bits that are kept up to date.
  private var hasConsistent: Bool { list.contains { $0.bits != nil } }

  // MARK: What happens to the disk

  /// A request changed a range, or tried to.
  mutating func record(_ guest: GuestOffset, _ length: ByteCount) {
    for index in list.indices where list[index].recordsWrites {
      list[index].bits?.set(guest, length)
    }
  }

  /// The disk has another size.
  mutating func resize(to size: ByteCount) {
    for index in list.indices { list[index].bits?.resize(to: size) }
  }

  // MARK: Single bitmaps

  /// The place of a bitmap in ``list``; nil if none is called so. Names are bytes.
  func index(of name: String) -> Int? { list.firstIndex { ByteText.areSame($0.entry.name, name) } }

  /// Adds a bitmap that has no place in the file yet.
  mutating func append(_ bitmap: Bitmap) {
    list.append(bitmap)
    areAhead = true
  }

  /// Changes the bits of a bitmap that can be trusted.
  mutating func change(_ index: Int, _ body: (inout BitmapBits) -> Void) {
    guard var bits = list[index].bits else { return }
    // There must be no second owner of the bytes while they change.
    list[index].bits = nil
    body(&bits)
    list[index].bits = bits
    areAhead = true
  }

  /// Says whether a bitmap records what is written.
  mutating func setRecording(_ index: Int, _ isOn: Bool) {
    list[index].recordsWrites = isOn
    areAhead = true
  }

  /// Takes a bitmap away, first out of the directory, then what it names.
  ///
  /// Throws when there is no room for the new directory or the file cannot be written; then it is still there.
  mutating func remove(_ index: Int, with editor: TableEditor) throws(ImageError) {
    var left = list
    let gone = left.remove(at: index)
    if gone.isInFile {
      let old = editor.tables.extensions.bitmaps
      var writer = BitmapWriter(editor)
      try writer.requireWholeNames(inFile)
      do throws(ImageError) { try writer.publish(left.filter(\.isInFile).map(\.entry)) } catch {
        writer.giveUp()
        throw error
      }
      try writer.freeDirectory(old, of: marked)
      list = left
      // The genuine tool writes those that are left anew.
      areAhead = true
      try writer.free(gone.entry)
    }
    list = left
  }

  // MARK: In the file

  /// What the directory in the file has.
  private var inFile: [BitmapDirectoryEntry] { list.filter(\.isInFile).map(\.entry) }

  /// The same with all bitmaps in use.
  private var marked: [BitmapDirectoryEntry] {
    list.filter(\.isInFile).map { bitmap in
      var entry = bitmap.entry
      entry.flags |= BitmapDirectoryEntry.inUseFlag
      return entry
    }
  }

  /// Says in the directory that they are in use, before anything happens to the disk that only they know of.
  ///
  /// Throws when the file cannot be written.
  mutating func mark(with editor: TableEditor) throws(ImageError) {
    guard !areMarked, hasConsistent else { return }
    if list.contains(where: { $0.isInFile && $0.bits != nil }) {
      try BitmapWriter(editor).overwrite(marked, insteadOf: inFile)
    }
    for index in list.indices where list[index].isInFile {
      list[index].entry.flags |= BitmapDirectoryEntry.inUseFlag
    }
    areMarked = true
    areAhead = true
  }

  /// Writes all bits to new clusters, then tables and a directory that name them; only then the header names
  /// those, and what they replace is freed. Until then the file has what it had before.
  ///
  /// The bytes of the old directory say at last that its bitmaps are in use, as if that had been said when the
  /// image was opened; nothing names them any more.
  ///
  /// Throws when there is no room for the new ones or the file cannot be written.
  mutating func store(with editor: TableEditor) throws(ImageError) {
    guard hasConsistent else {
      areAhead = false
      return
    }
    var writer = BitmapWriter(editor)
    var new = list
    let old = editor.tables.extensions.bitmaps
    if old != nil { try writer.requireWholeNames(inFile) }
    do throws(ImageError) {
      for index in new.indices {
        guard let bits = new[index].bits else { continue }
        new[index].entry.tableOffset = try writer.write(bits)
        new[index].entry.tableSize = UInt32(clamping: bits.pieceCount)
        new[index].entry.flags = new[index].recordsWrites ? BitmapDirectoryEntry.autoFlag : 0
      }
      try writer.publish(new.map(\.entry))
    } catch {
      writer.giveUp()
      throw error
    }
    let (before, dead) = (list, marked)
    list = new
    areMarked = false
    areAhead = false
    try writer.freeDirectory(old, of: dead)
    for bitmap in before where bitmap.bits != nil && bitmap.isInFile { try writer.free(bitmap.entry) }
  }
}
