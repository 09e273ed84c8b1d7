// Counts of owners for all clusters of a file, two bits each until one needs more: a terabyte of
// clusters of 64 KiB takes 4 MiB, and clusters in a row are counted 32 at a time.

import Glibc
import QcowFormat

/// What the tables of a check may take together.
final class CheckMemory {
  private var left: UInt64
  init(limit: ByteCount) { left = limit.value }

  /// For an image that takes so much on the host. One that really has so many clusters keeps at least eight bytes
  /// for each there.
  convenience init(allocated: ByteCount) { self.init(limit: ByteCount(max(96 << 20, allocated.value / 16))) }

  /// False if the limit is reached.
  func take(_ bytes: Int) -> Bool {
    guard UInt64(bytes) <= left else { return false }
    left -= UInt64(bytes)
    return true
  }
  func giveBack(_ bytes: Int) { left += UInt64(bytes) }
}

/// How many owners each host cluster has.
@safe final class HostTally {
  /// Clusters of one chunk as a power of two.
  static let chunkBits: UInt64 = 15
  static let chunkClusters = 1 << 15
  static func chunkNumber(_ cluster: HostCluster) -> Int { Int(clamping: cluster.value >> chunkBits) }
  static func firstCluster(ofChunk number: Int) -> HostCluster { HostCluster(UInt64(number) << chunkBits) }
  /// The first cluster behind the chunk of a cluster.
  static func endOfChunk(_ cluster: HostCluster) -> HostCluster {
    HostCluster((cluster.value >> chunkBits + 1) << chunkBits)
  }
  private static let ones: UInt64 = 0x5555_5555_5555_5555

  /// Counters of a row of clusters, all of the same width.
  @safe struct Chunk {
    var base: UnsafeMutableRawPointer?
    /// Width of a counter in bits as a power of two, from 1.
    var order = 1
    var bytes: Int { chunkClusters * (1 << order) / 8 }
  }

  private var chunks: [Chunk]
  private let memory: CheckMemory
  /// Where chunks of the first width lie; wider ones are few.
  private let pool = BlockPool(bytes: Chunk().bytes)
  /// A count never goes above this; the largest refcount of the image.
  let maximum: UInt64

  /// Counts up to `maximum` for clusters below `clusters`.
  init(clusters: ClusterCount, maximum: UInt64, memory: CheckMemory) {
    chunks = Array(repeating: Chunk(), count: Self.chunkNumber(HostCluster(clusters.value)) + 1)
    self.maximum = maximum
    self.memory = memory
  }

  /// Counts for clusters below `clusters` from now on.
  func grow(to clusters: ClusterCount) {
    let missing = Self.chunkNumber(HostCluster(clusters.value)) + 1 - chunks.count
    if missing > 0 { chunks.append(contentsOf: repeatElement(Chunk(), count: missing)) }
  }

  deinit { for chunk in chunks where chunk.order > 1 { unsafe chunk.base?.deallocate() } }

  /// All chunks, for a loop over single clusters.
  @safe struct Chunks {
    fileprivate let all: UnsafeBufferPointer<Chunk>

    /// The counters of a chunk if they have two bits each; 32 clusters share a word.
    @inline(__always)
    func pairs(_ number: Int) -> UnsafeMutablePointer<UInt64>? {
      guard unsafe number >= 0 && number < all.count, unsafe all[number].order == 1 else { return nil }
      return unsafe all[number].base?.assumingMemoryBound(to: UInt64.self)
    }
  }

  /// Calls `body` with all chunks, of which none comes, goes or gets wider meanwhile.
  @inline(__always)
  func withChunks<T>(_ body: (Chunks) -> T) -> T {
    unsafe chunks.withUnsafeBufferPointer { unsafe body(Chunks(all: $0)) }
  }

  /// The chunk, if anything in it has an owner.
  @inline(__always)
  func chunk(_ number: Int) -> Chunk? {
    guard chunks.indices.contains(number), unsafe chunks[number].base != nil else { return nil }
    return chunks[number]
  }

  func count(of cluster: HostCluster) -> UInt64 {
    guard let chunk = chunk(Self.chunkNumber(cluster)) else { return 0 }
    return Self.value(chunk, Int(cluster.value & UInt64(Self.chunkClusters - 1)))
  }

  @inline(__always)
  static func value(_ chunk: Chunk, _ index: Int) -> UInt64 {
    unsafe RefcountCodec(order: chunk.order).value(
      in: unsafe UnsafeRawBufferPointer(start: chunk.base, count: chunk.bytes), at: index)
  }

