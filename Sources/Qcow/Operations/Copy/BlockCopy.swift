// Copies a disk block by block without a look at what the bytes are: `dd`. Every block is one write of its own,
// because that decides where clusters lie.

package import QcowFormat
import Storage

/// Blocks of a disk, from some place on, to the start of another disk.
package struct BlockCopy {
  private let source: any GuestLayer
  private let target: any GuestDisk
  private let blockSize: UInt64
  /// Asked before every few blocks with the share that is done; true ends the copy.
  package var stops: ((Double) -> Bool)?

  /// Blocks of `blockSize` bytes, at least 1.
  package init(from source: any GuestLayer, to target: any GuestDisk, blockSize: ByteCount) {
    self.source = source
    self.target = target
    self.blockSize = blockSize.value
  }

  /// Copies the bytes of a range of the source; the last block may be a part of one.
  ///
  /// - Throws: ``CopyFailure``, with an offset of the source.
  package func run(_ guest: Range<GuestOffset>) throws(CopyFailure) {
    let range = guest.lowerBound.value..<guest.upperBound.value
    // Small blocks are read many at a time.
    let blocks = max(1, (2 << 20) / blockSize)
    let buffer = CopyBuffer(Int(min(blocks * blockSize, max(1, UInt64(range.count)))))
    var position = range.lowerBound
    while position < range.upperBound {
      if stops?(Double(position - range.lowerBound) / Double(range.count)) == true {
        throw CopyFailure(step: .read, offset: position, error: ImageError(.storage, "given up"))
      }
      let count = Int(min(UInt64(buffer.count), range.upperBound - position))
      let bytes = unsafe buffer.part(0, count)
      do throws(ImageError) { unsafe try source.readLayer(at: GuestOffset(position), into: bytes) } catch {
        throw CopyFailure(step: .read, offset: position, error: error)
      }
      for start in stride(from: 0, to: count, by: Int(blockSize)) {
        let block = unsafe UnsafeRawBufferPointer(
          rebasing: bytes[start..<min(count, start + Int(blockSize))])
        let offset = GuestOffset(position - range.lowerBound + UInt64(start))
        do throws(ImageError) { unsafe try target.write(block, at: offset) } catch {
          throw CopyFailure(step: .write, offset: position + UInt64(start), error: error)
        }
      }
      position += UInt64(count)
    }
  }
}
