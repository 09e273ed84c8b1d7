// The refcounts of an image as a check sees them: exact ones with the errors a damaged table gives,
// and one bit per cluster for the only question that is asked of every L2 entry: is it exactly 1?

import Glibc
import QcowFormat

/// Reads refcounts from their blocks.
@safe final class CheckRefcounts {
  /// Why a refcount cannot be read.
  enum Failure: Error {
    /// The table names a block that does not start on a cluster boundary.
    case unaligned(offset: HostOffset, index: Int)
    case stop(CheckStop)
  }

  let table: [UInt64]
  let geometry: Geometry
  let codec: RefcountCodec
  private let reader: CheckReader
  /// One bit per cluster that is set where the refcount is 1, made where it is asked for.
  private var planes: [Plane]
  private let memory: CheckMemory
  /// Where planes lie.
  private let pool = BlockPool(bytes: HostTally.chunkClusters >> 3)

  @safe fileprivate struct Plane {
    /// Nil before it was made, where a block is damaged, and where there is no memory.
    var words: UnsafeMutablePointer<UInt64>?
    var wasAskedFor = false
  }

  /// All planes, for a loop over single clusters.
  @safe struct Planes {
    fileprivate let all: UnsafeBufferPointer<Plane>

    /// The bits of a plane that is known; 64 clusters share a word.
    @inline(__always)
    func words(_ number: Int) -> UnsafeMutablePointer<UInt64>? {
      guard unsafe number >= 0 && number < all.count else { return nil }
      return unsafe all[number].words
    }
  }

  /// Calls `body` with all planes, of which none is made meanwhile.
  @inline(__always)
  func withPlanes<T>(_ body: (Planes) -> T) -> T {
    unsafe planes.withUnsafeBufferPointer { unsafe body(Planes(all: $0)) }
  }

  /// The plane covers clusters below `clusters`.
  init(_ image: CheckedImage, _ reader: CheckReader, clusters: ClusterCount, _ memory: CheckMemory) {
    table = image.opened.refcountTable
    geometry = image.geometry
    self.reader = reader
    self.memory = memory
    codec = RefcountCodec(order: geometry.refcountOrder)
    planes = Array(repeating: Plane(), count: HostTally.chunkNumber(HostCluster(clusters.value)) + 1)
  }

  // MARK: Blocks

  /// Where the refcount of a cluster has its block; nil if all refcounts there are 0.
  func block(of cluster: HostCluster) throws(Failure) -> HostOffset? {
    let index = geometry.refcountTableIndex(of: cluster)
    guard index < table.count, let block = RefcountTableEntry(raw: table[index]).block else { return nil }
    guard geometry.isAligned(block.value) else { throw .unaligned(offset: block, index: index) }
    guard block.value <= CheckReader.maximumLength - geometry.clusterSize else {
      throw .stop(CheckStop.ioError)
    }
    return block
  }

  /// Bytes of the refcounts of clusters in a row, which lie in one block; nil if there is no block.
  /// The first one starts on a byte. Valid until the next call.
  func bytes(of clusters: Range<HostCluster>) throws(Failure) -> UnsafeRawBufferPointer? {
    guard let block = try block(of: clusters.lowerBound) else { return nil }
    let first = UInt64(geometry.refcountBitOffset(of: clusters.lowerBound) / 8)
    let count = Int((clusters.upperBound - clusters.lowerBound).value)
    do throws(CheckStop) {
      return unsafe try reader.bytes(at: block + first, count: geometry.refcountBytes(count))
    } catch { throw .stop(error) }
  }

  /// The refcount of one cluster.
  func refcount(of cluster: HostCluster) throws(Failure) -> UInt64 {
    // Neighbours are likely to be asked for next.
    let count = min(512, geometry.refcountsPerBlock)
    let first = HostCluster(cluster.value & ~(count - 1))
    guard let bytes = unsafe try bytes(of: first..<first + ClusterCount(count)) else { return 0 }
    return unsafe codec.value(in: bytes, at: Int((cluster - first).value))
  }

