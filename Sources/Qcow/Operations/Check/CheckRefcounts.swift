// The refcounts of an image as a check sees them: exact ones with the errors a damaged table gives,
// and one bit per cluster for the only question that is asked of every L2 entry: is it exactly 1?

import Glibc
import QcowFormat

/// Reads refcounts from their blocks.
@safe final class CheckRefcounts {
  /// Why a refcount cannot be read.
  enum Failure: Error {
    /// The table names a block that does not start on a cluster boundary.
    case unaligned(offset: UInt64, index: UInt64)
    case stop(CheckStop)
  }

  let table: [UInt64]
  let geometry: Geometry
  let codec: RefcountCodec
  private let reader: CheckReader
  /// One bit per cluster that is set where the refcount is 1, made where it is asked for.
  private var planes: [Plane]
  private let memory: CheckMemory

  @safe private enum Plane {
    case unknown
    case known(UnsafeMutablePointer<UInt64>)
    /// A block is damaged, or there is no memory.
    case unavailable
  }

  /// The plane covers clusters below `clusters`.
  init(table: [UInt64], _ geometry: Geometry, _ reader: CheckReader, clusters: UInt64, _ memory: CheckMemory)
  {
    self.table = table
    self.geometry = geometry
    self.reader = reader
    self.memory = memory
    codec = RefcountCodec(order: geometry.refcountOrder)
    planes = Array(repeating: .unknown, count: HostTally.chunkNumber(clusters) + 1)
  }

  deinit {
    for case .known(let words) in planes { unsafe words.deallocate() }
  }

  // MARK: Blocks

  /// Host offset of a block; nil if all its refcounts are 0.
  func block(_ index: UInt64) throws(Failure) -> UInt64? {
    guard index < UInt64(table.count) else { return nil }
    let offset = table[Int(index)] & RefcountTableEntry.offsetMask
    guard offset != 0 else { return nil }
    guard geometry.isAligned(offset) else { throw .unaligned(offset: offset, index: index) }
    guard offset <= CheckReader.maximumLength - geometry.clusterSize else { throw .stop(CheckStop(EIO)) }
    return offset
  }

  /// Bytes of the refcounts of clusters in a row, which lie in one block; nil if there is no block.
  /// The first one starts on a byte. Valid until the next call.
  func bytes(of clusters: Range<UInt64>) throws(Failure) -> UnsafeRawBufferPointer? {
    let cluster = HostCluster(clusters.lowerBound)
    guard let block = try block(geometry.refcountTableIndex(of: cluster)) else { return nil }
    let first = UInt64(geometry.refcountBitOffset(of: cluster) / 8)
    do throws(CheckStop) {
      return unsafe try reader.bytes(at: block + first, count: geometry.refcountBytes(clusters.count))
    } catch { throw .stop(error) }
  }

  /// The refcount of one cluster.
  func refcount(of cluster: UInt64) throws(Failure) -> UInt64 {
    // Neighbours are likely to be asked for next.
    let mask: UInt64 = 511
    let perBlock = geometry.refcountsPerBlock
    let first = cluster & ~min(mask, perBlock - 1)
    let index = Int(cluster - first)
    guard let bytes = unsafe try bytes(of: first..<first + min(mask + 1, perBlock)) else { return 0 }
    return unsafe codec.value(in: bytes, at: index)
  }

  // MARK: Exactly 1

  /// True if all clusters of the range have refcount 1; nil if that is not known.
  func areAllOne(_ range: Range<UInt64>) -> Bool? { matches(range, .max) }

  /// True if no cluster of the range has refcount 1; nil if that is not known.
  func isNoneOne(_ range: Range<UInt64>) -> Bool? { matches(range, 0) }

  private func matches(_ range: Range<UInt64>, _ wanted: UInt64) -> Bool? {
    var at = range.lowerBound
    while at < range.upperBound {
      guard let words = unsafe plane(UInt64(HostTally.chunkNumber(at))) else { return nil }
      let stop = min(range.upperBound, HostTally.endOfChunk(at))
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
  private func plane(_ number: UInt64) -> UnsafeMutablePointer<UInt64>? {
    guard number < UInt64(planes.count) else { return nil }
    if case .known(let words) = planes[Int(number)] { return unsafe words }
    return unsafe makePlane(Int(number))
  }

  private func makePlane(_ number: Int) -> UnsafeMutablePointer<UInt64>? {
    guard case .unknown = planes[number] else { return nil }
    planes[number] = .unavailable
    let count = HostTally.chunkClusters >> 6
    guard memory.take(count << 3) else { return nil }
    let words = UnsafeMutablePointer<UInt64>.allocate(capacity: count)
    unsafe words.initialize(repeating: 0, count: count)
    var at = HostTally.firstCluster(ofChunk: number)
    let end = at + UInt64(HostTally.chunkClusters)
    do throws(Failure) {
      while at < end {
        let stop = min(end, geometry.endOfBlock(at))
        if let bytes = unsafe try bytes(of: at..<stop) {
          let first = Int(at & UInt64(HostTally.chunkClusters - 1)) >> 6
          for word in 0..<Int(stop - at) >> 6 { unsafe words[first + word] = unsafe ones(bytes, word) }
        }
        at = stop
      }
    } catch {
      unsafe words.deallocate()
      memory.giveBack(count << 3)
      return nil
    }
    planes[number] = unsafe .known(words)
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