  /// Counts one more owner for clusters in a row, all below the limit given at the start.
  ///
  /// Stops before a cluster whose count is at its maximum and returns how many were counted. Sets
  /// `wasOwned` if one of them had an owner before. Throws if there is no memory for them.
  func add(
    _ clusters: HostCluster, _ count: ClusterCount, wasOwned: inout Bool
  ) throws(CheckStop) -> ClusterCount {
    let first = clusters.value
    var at = first
    let end = first + count.value
    while at < end {
      let number = Self.chunkNumber(HostCluster(at))
      if unsafe chunks[number].base == nil { try make(number) }
      let chunk = chunks[number]
      let start = Self.firstCluster(ofChunk: number).value
      let stop = min(end, start + UInt64(Self.chunkClusters))
      let range = Int(at - start)..<Int(stop - start)
      let reached =
        chunk.order == 1
        ? addPairs(chunk, range, &wasOwned) : addSingly(chunk, range, &wasOwned)
      at = start + UInt64(reached)
      guard at < stop else { continue }
      // Full: for good, or because the counter is too narrow.
      guard Self.value(chunk, reached) < maximum else { return ClusterCount(at - first) }
      try widen(number)
    }
    return count
  }

  /// Counters of two bits, up to 32 of them by one addition.
  private func addPairs(_ chunk: Chunk, _ range: Range<Int>, _ wasOwned: inout Bool) -> Int {
    guard let base = unsafe chunk.base else { return range.lowerBound }
    var index = range.lowerBound
    while index < range.upperBound {
      let word = unsafe base + (index >> 5) << 3
      let shift = UInt64(index & 31) << 1
      let count = min(32 - index & 31, range.upperBound - index)
      let low = count == 32 ? Self.ones : (1 << UInt64(count << 1) - 1) << shift & Self.ones
      let old = UInt64(littleEndian: unsafe word.load(as: UInt64.self))
      if old & (low | low << 1) == 0 {
        unsafe word.storeBytes(of: (old | low).littleEndian, as: UInt64.self)
      } else if old & (low << 1) == 0 && maximum >= 2 {
        wasOwned = true
        unsafe word.storeBytes(of: (old &+ low).littleEndian, as: UInt64.self)
      } else {
        let reached = addSingly(chunk, index..<index + count, &wasOwned)
        guard reached == index + count else { return reached }
      }
      index += count
    }
    return index
  }

  private func addSingly(_ chunk: Chunk, _ range: Range<Int>, _ wasOwned: inout Bool) -> Int {
    let codec = RefcountCodec(order: chunk.order)
    let full = min(maximum, chunk.order == 6 ? .max : 1 << (1 << UInt64(chunk.order)) - 1)
    let buffer = unsafe UnsafeMutableRawBufferPointer(start: chunk.base, count: chunk.bytes)
    for index in range {
      let old = unsafe codec.value(in: UnsafeRawBufferPointer(buffer), at: index)
      guard old < full else { return index }
      if old > 0 { wasOwned = true }
      unsafe codec.store(old + 1, in: buffer, at: index)
    }
    return range.upperBound
  }

  private func make(_ number: Int) throws(CheckStop) {
    let bytes = Chunk().bytes
    guard memory.take(bytes) else { throw Self.tooLarge }
    unsafe chunks[number].base = unsafe pool.take()
  }

  /// Gives a chunk counters of twice the width.
  private func widen(_ number: Int) throws(CheckStop) {
    let old = chunks[number]
    var new = unsafe Chunk(base: nil, order: old.order + 1)
    guard memory.take(new.bytes) else { throw Self.tooLarge }
    let buffer = unsafe UnsafeMutableRawBufferPointer(start: Self.zeroes(new.bytes), count: new.bytes)
    unsafe new.base = buffer.baseAddress
    let codec = RefcountCodec(order: new.order)
    for index in 0..<Self.chunkClusters {
      let value = Self.value(old, index)
      if value != 0 { unsafe codec.store(value, in: buffer, at: index) }
    }
    if let base = unsafe old.base {
      if old.order > 1 { unsafe base.deallocate() } else { unsafe pool.giveBack(base) }
    }
    memory.giveBack(old.bytes)
    chunks[number] = new
  }

  private static func zeroes(_ bytes: Int) -> UnsafeMutableRawPointer {
    let base = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
    unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
    return unsafe base
  }

  static let tooLarge = CheckStop(ENOMEM, "the image uses more host clusters than can be counted in memory")
}
