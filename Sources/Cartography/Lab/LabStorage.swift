// The file of an image in the lab: tables are kept, the bytes of the guest are not. What matters of those is
// only where they would lie and which blocks of the host they would take.

import Qcow
import QcowFormat
package import Storage

/// Storage that looks at the tag of every write.
///
/// Guest data reads as zeroes afterwards. Host blocks have 4 KiB: a write takes them, a punched range and the
/// end of a shorter file give them back.
package final class LabStorage: Storage {
  /// Bytes of a block, the unit in which the host would keep bytes.
  package static let blockSize: UInt64 = 4096
  /// Bytes that a file may have: 2^46.
  private static let maximumLength: UInt64 = 1 << 46

  /// A name for messages.
  package let name: String
  package var isWritable: Bool { true }
  package var isRecording: Bool { true }
  /// Blocks that the host keeps.
  private var taken = BlockSet()
  /// Bytes of a piece of the file that has bytes here or not.
  private let pieceSize: UInt64
  /// Pieces that have; all others are zeroes.
  private var kept = BlockSet()
  private var pieces: [UInt64: CopyBuffer] = [:]
  package private(set) var length: UInt64 = 0
  /// Told of every change the image makes in memory.
  var follow: ((WriteTag) -> Void)?

  /// An empty file. A table that fills a piece is kept in one go; `pieceSize` is a power of two.
  package init(name: String, pieceSize: UInt64 = 4096) {
    self.name = name
    self.pieceSize = pieceSize
  }

  package var allocatedBytes: UInt64 { taken.count * Self.blockSize }
  /// Bytes that are kept in memory.
  package var keptBytes: UInt64 { kept.count * pieceSize }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    // Nothing is kept behind the longest file.
    let known = Int(min(UInt64(buffer.count), Self.maximumLength - min(offset, Self.maximumLength)))
    forEachPiece(of: offset, known) { piece, start, part in
      let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[part])
      if let bytes = keptPiece(piece) {
        unsafe target.copyMemory(from: UnsafeRawBufferPointer(bytes.part(start, start + part.count)))
      } else {
        unsafe target.initializeMemory(as: UInt8.self, repeating: 0)
      }
    }
    let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[known...])
    unsafe rest.initializeMemory(as: UInt8.self, repeating: 0)
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    let end = try take(offset, UInt64(bytes.count), .write)
    guard bytes.count > 0 else { return }
    if tag.target == .data || tag.target == .compressedData {
      clear(from: offset, to: end)
    } else {
      unsafe keep(bytes, at: offset)
    }
    length = max(length, end)
  }

  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    let end = try take(offset, count, .zero)
    guard count > 0 else { return }
    clear(from: offset, to: end)
    length = max(length, end)
  }

  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    guard offset < length else { return }
    // The host gives back whole blocks only.
    let end = offset + min(count, length - offset)
    clear(from: offset, to: end)
    let first = (offset + Self.blockSize - 1) / Self.blockSize
    let last = end == length ? (end + Self.blockSize - 1) / Self.blockSize : end / Self.blockSize
    if first < last { taken.set(first..<last, false) }
  }

  package func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    guard length <= Self.maximumLength else { throw tooLong(length, .truncate) }
    if length < self.length { clear(from: length, to: self.length) }
    self.length = length
    let first = (length + Self.blockSize - 1) / Self.blockSize
    if first < taken.end { taken.set(first..<taken.end, false) }
  }

  package func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    let end = try take(offset, count, .write)
    if end > length { try truncate(to: end, tag: tag) }
  }

  package func flush() throws(StorageError) {}
  package func note(_ tag: WriteTag) { follow?(tag) }

  // MARK: Blocks of the host

  /// Takes the blocks of a range. Returns where it ends.
  private func take(_ offset: UInt64, _ count: UInt64, _ operation: StorageError.Operation)
    throws(StorageError) -> UInt64
  {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow, end <= Self.maximumLength else { throw tooLong(offset, operation) }
    if count > 0 {
      taken.set(offset / Self.blockSize..<(end + Self.blockSize - 1) / Self.blockSize, true)
    }
    return end
  }

  private func tooLong(_ offset: UInt64, _ operation: StorageError.Operation) -> StorageError {
    StorageError(operation, name: name, offset: offset, detail: "the file would be longer than 64 TiB")
  }

  // MARK: Bytes that are kept

  private func keptPiece(_ piece: UInt64) -> CopyBuffer? {
    kept.first(in: piece..<piece + 1) == nil ? nil : pieces[piece]
  }

  /// Calls `body` for every piece that a range touches: its number, where the range begins in it, and which part of
  /// the range that is. The range ends in front of the end of the longest file.
  private func forEachPiece(
    of offset: UInt64, _ count: Int, _ body: (_ piece: UInt64, _ start: Int, _ part: Range<Int>) -> Void
  ) {
    var done = 0
    while done < count {
      let at = offset + UInt64(done)
      let start = Int(at % pieceSize)
      let step = min(Int(pieceSize) - start, count - done)
      body(at / pieceSize, start, done..<done + step)
      done += step
    }
  }

  private func keep(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) {
    forEachPiece(of: offset, bytes.count) { piece, start, part in
      let source = unsafe UnsafeRawBufferPointer(rebasing: bytes[part])
      var target = keptPiece(piece)
      if target == nil {
        if unsafe source.isZero { return }
        target = CopyBuffer(Int(pieceSize))
        pieces[piece] = target
        kept.set(piece..<piece + 1, true)
      }
      unsafe target?.part(start, start + part.count).copyMemory(from: source)
    }
  }

  /// Keeps nothing of a range. Looks at the pieces only that have bytes.
  private func clear(from start: UInt64, to end: UInt64) {
    guard start < end else { return }
    let limit = (end + pieceSize - 1) / pieceSize
    var next = start / pieceSize
    while let piece = kept.first(in: next..<limit) {
      let first = piece * pieceSize
      let from = max(start, first) - first
      let to = min(end, first + pieceSize) - first
      if to - from == pieceSize {
        pieces[piece] = nil
        kept.set(piece..<piece + 1, false)
      } else if let part = unsafe pieces[piece]?.part(Int(from), Int(to)) {
        unsafe part.initializeMemory(as: UInt8.self, repeating: 0)
      }
      next = piece + 1
    }
  }
}

/// A backing file that is full: it reads as one byte everywhere.
final class FullLayer: GuestLayer {
  let virtualSize: UInt64
  private let byte: UInt8

  init(size: UInt64, byte: UInt8 = 0x55) {
    virtualSize = size
    self.byte = byte
  }

  var layerName: String { "full" }
  var layerBelow: (any GuestLayer)? { nil }

  func readLayer(at guest: GuestOffset, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) {
    for index in buffer.indices { unsafe buffer[index] = byte }
  }

  func layerExtent(at guest: GuestOffset, limit: ByteCount) throws(ImageError) -> LayerExtent {
    LayerExtent(.data, length: limit, offset: HostOffset(guest.value))
  }
}
