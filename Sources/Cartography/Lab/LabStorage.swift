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
  private let tables: MemoryStorage
  /// One bit per block.
  private var blocks: [UInt64] = []
  private var blockCount: UInt64 = 0
  /// Told of every change the image makes in memory.
  var follow: ((WriteTag) -> Void)?

  /// An empty file.
  package init(name: String) {
    self.name = name
    tables = MemoryStorage(name: name)
  }

  package var length: UInt64 { tables.length }
  package var allocatedBytes: UInt64 { blockCount * Self.blockSize }
  /// Bytes that are kept in memory.
  package var keptBytes: UInt64 { tables.allocatedBytes }

  package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) {
    unsafe try tables.read(at: offset, into: buffer)
  }

  package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, tag: WriteTag) throws(StorageError) {
    try take(offset, UInt64(bytes.count), .write)
    if tag.target == .data || tag.target == .compressedData {
      try tables.writeZeroes(at: offset, count: UInt64(bytes.count), tag: tag)
    } else {
      unsafe try tables.write(bytes, at: offset, tag: tag)
    }
  }

  package func writeZeroes(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try take(offset, count, .zero)
    try tables.writeZeroes(at: offset, count: count, tag: tag)
  }

  package func punch(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try tables.punch(at: offset, count: count, tag: tag)
    guard offset < length else { return }
    // The host gives back whole blocks only.
    let end = offset + min(count, length - offset)
    let first = (offset + Self.blockSize - 1) / Self.blockSize
    let last = end == length ? (end + Self.blockSize - 1) / Self.blockSize : end / Self.blockSize
    if first < last { set(first..<last, false) }
  }

  package func truncate(to length: UInt64, tag: WriteTag) throws(StorageError) {
    guard length <= Self.maximumLength else { throw tooLong(length, .truncate) }
    try tables.truncate(to: length, tag: tag)
    let first = (length + Self.blockSize - 1) / Self.blockSize
    let end = UInt64(blocks.count) * 64
    if first < end { set(first..<end, false) }
  }

  package func allocate(at offset: UInt64, count: UInt64, tag: WriteTag) throws(StorageError) {
    try take(offset, count, .write)
    if offset + count > length { try truncate(to: offset + count, tag: tag) }
  }

  package func flush() throws(StorageError) {}
  package func note(_ tag: WriteTag) { follow?(tag) }

  // MARK: Host blocks

  private func take(_ offset: UInt64, _ count: UInt64, _ operation: StorageError.Operation)
    throws(StorageError)
  {
    let (end, overflow) = offset.addingReportingOverflow(count)
    guard !overflow, end <= Self.maximumLength else { throw tooLong(offset, operation) }
    guard count > 0 else { return }
    set(offset / Self.blockSize..<(end + Self.blockSize - 1) / Self.blockSize, true)
  }

  private func tooLong(_ offset: UInt64, _ operation: StorageError.Operation) -> StorageError {
    StorageError(operation, name: name, offset: offset, detail: "the file would be longer than 64 TiB")
  }

  private func set(_ range: Range<UInt64>, _ isTaken: Bool) {
    if isTaken, range.upperBound > UInt64(blocks.count) * 64 {
      let words = Int((range.upperBound + 63) / 64)
      // Twice as many, so that a growing file is not copied again and again.
      blocks.append(contentsOf: repeatElement(0, count: max(words, blocks.count * 2) - blocks.count))
    }
    var at = range.lowerBound
    let end = min(range.upperBound, UInt64(blocks.count) * 64)
    while at < end {
      let bit = at & 63
      let here = min(64 - bit, end - at)
      let mask: UInt64 = here == 64 ? .max : ((1 << here) - 1) << bit
      let index = Int(at >> 6)
      let old = blocks[index]
      let new = isTaken ? old | mask : old & ~mask
      blockCount = blockCount &+ UInt64(new.nonzeroBitCount) &- UInt64(old.nonzeroBitCount)
      blocks[index] = new
      at += here
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
