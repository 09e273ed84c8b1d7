// A disk that several ask at a time: one after the other, each for a whole request, so that what they see is some
// order of whole requests.

package import Qcow
import QcowFormat
import Storage

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

/// Something asked of a disk, with where its bytes come from or go to. Not to be kept behind the request.
@safe package struct ServedRequest {
  /// What is asked for.
  package let kind: RequestKind
  /// The first byte of the disk.
  package let offset: UInt64
  /// Bytes.
  package let length: UInt64
  fileprivate let source: UnsafeRawBufferPointer?
  fileprivate let target: UnsafeMutableRawBufferPointer?

  /// One without bytes.
  init(_ kind: RequestKind, _ offset: UInt64, _ length: UInt64) {
    unsafe self.init(kind, offset, length, source: nil, target: nil)
  }

  init(
    _ kind: RequestKind, _ offset: UInt64, _ length: UInt64, source: UnsafeRawBufferPointer?,
    target: UnsafeMutableRawBufferPointer?
  ) {
    self.kind = kind
    self.offset = offset
    self.length = length
    unsafe self.source = source
    unsafe self.target = target
  }

  /// It may change the image.
  package var changes: Bool { kind != .read && kind != .flush }
}

/// Sees requests before they are done, and may hold them up.
package protocol RequestGate: AnyObject {
  /// Does a request by ``SharedDisk/perform(_:)``, now or when somebody lets it go.
  ///
  /// - Throws: ``ImageError`` as the request of a guest would.
  func admit(_ request: ServedRequest, by asker: UInt32) throws(ImageError)
}

/// A disk with the lock that its callers share. What is done under ``locked(_:)`` is done by one thread at a time.
package final class SharedDisk: @unchecked Sendable {
  private let monitor: Monitor
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
  /// Shown every request before it is done; nil for none.
  private var gate: (any RequestGate)?
  /// A gate holds a request up, and with it all that come behind.
  package var isHeld = false
  /// Nil until somebody wants to see requests.
  private var ring: RequestRing?

  /// Shares a disk, which nobody uses in any other way as long. A request that has to wait for others calls
  /// `insteadOfWaiting`, if there is such (``Monitor/init(insteadOfWaiting:)``).
  package init(_ disk: any GuestDisk, insteadOfWaiting instead: (@Sendable () -> Void)? = nil) {
    self.disk = disk
    monitor = Monitor(insteadOfWaiting: instead)
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
    try monitor.locked { () throws(Failure) in
      while isHeld && asker != 0 { monitor.wait() }
      return try body(Held(self, asker))
    }
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
      try pass(unsafe ServedRequest(.read, offset, UInt64(buffer.count), source: nil, target: buffer))
      shared.counted.bytesRead &+= UInt64(buffer.count)
    }

    /// Changes bytes.
    ///
    /// - Throws: ``ImageError`` as ``GuestDisk/write(_:at:)``.
    package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(ImageError) {
      shared.counted.writes &+= 1
      try pass(unsafe ServedRequest(.write, offset, UInt64(bytes.count), source: bytes, target: nil))
      shared.counted.bytesWritten &+= UInt64(bytes.count)
    }

    /// Makes bytes zero; with `mayUnmap` clusters may be freed.
    ///
    /// - Throws: ``ImageError`` as ``GuestDisk/writeZeroes(at:count:mayUnmap:)``.
    package func writeZeroes(at offset: UInt64, count: UInt64, mayUnmap: Bool) throws(ImageError) {
      shared.counted.zeroWrites &+= 1
      try pass(ServedRequest(mayUnmap ? .zeroWriteMayUnmap : .zeroWrite, offset, count))
    }

    /// Gives bytes up.
    ///
    /// - Throws: ``ImageError`` as ``GuestDisk/discard(at:count:)``.
    package func discard(at offset: UInt64, count: UInt64) throws(ImageError) {
      shared.counted.discards &+= 1
      try pass(ServedRequest(.discard, offset, count))
    }

    /// Returns when all that was answered would survive a power cut.
    ///
    /// - Throws: ``ImageError`` if the host could not keep the bytes.
    package func flush() throws(ImageError) {
      shared.counted.flushes &+= 1
      try pass(ServedRequest(.flush, 0, 0))
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

    private func pass(_ request: ServedRequest) throws(ImageError) {
      func note(failed: Bool) {
        guard shared.ring != nil else { return }
        shared.ring?.add(
          RequestRecord(
            offset: request.offset, length: request.length, asker: asker, kind: request.kind, failed: failed,
            nanoseconds: HostClock.now()))
      }
      do throws(ImageError) {
        if let gate = shared.gate {
          try gate.admit(request, by: asker)
        } else {
          try shared.perform(request)
        }
      } catch {
        shared.counted.failures &+= 1
        note(failed: true)
        throw error
      }
      note(failed: false)
    }
  }

  // MARK: Gate

  /// From now on requests that are about to be done are shown to a gate; nil for none. Only while the disk is had, or
  /// before anybody asks.
  package func setGate(_ gate: (any RequestGate)?) { self.gate = gate }

  /// Does a request on the disk, as if nobody had held it up; only while the disk is had.
  ///
  /// - Throws: ``ImageError`` as the request of a guest would.
  package func perform(_ request: ServedRequest) throws(ImageError) {
    let (offset, count) = (GuestOffset(request.offset), ByteCount(request.length))
    switch request.kind {
    case .read: if let target = unsafe request.target { unsafe try disk.read(at: offset, into: target) }
    case .write: if let source = unsafe request.source { unsafe try disk.write(source, at: offset) }
    case .zeroWrite: try disk.writeZeroes(at: offset, count: count, mayUnmap: false)
    case .zeroWriteMayUnmap: try disk.writeZeroes(at: offset, count: count, mayUnmap: true)
    case .discard: try disk.discard(at: offset, count: count)
    case .flush: try disk.flush()
    }
  }

  /// Gives the disk to others until somebody calls ``wake()``, and returns when it is had again; for a gate that holds a
  /// request up. Requests of other clients wait as long as ``isHeld`` says so.
  package func wait() { monitor.wait() }

  /// What a gate waits for has come.
  package func wake() { monitor.changed() }
}
