// A disk that several ask at a time: one after the other, each for a whole request, so that what they see is some
// order of whole requests.

import Glibc
package import Qcow
import QcowFormat

/// Exact counts of what was asked of a disk since it is shared.
package struct RequestCounts: Equatable, Sendable {
  /// Requests that read bytes.
  package var reads: UInt64 = 0
  /// Requests that brought bytes.
  package var writes: UInt64 = 0
  /// Requests for zeroes, which may free clusters or not.
  package var zeroWrites: UInt64 = 0
  /// Requests that give bytes up.
  package var discards: UInt64 = 0
  /// Flushes, those of requests that ask for one themselves included.
  package var flushes: UInt64 = 0
  /// Questions for the state of a range.
  package var statusQueries: UInt64 = 0
  /// Requests that failed.
  package var failures: UInt64 = 0
  /// Bytes of the guest that were read.
  package var bytesRead: UInt64 = 0
  /// Bytes of the guest that were written, zero-writes and discards not included.
  package var bytesWritten: UInt64 = 0

  package init() {}

  /// All requests.
  package var requests: UInt64 { reads &+ writes &+ zeroWrites &+ discards &+ flushes &+ statusQueries }
}

/// A disk with the lock that its callers share. What is done under ``locked(_:)`` is done by one thread at a time.
package final class SharedDisk: @unchecked Sendable {
  private let monitor = Monitor()
  private let disk: any GuestDisk
  /// Of all layers; made when somebody asks for extents.
  private var walk: ChainWalk?

  /// Bytes of the disk while it is shared.
  package let size: UInt64
  /// Requests may change it.
  package let isWritable: Bool
  /// The size of a cluster, which is what requests should be made of; of a page where there are none.
  package let preferredBlock: UInt32
  /// Zeroes are entries of a table.
  let hasFastZeroes: Bool
  private var counted = RequestCounts()
  /// Nil until somebody wants to see requests.
  private var ring: RequestRing?

  /// Shares a disk, which nobody uses in any other way as long.
  package init(_ disk: any GuestDisk) {
    self.disk = disk
    size = disk.virtualSize
    isWritable = disk.isWritable
    let image = disk as? Image
    preferredBlock = UInt32(clamping: image?.geometry.clusterSize ?? 4096)
    hasFastZeroes = image.map { $0.header.version >= 3 } ?? false
  }

  /// Runs `body` while nobody else asks the disk; `asker` is the number of the client, 0 for this program.
  ///
  /// - Throws: What `body` throws.
  package func locked<Answer, Failure: Error>(
    by asker: UInt32 = 0, _ body: (Held) throws(Failure) -> Answer
  ) throws(Failure) -> Answer {
    try monitor.locked { () throws(Failure) in try body(Held(self, asker)) }
  }

  private static func now() -> UInt64 {
    var time = timespec()
    guard unsafe clock_gettime(CLOCK_MONOTONIC, &time) == 0 else { return 0 }
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }

  /// What was asked up to now.
  package var counts: RequestCounts { monitor.locked { counted } }

  /// From now on requests are kept for ``requests(from:most:)``, the last 65,536 of them.
  package func keepRequests() { monitor.locked { ring = ring ?? RequestRing() } }

  /// Requests in the order in which they were done, from a number on (0 is the first that was kept), at most `most`;
  /// and how many from there on are kept no longer. None if ``keepRequests()`` was not called.
  package func requests(from number: UInt64, most: Int) -> (records: [RequestRecord], lost: UInt64) {
    monitor.locked { ring?.records(from: number, most: most) ?? ([], 0) }
  }

  /// The disk while it is had: what may be asked of it. Not to be kept.
  package struct Held {
    private let shared: SharedDisk
    private let asker: UInt32

    fileprivate init(_ shared: SharedDisk, _ asker: UInt32) {
      self.shared = shared
      self.asker = asker
    }

    /// Fills the buffer.
    ///
    /// - Throws: ``ImageError`` as ``GuestDisk/read(at:into:)``.
    package func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(ImageError) {
      shared.counted.reads &+= 1
      try counted(.read, offset, UInt64(buffer.count)) { () throws(ImageError) in
        unsafe try shared.disk.read(at: GuestOffset(offset), into: buffer)
      }
      shared.counted.bytesRead &+= UInt64(buffer.count)
    }

    /// Changes bytes.
    ///
    /// - Throws: ``ImageError`` as ``GuestDisk/write(_:at:)``.
    package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
      shared.counted.writes &+= 1
      try counted(.write, offset, UInt64(bytes.count)) { () throws(ImageError) in
        unsafe try shared.disk.write(bytes, at: GuestOffset(offset))
      }
      shared.counted.bytesWritten &+= UInt64(bytes.count)
    }

    /// Makes bytes zero; with `mayUnmap` clusters may be freed.
    ///
    /// - Throws: ``ImageError`` as ``GuestDisk/writeZeroes(at:count:mayUnmap:)``.
    package func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(ImageError) {
      shared.counted.zeroWrites &+= 1
      try counted(mayUnmap ? .zeroWriteMayUnmap : .zeroWrite, offset, count) { () throws(ImageError) in
        try shared.disk.writeZeroes(at: GuestOffset(offset), count: ByteCount(count), mayUnmap: mayUnmap)
      }
    }

    /// Gives bytes up.
    ///
    /// - Throws: ``ImageError`` as ``GuestDisk/discard(at:count:)``.
    package func discard(at offset: UInt64, count: UInt64) throws(ImageError) {
      shared.counted.discards &+= 1
      try counted(.discard, offset, count) { () throws(ImageError) in
        try shared.disk.discard(at: GuestOffset(offset), count: ByteCount(count))
      }
    }

    /// Returns when all that was answered would survive a power cut.
    ///
    /// - Throws: ``ImageError`` if the host could not keep the bytes.
    package func flush() throws(ImageError) {
      shared.counted.flushes &+= 1
      try counted(.flush, 0, 0) { () throws(ImageError) in try shared.disk.flush() }
    }

    /// Calls `body` with the extents of a range, in order.
    ///
    /// - Throws: ``ImageError`` for a table that cannot be read, and what `body` throws.
    package func extents(
      from start: UInt64, to end: UInt64, _ body: (Extent, _ isLast: Bool) throws(ImageError) -> Void
    ) throws(ImageError) {
      if shared.walk == nil { shared.walk = ChainWalk(shared.disk.layers) }
      // Holes of the host may have been filled since.
      shared.walk?.forgetFiles()
      try shared.walk?.each(from: start, to: end, body)
    }

    /// What the image itself says of the bytes at an offset, at most `limit` of them; nil for a raw file.
    ///
    /// - Throws: ``ImageError`` for a table that cannot be read.
    package func mapping(at offset: UInt64, limit: UInt64) throws(ImageError) -> Mapping? {
      try (shared.disk as? Image)?.mapping(at: GuestOffset(offset), limit: ByteCount(limit))
    }

    /// How many layers there are, the disk itself included.
    package var layerCount: Int { shared.disk.layers.count }

    /// Notes a question for the state of a range.
    package func countStatusQuery() { shared.counted.statusQueries &+= 1 }

    private func counted(
      _ kind: RequestKind, _ offset: UInt64, _ length: UInt64, _ body: () throws(ImageError) -> Void
    ) throws(ImageError) {
      func note(failed: Bool) {
        guard shared.ring != nil else { return }
        shared.ring?.add(
          RequestRecord(
            offset: offset, length: length, asker: asker, kind: kind, failed: failed,
            nanoseconds: SharedDisk.now()))
      }
      do throws(ImageError) { try body() } catch {
        shared.counted.failures &+= 1
        note(failed: true)
        throw error
      }
      note(failed: false)
    }
  }
}
