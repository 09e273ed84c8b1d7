// Copying bytes from one place of the file to another: large pieces at once, and what is a hole or
// nothing but zeroes becomes a hole again.

import QcowFormat
import Storage

/// A buffer and the rules of copying. Ranges are host bytes; source and target never overlap.
@safe final class ClusterCopy {
  private let image: Image
  private let buffer: UnsafeMutableRawBufferPointer
  /// Zeroes are told in pieces of this size.
  private let grain: Int

  init(_ image: Image) {
    self.image = image
    unsafe buffer = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(1 << 20, Int(image.geometry.clusterSize)), alignment: 4096)
    grain = Int(min(max(image.geometry.clusterSize, 4096), 1 << 16))
  }

  deinit { unsafe buffer.deallocate() }

  /// Copies `count` bytes; the file reaches to the end of the target afterwards.
  func copy(from: UInt64, to: UInt64, count: UInt64, _ structure: Structure) throws(ImageError) {
    let storage = image.storage
    var done: UInt64 = 0
    while done < count {
      let extent = storage.extent(at: from + done)
      let left = extent.end > from + done ? min(extent.end - from - done, count - done) : count - done
      if extent.isHole {
        try punch(to + done, left, structure)
        done += left
      } else {
        let step = unsafe min(Int(clamping: left), buffer.count)
        let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[0..<step])
        do throws(StorageError) { try unsafe storage.read(at: from + done, into: piece) } catch {
          throw ImageError(error)
        }
        unsafe try put(UnsafeRawBufferPointer(piece), at: to + done, structure)
        done += UInt64(step)
      }
    }
    guard storage.length < to + count else { return }
    try image.io { () throws(StorageError) in
      try storage.truncate(to: to + count, tag: WriteTag(.file, .move))
    }
  }

  /// Writes bytes, but for stretches of zeroes, which become holes.
  private func put(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, _ structure: Structure)
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
      let at = offset + UInt64(start)
      if isZero {
        try punch(at, UInt64(piece.count), structure)
      } else {
        unsafe try image.tables.writeCopy(piece, of: structure, at: HostOffset(at))
      }
      start = end
    }
  }

  private func punch(_ offset: UInt64, _ count: UInt64, _ structure: Structure) throws(ImageError) {
    let storage = image.storage
    guard offset < storage.length else { return }
    try image.io { () throws(StorageError) in
      try storage.punch(at: offset, count: count, tag: WriteTag(structure, .move, table: offset))
    }
  }
}
