// Copying bytes from one place of the file to another: large pieces at once, and what is a hole or
// nothing but zeroes becomes a hole again.

import QcowFormat
import Storage

/// A buffer and the rules of copying. Ranges are host bytes; source and target never overlap.
@safe final class ClusterCopy {
  private let tables: TableWriter
  private let buffer: UnsafeMutableRawBufferPointer
  /// Zeroes are told in pieces of this size.
  private let grain: Int
  /// Bytes that the host has said it keeps, and that have not been given back since.
  private var kept: Range<UInt64> = 0..<0

  init(_ tables: TableWriter) {
    self.tables = tables
    let clusterSize = tables.geometry.clusterSize
    unsafe buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(1 << 20, Int(clusterSize)), alignment: 4096)
    grain = Int(min(max(clusterSize, 4096), 1 << 16))
  }

  deinit { unsafe buffer.deallocate() }

  /// Copies `length` bytes; the file reaches to the end of the target afterwards. Throws what the host says.
  func copy(
    from source: HostOffset, to target: HostOffset, _ length: ByteCount, _ structure: Structure
  ) throws(ImageError) {
    let storage = tables.storage
    let (from, to, count) = (source.value, target.value, length.value)
    var done: UInt64 = 0
    while done < count {
      let extent = extent(at: source + done)
      let left = extent.end > from + done ? min(extent.end - from - done, count - done) : count - done
      if extent.isHole {
        try punch(target + done, ByteCount(left), structure)
        done += left
      } else {
        let step = unsafe min(Int(clamping: left), buffer.count)
        let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[0..<step])
        do throws(StorageError) { try unsafe storage.read(at: from + done, into: piece) } catch {
          throw ImageError(error)
        }
        unsafe try put(UnsafeRawBufferPointer(piece), at: target + done, structure)
        done += UInt64(step)
      }
    }
    guard storage.length < to + count else { return }
    do throws(StorageError) { try storage.truncate(to: to + count, tag: WriteTag(.file, .move)) } catch {
      throw ImageError(error)
    }
  }

  /// What the host says of a place. It is asked once for a long stretch of data, of which many pieces are copied.
  private func extent(at offset: HostOffset) -> HostExtent {
    if kept.contains(offset.value) { return HostExtent(isHole: false, end: kept.upperBound) }
    let found = tables.storage.extent(at: offset.value)
    if !found.isHole, found.isKnown, found.end > offset.value { kept = offset.value..<found.end }
    return found
  }

  /// Writes bytes, but for stretches of zeroes, which become holes.
  private func put(_ bytes: UnsafeRawBufferPointer, at offset: HostOffset, _ structure: Structure)
    throws(ImageError)
  {
    var start = 0
    while start < bytes.count {
      var end = min(start + grain, bytes.count)
      let isZero = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<end]).isZero
      while end < bytes.count {
        let next = min(end + grain, bytes.count)
        guard unsafe UnsafeRawBufferPointer(rebasing: bytes[end..<next]).isZero == isZero else { break }
        end = next
      }
      let piece = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<end])
      let at = offset + ByteCount(start)
      if isZero {
        try punch(at, ByteCount(piece.count), structure)
      } else {
        unsafe try tables.writeCopy(piece, of: structure, at: at)
      }
      start = end
    }
  }

  private func punch(_ offset: HostOffset, _ count: ByteCount, _ structure: Structure) throws(ImageError) {
    guard offset.value < tables.storage.length else { return }
    kept = 0..<0
    try tables.punch(structure, .move, at: offset, count)
  }
}
