// Reads pieces of L2 tables for the scan and for windows: through one buffer, ahead where tables
// lie in a row, and never more than a piece at once.

import QcowFormat
import Qcow
import Storage

/// A read buffer over the tables of an image.
@safe final class TableReader {
  static let pieceSize = 1 << 16

  private let storage: any Storage
  private let buffer: UnsafeMutableRawBufferPointer
  /// What the buffer holds.
  private var start: UInt64 = 0
  private var end: UInt64 = 0
  /// Bytes read so far, for limits.
  private(set) var bytesRead: UInt64 = 0
  /// Why the host could not read some of them, the last time that it could not.
  private(set) var failure: StorageError?

  /// Over the tables of an image as they are now.
  convenience init(of image: Image) { self.init(TableBytes(image)) }

  init(_ storage: any Storage) {
    self.storage = storage
    unsafe buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.pieceSize, alignment: 64)
  }

  deinit { unsafe buffer.deallocate() }

  /// Forgets what was read, because the file changed.
  func invalidate() { (start, end) = (0, 0) }

  /// `count` bytes at `offset`, at most ``pieceSize``; nil if the host cannot read them. Valid
  /// until the next call.
  func bytes(at offset: UInt64, count: Int) -> UnsafeRawBufferPointer? {
    guard count > 0, count <= Self.pieceSize else { return nil }
    let (last, overflow) = offset.addingReportingOverflow(UInt64(count))
    guard !overflow, last <= UInt64(Int64.max) else { return nil }
    if offset < start || last > end {
      // Small tables in a row are read together, others alone; nothing behind the end of a large one is.
      let ahead = Self.pieceSize - Int(offset % UInt64(Self.pieceSize))
      let size = offset == end && end != 0 ? max(count, ahead) : count
      let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: unsafe buffer[0..<size])
      do throws(StorageError) {
        unsafe try storage.read(at: offset, into: piece)
      } catch {
        invalidate()
        failure = error
        return nil
      }
      start = offset
      end = offset + UInt64(size)
      bytesRead += UInt64(size)
    }
    let at = Int(offset - start)
    return unsafe UnsafeRawBufferPointer(rebasing: unsafe buffer[at..<at + count])
  }
}
