// Copies a disk, or several in a row, to another one: `convert` and whoever moves the content of whole disks.
// Requests and their order decide where clusters lie, so they are those of the genuine tool: ascending, cut at
// what the sources' tables say, at most 2 MiB, with a search for zeroes in every buffer.

import QcowFormat
import Storage

/// How a disk is copied.
package struct CopyOptions {
  /// Bytes of zeroes in data that become a gap, a multiple of 512; 0 writes every byte.
  package var shortestGap: UInt64 = 4096
  /// Bytes that lie as they are in some file are copied without a look for zeroes, up to the first ones that do
  /// not.
  package var copiesRanges = false
  /// Whole clusters, compressed.
  package var compresses = false
  /// How hard shorter streams are looked for.
  package var effort = PackingEffort.usual
  /// The target reads as zeroes wherever nothing is written.
  package var targetIsZero = false
  /// The target has a layer below that answers for what the source leaves to its own.
  package var keepsBelow = false
  /// Bytes of the disk below the target, behind which the target reads as zeroes; nil if that is not known.
  package var sizeBelow: UInt64?
  /// Bytes in a second; nil for as fast as it goes.
  package var bytesPerSecond: UInt64?
  /// Takes what could not be read and is copied as zeroes; without it the copy ends there. The offset is one of
  /// the source.
  package var lost: ((CopyFailure) -> Void)?

  package init() {}
}