  /// Rows of clusters from `start` on whose refcounts are not 0; about as many as are wanted at most. Blocks
  /// that cannot be read are passed.
  func rows(from start: HostCluster, atMost limit: Int) -> [Range<HostCluster>] {
    var rows: [Range<HostCluster>] = []
    var row: Range<HostCluster>?
    func add(_ cluster: HostCluster) {
      if let last = row, last.upperBound == cluster { return row = last.lowerBound..<cluster + 1 }
      end()
      row = cluster..<cluster + 1
    }
    func end() {
      if let row { rows.append(row) }
      row = nil
    }
    var at = start
    while geometry.refcountTableIndex(of: at) < table.count, rows.count < limit {
      let stop = min(geometry.endOfBlock(at), HostCluster(at.value & ~4095 + 4096))
      let first = HostCluster(at.value & ~63)
      if let bytes = unsafe try? bytes(of: first..<stop) {
        for index in Int((at - first).value)..<Int((stop - first).value)
        where unsafe codec.value(in: bytes, at: index) != 0 {
          add(first + ClusterCount(UInt64(index)))
        }
        at = stop
      } else {
        at = geometry.endOfBlock(at)
      }
    }
    end()
    return rows
  }

  // MARK: Exactly 1

  /// True if all clusters of the range have refcount 1; nil if that is not known.
  func areAllOne(_ range: Range<HostCluster>) -> Bool? { matches(range, .max) }

  /// True if no cluster of the range has refcount 1; nil if that is not known.
  func isNoneOne(_ range: Range<HostCluster>) -> Bool? { matches(range, 0) }

  private func matches(_ range: Range<HostCluster>, _ wanted: UInt64) -> Bool? {
    var at = range.lowerBound.value
    let end = range.upperBound.value
    while at < end {
      guard let words = unsafe plane(HostTally.chunkNumber(HostCluster(at))) else { return nil }
      let stop = min(end, HostTally.endOfChunk(HostCluster(at)).value)
      while at < stop {
        let index = at & UInt64(HostTally.chunkClusters - 1)
        let count = min(64 - index & 63, stop - at)
        let mask: UInt64 = count == 64 ? .max : (1 << count - 1) << (index & 63)
        guard (unsafe words[Int(index >> 6)] ^ wanted) & mask == 0 else { return false }
        at += count
      }
    }
    return true
  }

  @inline(__always)
  private func plane(_ number: Int) -> UnsafeMutablePointer<UInt64>? {
    guard number < planes.count else { return nil }
    if let words = unsafe planes[number].words { return unsafe words }
    return unsafe makePlane(number)
  }

  private func makePlane(_ number: Int) -> UnsafeMutablePointer<UInt64>? {
    guard !planes[number].wasAskedFor else { return nil }
    planes[number].wasAskedFor = true
    let count = HostTally.chunkClusters >> 6
    guard memory.take(count << 3) else { return nil }
    let block = unsafe pool.take()
    let words = unsafe block.bindMemory(to: UInt64.self, capacity: count)
    var at = HostTally.firstCluster(ofChunk: number)
    let end = HostTally.endOfChunk(at)
    do throws(Failure) {
      while at < end {
        let stop = min(end, geometry.endOfBlock(at))
        if let bytes = unsafe try bytes(of: at..<stop) {
          let first = Int(at.value & UInt64(HostTally.chunkClusters - 1)) >> 6
          for word in 0..<Int((stop - at).value) >> 6 {
            unsafe words[first + word] = unsafe ones(bytes, word)
          }
        }
        at = stop
      }
    } catch {
      unsafe pool.giveBack(block)
      memory.giveBack(count << 3)
      return nil
    }
    unsafe planes[number].words = unsafe words
    return unsafe words
  }

  /// Bits of 64 refcounts in a row that are set where one is 1.
  private func ones(_ bytes: UnsafeRawBufferPointer, _ group: Int) -> UInt64 {
    if codec.order == 4, bytes.count >= (group + 1) << 7 {
      // Mostly all 64 are 1 or all are 0.
      var differs: UInt64 = 0
      var any: UInt64 = 0
      for word in group << 4..<(group + 1) << 4 {
        let value = unsafe bytes.loadUnaligned(fromByteOffset: word << 3, as: UInt64.self)
        differs |= value ^ (0x0001_0001_0001_0001 as UInt64).bigEndian
        any |= value
      }
      if differs == 0 { return .max }
      if any == 0 { return 0 }
    }
    var result: UInt64 = 0
    for index in 0..<64 where unsafe codec.value(in: bytes, at: group << 6 + index) == 1 {
      result |= 1 << UInt64(index)
    }
    return result
  }
}