/// A copy under way. ``step()`` until it says that there is no more, then ``finish()``.
///
/// What `qemu-img convert` does at the same time and out of order, it does one after the other: the result is
/// that of its default, and one of those that it may have with writes out of order. Only the next stretch is read
/// while one is written: the sources know nothing of the target.
package final class GuestCopy {
  /// A stretch of the sources.
  private struct Stretch {
    let start: GuestOffset
    let length: UInt64
    let content: CopySource.Content
    /// See ``CopyOptions/copiesRanges``.
    let copiesRange: Bool
    /// Its bytes could not be read.
    var failure: CopyFailure?
    /// Where its bytes are, if it has any, and what they are packed to for a compressed target.
    var buffer: CopyBuffer
    var startInBuffer = 0
    var packed: PackedCluster?

    var bytes: UnsafeMutableRawBufferPointer {
      unsafe buffer.part(startInBuffer, startInBuffer + Int(length))
    }
  }

  /// Bytes of a stretch that are worth a thread of their own.
  private static let worthAThread: UInt64 = 128 << 10
  /// Bytes of a request at most.
  private static let largestRequest = 2 << 20
  /// Bytes that are asked for at once.
  private static let largestQuestion: UInt64 = 0x7fff_fe00

  private var source: CopySource
  private let target: any GuestDisk
  private let options: CopyOptions
  private let search: ZeroSearch?
  private var rate: CopyRate?
  /// What is read next goes into the first one, while the second one is written.
  private var buffers: [CopyBuffer]
  /// The stretch behind the one that is written, if it was read at the same time.
  private var next: Result<Stretch, CopyFailure>?
  /// What cannot be read is told in its turn, and packing has all cores by itself.
  private let readsAhead: Bool
  /// Bytes of a request for data at most.
  private let largestStep: Int
  /// Makes the streams of a target that is written compressed.
  private let packer: ClusterPacker?
  /// Clusters from the start of the buffer on that were read and packed together.
  private var ahead: (start: UInt64, end: UInt64, clusters: [PackedCluster]) = (0, 0, [])
  /// Bytes of a cluster of the target; 0 for a raw disk.
  private let clusterSize: UInt64
  private var position: UInt64 = 0
  /// What the stretch at ``position`` is, up to ``knownEnd``.
  private var content = CopySource.Content.data
  private var knownEnd: UInt64 = 0
  private var hasPlace = true
  /// See ``CopyOptions/copiesRanges``.
  private var copiesRanges: Bool

  /// Bytes to be read or written.
  package private(set) var total: UInt64 = 0
  /// Bytes of ``total`` that are done, or under way.
  package private(set) var done: UInt64 = 0
  /// Hears of every stretch before it is read: how many bytes then are done, and of how many.
  package var tells: ((_ done: UInt64, _ total: UInt64) -> Void)?

  /// Looks through the tables of the sources; nothing is written yet.
  ///
  /// - Throws: ``CopyFailure`` for tables that cannot be read.
  package init(
    _ sources: [any GuestLayer], to target: any GuestDisk, _ options: CopyOptions
  ) throws(CopyFailure) {
    do throws(ImageError) { source = try CopySource(sources, keepsBelow: options.keepsBelow) } catch {
      throw CopyFailure(step: .lookup, offset: 0, error: error)
    }
    self.target = target
    self.options = options
    search = options.shortestGap == 0 ? nil : ZeroSearch(shortest: options.shortestGap)
    rate = CopyRate(options.bytesPerSecond)
    copiesRanges = options.copiesRanges && (target as? Image)?.header.cryptMethod ?? 0 == 0
    clusterSize = (target as? Image)?.geometry.clusterSize ?? 0
    largestStep = options.compresses ? max(ZeroSearch.sector, Int(clusterSize)) : Self.largestRequest
    packer = options.compresses ? (target as? Image).map { ClusterPacker($0, options.effort) } : nil
    let room = max(largestStep, packer?.batch ?? 0)
    readsAhead = packer == nil && options.lost == nil
    buffers = (0..<(readsAhead ? 2 : 1)).map { _ in CopyBuffer(room) }
    while position < source.size {
      let length = try nextStretch()
      if isWork(content) { total += length }
      position += length
    }
    position = 0
    knownEnd = 0
  }

  /// A stretch of this kind has bytes to be read or written.
  private func isWork(_ content: CopySource.Content) -> Bool {
    content == .data || search == nil && content == .zero
  }

  /// Finds out what is at ``position``; returns for how many bytes one request can deal with it.
  private func nextStretch() throws(CopyFailure) -> UInt64 {
    var length = min(source.size - position, Self.largestQuestion)
    var isBehindBelow = false
    if let below = options.sizeBelow {
      // Behind the end of the layer below zeroes need no request.
      isBehindBelow = position >= below
      if !isBehindBelow { length = min(length, below - position) }
    }
    if knownEnd <= position {
      (content, length, hasPlace) = try look(ByteCount(length))
      if content == .zero && isBehindBelow { content = .below }
      knownEnd = position + length
    }
    length = min(length, knownEnd - position)
    if content == .data { length = min(length, UInt64(largestStep)) }
    guard options.compresses, clusterSize > 0 else { return length }
    if length >= clusterSize { return length / clusterSize * clusterSize }
    // A cluster that is not of one kind is read as a whole.
    content = .data
    return min(clusterSize, source.size - position)
  }

  private func look(_ most: ByteCount) throws(CopyFailure) -> (CopySource.Content, UInt64, Bool) {
    let sector = UInt64(ZeroSearch.sector)
    var limit = most.value
    while true {
      do throws(ImageError) {
        return try source.content(at: position, limit: limit, orElse: options.keepsBelow ? .below : .data)
      } catch {
        let failure = CopyFailure(
          step: .lookup, offset: source.place(of: GuestOffset(position)).value, error: error)
        guard let lost = options.lost else { throw failure }
        guard limit > sector else {
          // Perhaps it can be read all the same.
          lost(failure)
          return (.data, sector, false)
        }
        limit = (limit / sector + 3) / 4 * sector
      }
    }
  }

  /// Copies the next stretch, one request of reading at most.
  ///
  /// - Returns: whether there is more.
  /// - Throws: ``CopyFailure`` for what can be neither looked up, read nor written.
  package func step() throws(CopyFailure) -> Bool {
    guard let stretch = try takeNext() else { return false }
    if isWork(stretch.content) {
      done += stretch.length
      tells?(done, total)
    }
    if let failure = stretch.failure { throw failure }
    let hasMore = position < source.size
    guard hasMore, readsAhead, stretch.content == .data, stretch.length >= Self.worthAThread else {
      try write(stretch)
      return hasMore
    }
    buffers.swapAt(0, 1)
    var written = Result<Void, CopyFailure>.success(())
    Cores.each(2) { index in
      do throws(CopyFailure) {
        if index == 0 { try write(stretch) } else if let read = try readNext() { next = .success(read) }
      } catch {
        if index == 0 { written = .failure(error) } else { next = .failure(error) }
      }
    }
    try written.get()
    return true
  }

  private func takeNext() throws(CopyFailure) -> Stretch? {
    guard let read = next else { return try readNext() }
    next = nil
    return try read.get()
  }

  /// Finds out what is at ``position``, reads it if it is data, and goes on behind it.
  private func readNext() throws(CopyFailure) -> Stretch? {
    guard position < source.size else { return nil }
    var length = try nextStretch()
    if search == nil, content == .zero { length = min(length, UInt64(largestStep)) }
    if content == .data, !hasPlace { copiesRanges = false }
    var stretch = Stretch(
      start: GuestOffset(position), length: length, content: content, copiesRange: copiesRanges,
      buffer: buffers[0])
    if content == .data {
      do throws(CopyFailure) { try readBytes(of: &stretch) } catch { stretch.failure = error }
    }
    position += length
    return stretch
  }

  private func readBytes(of stretch: inout Stretch) throws(CopyFailure) {
    let count = Int(stretch.length)
    guard let packer else { return try read(count) }
    stretch.startInBuffer = try packAhead(packer, count)
    stretch.packed = ahead.clusters[stretch.startInBuffer / packer.clusterSize]
  }

  /// Reads and packs the cluster at ``position``, of `count` bytes, and others behind it that hold data as well.
  ///
  /// - Returns: where it lies in the buffer.
  private func packAhead(_ packer: ClusterPacker, _ count: Int) throws(CopyFailure) -> Int {
    if position >= ahead.start, position < ahead.end { return Int(position - ahead.start) }
    var length = count
    if count == packer.clusterSize, knownEnd > position {
      let known = Int(min(knownEnd - position, UInt64(packer.batch)))
      length = max(length, known / packer.clusterSize * packer.clusterSize)
    }
    // What cannot be read is found out where it is its turn.
    if length > count, options.lost == nil, (try? read(length)) != nil {
    } else {
      length = count
      try read(length)
    }
    let bytes = unsafe UnsafeRawBufferPointer(buffers[0].part(0, length))
    let clusters = unsafe packer.pack(bytes, leavesZeroes: search != nil && !copiesRanges)
    ahead = (position, position + UInt64(length), clusters)
    return 0
  }

  /// Fills the first buffer from ``position`` on.
  private func read(_ count: Int) throws(CopyFailure) {
    let lost = options.lost.map { lost in
      { (offset: UInt64, error: ImageError) in
        lost(CopyFailure(step: .read, offset: offset, error: error))
      }
    }
    do throws(ImageError) {
      unsafe try source.read(at: position, into: buffers[0].part(0, count), lost: lost)
    } catch { throw CopyFailure(step: .read, offset: position, error: error) }
  }

  // MARK: Writing, which knows nothing of the sources

  private func write(_ stretch: Stretch) throws(CopyFailure) {
    do throws(ImageError) {
      switch stretch.content {
      case .below: break
      case .zero where search == nil:
        unsafe stretch.bytes.initializeMemory(as: UInt8.self, repeating: 0)
        unsafe try write(UnsafeRawBufferPointer(stretch.bytes), at: stretch.start)
      case .zero: try writeZeroes(at: stretch.start, ByteCount(stretch.length))
      case .data:
        let bytes = unsafe UnsafeRawBufferPointer(stretch.bytes)
        if let cluster = stretch.packed {
          unsafe try write(bytes, at: stretch.start, cluster)
        } else if let search, !stretch.copiesRange {
          unsafe try write(bytes, at: stretch.start, without: search)
        } else {
          unsafe try write(bytes, at: stretch.start)
        }
      }
    } catch { throw CopyFailure(step: .write, offset: stretch.start.value, error: error) }
  }

  private func write(_ bytes: UnsafeRawBufferPointer, at offset: GuestOffset) throws(ImageError) {
    rate?.wait(for: ByteCount(bytes.count))
    unsafe try target.write(bytes, at: offset)
  }

  /// Writes one cluster, unless it is zero.
  private func write(
    _ bytes: UnsafeRawBufferPointer, at offset: GuestOffset, _ cluster: PackedCluster
  ) throws(ImageError) {
    guard !cluster.isZero else {
      return try writeZeroes(at: offset, ByteCount(bytes.count))
    }
    rate?.wait(for: ByteCount(bytes.count))
    unsafe try target.writeCompressed(bytes, at: offset, packed: [cluster])
  }

  /// Writes the bytes but for the zeroes in them.
  private func write(
    _ bytes: UnsafeRawBufferPointer, at offset: GuestOffset, without search: ZeroSearch
  ) throws(ImageError) {
    var at = 0
    while at < bytes.count {
      let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[at...])
      let place = GuestOffset(offset.value + UInt64(at))
      let stretch = unsafe search.first(of: rest, at: place)
      if stretch.isData {
        unsafe try write(UnsafeRawBufferPointer(rebasing: rest[..<stretch.count]), at: place)
      } else {
        try writeZeroes(at: place, ByteCount(stretch.count))
      }
      at += stretch.count
    }
  }

  private func writeZeroes(at offset: GuestOffset, _ length: ByteCount) throws(ImageError) {
    guard !options.targetIsZero else { return }
    rate?.wait(for: length)
    try target.writeZeroes(at: offset, count: length, mayUnmap: true)
  }

  /// Ends the copy: a series of compressed clusters ends at a whole sector of the file.
  ///
  /// - Throws: ``CopyFailure`` from the target.
  package func finish() throws(CopyFailure) {
    guard options.compresses else { return }
    do throws(ImageError) {
      unsafe try target.writeCompressed(UnsafeRawBufferPointer(start: nil, count: 0), at: GuestOffset(0))
    } catch { throw CopyFailure(step: .write, offset: position, error: error) }
  }
}

extension GuestDisk {
  /// A disk that was just made and reads as zeroes until something is written to it. Preallocated clusters of an
  /// encrypted one do not.
  package var isZeroWhenNew: Bool {
    guard let image = self as? Image else { return true }
    if image.header.backingFileOffset != 0 { return false }
    return image.l1Count == 0 || image.l1Entry(0).raw == 0 || image.header.cryptMethod == 0
  }
}
